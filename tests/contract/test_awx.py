"""playbooks/awx.yml against a double of AWX.

Tests playbooks: awx.yml.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.awx_jobs import Controller
from tests.contract.playbook import ROOT, Runner
from tests.doubles.awx import rules, surveys
from tests.doubles.awx.server import Awx

pytestmark = pytest.mark.slow

PLAYBOOK = ROOT / "playbooks" / "awx.yml"
CONTROLLER = "Red Hat Ansible Automation Platform"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary-key-of-hosts\n-----END OPENSSH PRIVATE KEY-----\n"
PLAYBOOKS = [f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml")]
SETTINGS = {
    "streamfleet_awx_project_url": "https://git.example.net/streaming.git",
    "streamfleet_awx_execution_environment_image": "registry.example.net/streamfleet-ee:1",
}


@pytest.fixture
def awx() -> Iterator[Awx]:
    with Awx(PLAYBOOKS) as running:
        yield running


@pytest.fixture
def run(awx: Awx, tmp_path: Path) -> Any:
    """Runs the playbook with settings; (status, task → result, list of what its loops changed)."""
    runner = Runner({"CONTROLLER_HOST": awx.url, "CONTROLLER_OAUTH_TOKEN": awx.token}, tmp_path)
    runner.canary(awx.token)
    for text in ("canary-token", "canary-key-of-hosts"):
        runner.canary(text)

    def play(*options: str, **settings: Any) -> tuple[int, dict[str, Any], list[str]]:
        code, results, _output = runner.playbook(PLAYBOOK, {**SETTINGS, **settings}, *options)
        items = [item for result in results.values() for item in result.get("results", [])]
        return code, results, [item["item"]["name"] for item in items if item.get("changed")]

    return play


def refusal(results: dict[str, Any]) -> str:
    texts = [result for result in results.values() if result.get("failed")]
    items = [item for result in results.values() for item in result.get("results", []) if item.get("failed")]
    return "\n".join(str(result.get("msg")) for result in [*texts, *items])


SECRETS = {
    "streamfleet_awx_panel_url": "https://panel.example.net",
    "streamfleet_awx_panel_token": "canary-token",
    "streamfleet_awx_hosts_user": "deploy",
    "streamfleet_awx_hosts_key": KEY,
}


def test_a_controller_gets_everything_once_and_check_mode_foretells_it(awx: Awx, run: Any, tmp_path: Path) -> None:
    given = {**SECRETS, "streamfleet_awx_controller_url": awx.url, "streamfleet_awx_controller_token": awx.token}
    # A project that was fetched when the repository had none of the playbooks.
    awx.push([])
    organization = awx.post("organizations", {"name": "Streamfleet"})
    place = {"scm_type": "git", "scm_url": SETTINGS["streamfleet_awx_project_url"], "scm_branch": "main"}
    awx.post("projects", {"name": "Streamfleet", "organization": organization, **place})
    awx.push(PLAYBOOKS)
    # A credential into which somebody has typed what this playbook is not given.
    machine = next(item["id"] for item in awx.kept["credential_types"].values() if item["name"] == "Machine")
    typed = {"username": "before", "become_username": "admin", "become_password": "typed into AWX"}
    owner = {"organization": organization, "credential_type": machine}
    awx.post("credentials", {"name": "Streamfleet hosts", **owner, "inputs": typed})
    code, results, changed = run("--check", **given)
    assert code == 0, refusal(results)
    assert awx.writes == []
    foretold = {*changed, *results["Say what else would be made or changed"]["msg"]}

    code, results, changed = run(**given)
    assert code == 0, refusal(results)
    assert set(changed) == foretold
    credentials = awx.named("credentials")
    assert credentials["Streamfleet panel"]["inputs"] == {"url": "https://panel.example.net", "token": "canary-token"}
    assert credentials["Streamfleet hosts"]["inputs"] == {**typed, "username": "deploy", "ssh_key_data": KEY}
    used = awx.listed("job_templates", "Streamfleet converge", "credentials")
    assert sorted(used) == ["Streamfleet hosts", "Streamfleet panel"]
    assert awx.listed("workflow_job_template_nodes", "install", "success_nodes") == ["check"]
    customer = awx.template("Streamfleet customer")
    assert surveys.launched(customer, {"customer_username": "a"})["customer_username"] == "a"
    assert awx.template("Streamfleet customer deletion")["extra_vars"] == {"customer_state": "absent"}
    ids = {item["name"]: item["id"] for item in awx.kept["inventories"].values()}
    assert customer["inventory"] == ids["Streamfleet panel only"]
    assert awx.template("Streamfleet install")["inventory"] == ids["Streamfleet production"]


@pytest.mark.full
def test_the_job_that_awx_has_of_it_changes_nothing(awx: Awx, run: Any, tmp_path: Path) -> None:
    awx.push(PLAYBOOKS)
    code, results, _changed = run(
        **SECRETS, streamfleet_awx_controller_url=awx.url, streamfleet_awx_controller_token=awx.token
    )
    assert code == 0, refusal(results)
    written = len(awx.writes)
    credentials = awx.named("credentials")
    (project,) = awx.kept["projects"]
    # With the settings of the template, and no secrets but those of the controller's credential.
    (own,) = awx.listed("job_templates", "Streamfleet AWX", "credentials")
    kinds = {item["name"]: item for item in awx.kept["credential_types"].values()}
    of_awx = {CONTROLLER: credentials[own]["inputs"]}
    assert rules.injected(kinds[CONTROLLER], of_awx[CONTROLLER], "")[1]["CONTROLLER_VERIFY_SSL"] == "True"
    ended = Controller(tmp_path, kinds, of_awx, {}).launch(awx.template("Streamfleet AWX"), {})
    assert ended.code == 0, ended.told
    # Whether there is something new is only seen by fetching.
    assert [path for _method, path in awx.writes[written:]] == [f"/api/v2/projects/{project}/update/"]
    assert "changed=0" in ended.output
    assert awx.named("credentials") == credentials
    assert awx.token not in ended.output


@pytest.mark.full
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"streamfleet_awx_project_url": ""}, "streamfleet_awx_project_url is not set. Give the address"),
        ({"streamfleet_awx_execution_environment_image": ""}, "Build the image (docs/awx.md) and give its name"),
        ({"streamfleet_awx_inventory": "prod"}, "streamfleet_awx_inventory is prod. Use one of production, staging."),
        ({"streamfleet_awx_inventory": "panel only"}, "Use one of production, staging."),
        ({"streamfleet_awx_panel_url": "https://p.example.net"}, "only one is set. Give both, or neither"),
        ({"streamfleet_awx_hosts_key": KEY}, "Of streamfleet_awx_hosts_user and streamfleet_awx_hosts_key only one"),
        ({"streamfleet_awx_vault": "perhaps"}, "'perhaps' must be yes or no"),
        (
            {"streamfleet_awx_porject_url": "x"},
            "Unknown: streamfleet_awx_porject_url. Use streamfleet_awx_ followed by",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_asked_of_awx(
    awx: Awx, run: Any, settings: dict[str, str], said: str
) -> None:
    code, results, changed = run(**settings)
    assert code != 0
    assert said in refusal(results)
    assert (changed, awx.writes) == ([], [])
