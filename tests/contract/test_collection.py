"""The built collection works by its full names, and its action group sets the connection once."""

from __future__ import annotations

from pathlib import Path

from scripts import build_collection
from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner

FULL = build_collection.FULL


def test_full_names_from_a_staged_collection(runner: Runner, panel: Panel, tmp_path: Path) -> None:
    collections = tmp_path / "collections"
    build_collection.stage(build_collection.ROOT, collections / "ansible_collections" / "streamfleet" / "core")
    config = tmp_path / "ansible.cfg"
    config.write_text("[defaults]\n")
    runner.environment = {"ANSIBLE_CONFIG": str(config), "ANSIBLE_COLLECTIONS_PATH": str(collections)}
    results = runner.tasks(
        [
            {"name": "make", f"{FULL}.streamfleet_customer": {"username": "by-fqcn"}},
            {"name": "list", f"{FULL}.streamfleet_customer_info": {"username": "by-fqcn"}},
            {"name": "token", f"{FULL}.streamfleet_token": {"name": "by-fqcn"}},
            {
                "name": "filter",
                "ansible.builtin.debug": {"msg": f"{{{{ 'unlimited' | {FULL}.streamfleet_answer(omit, 'number') }}}}"},
            },
        ],
        module_defaults={f"group/{FULL}.core": {"url": panel.url, "token": panel.token}},
    )
    assert results["make"]["operation"] == "created"
    assert [item["username"] for item in results["list"]["customers"]] == ["by-fqcn"]
    assert "censored" in results["token"], "the action plugin of the collection is the one that runs"
    assert results["filter"]["msg"] is None
    runner.environment |= panel.environment
    answers = {"customer_username": "by-fqcn", "customer_name": "Full"}
    code, results, output = runner.playbook(Path(f"{FULL}.customer"), answers)
    assert code == 0, output[-2000:]
    assert results["Apply the customer"]["changes"] == {"name": {"before": None, "after": "Full"}}
