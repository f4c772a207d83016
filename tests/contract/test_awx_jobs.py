"""Every job template that talks to the panel, run as AWX runs it, with what its survey passes and nothing else.

Those of hosts are in tests/live/test_awx.py, the template of AWX's own objects in test_awx.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.awx_jobs import Controller, Ended, answers
from tests.awx_objects import ROOT, objects
from tests.contract.panel_server import Panel
from tests.doubles.awx.surveys import Refused

pytestmark = pytest.mark.slow

TYPE = "Streamfleet panel"
Launch = Callable[..., Ended]


def template(name: str) -> dict[str, Any]:
    return next(item for item in objects()["awx.awx.job_template"] if item["name"] == f"Streamfleet {name}")


@pytest.fixture
def launch(panel: Panel, tmp_path: Path) -> Launch:
    """Launches a template with answers (by variable, without the prefix); fails where a secret is shown."""
    types = {item["name"]: item for item in objects()["awx.awx.credential_type"]}
    controller = Controller(tmp_path, types, {TYPE: {"url": panel.url, "token": panel.token}}, {})

    def run(name: str, prefix: str = "", /, *, canary: str = "", job_type: str = "run", **given: str) -> Ended:
        chosen = template(name)
        filled = answers(chosen, **{f"{prefix}{option}": text for option, text in given.items()})
        ended = controller.launch(chosen, filled, job_type=job_type)
        for secret in filter(None, (canary, panel.token)):
            assert secret not in ended.output
        return ended

    return run


def test_customer(launch: Launch, panel: Panel) -> None:
    secret = "canary {{ 7 * 7 }} of awx"
    known = {"username": "awx-made", "name": "Awx {{ Made }}", "email": "made@example.net"}
    made = launch(
        "customer", "customer_", canary=secret, **known, password=secret, confirm_password=secret,
        accessibility_features="no", status="enabled", api_access="yes", account_type="customer",
    )  # fmt: skip
    assert made.code == 0, made.told
    customer = panel.request("GET", "/customers/awx-made")[1]
    assert customer["name"] == "Awx {{ Made }}", "what is typed is no template"
    assert (customer["api_access"], customer["accessibility_features"]) == (True, False)
    # All other questions stay empty, and so do the fields stay.
    again = launch("customer", "customer_", username="awx-made")
    assert (again.code, again.results["Apply the customer"]["changed"]) == (0, False)
    assert panel.request("GET", "/customers/awx-made")[1] == customer

    new = "canary-new-of-awx"
    change = {"username": "awx-made", "password": new}
    wrong = launch("customer password", "customer_", canary=new, **change, confirm_password="canary-old-of-awx")
    assert wrong.code != 0
    assert "customer_confirm_password is not what customer_password is" in wrong.told
    right = launch("customer password", "customer_", canary=new, **change, confirm_password=new)
    assert (right.code, right.results["Apply the customer"]["changed"]) == (0, True), right.told
    other = {**change, "username": "awx-mistyped"}
    refused = launch("customer password", "customer_", canary=new, **other, confirm_password=new)
    assert "customer_username is awx-mistyped, and there is no such account" in refused.told
    assert panel.request("GET", "/customers/awx-mistyped")[0] == 404

    gone = launch("customer deletion", "customer_", job_type="check", username="awx-made")
    assert (gone.code, panel.request("GET", "/customers/awx-made")[0]) == (0, 200)
    gone = launch("customer deletion", "customer_", username="awx-made")
    assert (gone.code, panel.request("GET", "/customers/awx-made")[0]) == (0, 404), gone.told


def test_an_answer_outside_its_choices_is_refused_by_awx_and_again_by_the_playbook(
    launch: Launch, panel: Panel, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="Value paused for 'customer_status' expected to be one of"):
        launch("customer", "customer_", username="awx-bad", status="paused")
    loose = {**template("customer"), "survey_enabled": False, "ask_variables_on_launch": True}
    types = {item["name"]: item for item in objects()["awx.awx.credential_type"]}
    controller = Controller(tmp_path / "loose", types, {TYPE: {"url": panel.url, "token": panel.token}}, {})
    ended = controller.launch(loose, {"customer_username": "awx-bad", "customer_status": "paused"})
    assert ended.code != 0
    assert "value of status must be one of: enabled, disabled, got: paused" in ended.told
    assert panel.request("GET", "/customers/awx-bad")[0] == 404


def test_media_service(launch: Launch, panel: Panel, owner: str) -> None:
    given = {"slug": "awx-fm", "name": "Awx FM", "customer": owner, "engine": "icecast", "max_listeners": "250"}
    made = launch("media service", "media_service_", **given)
    assert made.code == 0, made.told
    secret = "canary-source-of-awx"
    changed = launch(
        "media service settings", "media_service_", canary=secret, slug="awx-fm", max_listeners="unlimited",
        mounts='[{"name": "/live.mp3"}]', genre="Jazz", source_password=secret,
    )  # fmt: skip
    assert changed.code == 0, changed.told
    service = panel.request("GET", "/media-services/awx-fm")[1]
    assert (service["max_listeners"], service["genre"], service["name"]) == (None, "Jazz", "Awx FM")
    suspended = launch(
        "media service suspension", "media_service_", slug="awx-fm", suspended="yes", suspend_reason="late"
    )
    assert suspended.code == 0, suspended.told
    assert panel.request("GET", "/media-services/awx-fm")[1]["suspend_reason"] == "late"
    gone = launch("media service deletion", "media_service_", slug="awx-fm")
    assert (gone.code, panel.request("GET", "/media-services/awx-fm")[0]) == (0, 404), gone.told


def test_apply(launch: Launch, panel: Panel, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("customers:\n  - {username: awx-by-file}\n")
    secret = "canary-document-of-awx"
    document = f'{{"customers": [{{"username": "awx-by-text", "password": "{secret}"}}]}}'
    given = {"files": f"{tmp_path}/a.yml", "document": document, "label": "awx", "prune": "yes", "max_delete": "1"}
    foretold = launch("apply", "apply_", canary=secret, job_type="check", **given)
    assert foretold.results["Apply the document"]["summary"]["created"] == 2
    broken = launch("apply", "apply_", canary=secret, document=document[:-1])
    assert broken.code != 0
    made = launch("apply", "apply_", canary=secret, **given)
    assert (made.code, made.results["Apply the document"]["summary"]["created"]) == (0, 2), made.told


@pytest.mark.full
def test_engine_verification(launch: Launch) -> None:
    """With a node that is not there it says so; that a good engine passes is in tests/live."""
    foretold = launch("engine verification", job_type="check", engine="icecast")
    assert foretold.code == 0, foretold.told
    ended = launch(
        "engine verification", engine="icecast", verify_engine_node="no-such-node", verify_engine_wait_timeout="5"
    )
    assert ended.code != 0
    assert "no-such-node" in ended.told


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("install", {}, "the inventory has no host in the group streamfleet_panel"),
        ("site", {}, "the inventory has no host in the group streamfleet_panel"),
        ("uninstall", {"streamfleet_uninstall_confirm": "n2"}, "add -e streamfleet_uninstall_confirm=n1"),
        ("backup", {}, "No host of this run is in the group backup"),
        ("restore", {"restore_confirm": "yes"}, "No host of this run is in the group backup"),
        ("restore rehearsal", {}, "No host is in the group backup"),
        ("restore customer", {"restore_customer_username": "ada"}, "and in this run: its backup holds the customers"),
    ],
)
def test_what_cannot_be_is_refused_before_a_host_is_reached(
    tmp_path: Path, name: str, given: dict[str, str], said: str
) -> None:
    hosts = tmp_path / "hosts.yml"
    # An address of documentation: nobody answers there.
    node = {"ansible_host": "192.0.2.1", "streamfleet_stream_host": "s.example.net"}
    groups = {group: {"hosts": {"n1": node}} for group in ("streamfleet_nodes", "icecast")}
    hosts.write_text(json.dumps({"all": {"children": groups}}))
    chosen = template(name)
    ended = Controller(tmp_path, {}, {}, {}).launch(chosen, given, sources=[str(hosts)], timeout=120)
    assert ended.code != 0
    assert said in ended.told or said in ended.output
    assert "Gathering Facts" not in ended.results


#: In place of ssh: notes what it is called with, and does not reach the host.
SSH = """#!/bin/sh
[ "$1" = -G ] || printf '%s\\n' "$@" >> {notes}
exit 255
"""


@pytest.mark.parametrize("name", ["production", "staging"])
def test_a_job_checks_the_keys_of_hosts_although_awx_says_not_to(tmp_path: Path, name: str) -> None:
    program, notes, more = tmp_path / "ssh", tmp_path / "notes", tmp_path / "more.yml"
    program.touch(0o700)
    program.write_text(SSH.format(notes=notes))
    more.write_text(json.dumps({"all": {"vars": {"ansible_ssh_executable": str(program)}}}))
    sources = [f"inventories/{name}/hosts.yml", str(more)]
    ended = Controller(tmp_path, {}, {}, {}).launch(template("self-check"), {}, sources=sources, timeout=120)
    assert ended.code != 0
    words = notes.read_text().splitlines()
    assert f"GlobalKnownHostsFile=/etc/ssh/ssh_known_hosts inventories/{name}/known_hosts" in words
    assert "StrictHostKeyChecking=no" not in words


@pytest.mark.parametrize("name", ["production", "staging"])
def test_an_inventory_is_read_as_awx_reads_it(name: str) -> None:
    """By ansible-inventory, with no password; what the lookups in it give is for the job to find out."""
    sources = {source["inventory"]: source["source_path"] for source in objects()["awx.awx.inventory_source"]}
    program = str(Path(sys.executable).with_name("ansible-inventory"))
    done = subprocess.run(
        [program, "-i", sources[f"Streamfleet {name}"], "--list", "--export"],
        cwd=ROOT, text=True, capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["streamfleet_panel"]["hosts"] == ["panel1"]
    assert "streamfleet_panel_host" in found["all"]["vars"]
    assert (
        "lookup("
        in found["all"]["vars"][
            "streamfleet_panel_admin_password" if name == "staging" else "vault_streamfleet_admin_password"
        ]
    )
