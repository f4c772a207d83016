"""The pipelines of examples/ci run what docs/ci.md says, in this order, and take down what they have put up."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.gen_engine_options import engine_specs
from tests.nodes.image import MASKED

ROOT = Path(__file__).resolve().parents[2]
STEPS = [
    "make deps players",
    "scripts/staging.sh provision",
    "scripts/staging.sh deploy",
    "scripts/staging.sh verify",
    "scripts/staging.sh destroy",
]


def loaded(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "examples" / "ci" / f"{name}.yml").read_text()))


def test_github_runs_the_steps_and_destroys_always() -> None:
    (job,) = loaded("github")["jobs"].values()
    steps = [step for step in job["steps"] if "run" in step]
    assert [step["run"] for step in steps] == STEPS
    assert {step["run"]: step.get("if") for step in steps} == {**dict.fromkeys(STEPS), STEPS[-1]: "always()"}
    assert loaded("github")["permissions"] == {"contents": "read"}


def test_gitlab_runs_the_steps_and_destroys_always() -> None:
    (job,) = loaded("gitlab").values()
    assert job["script"] == STEPS[:-1]
    assert job["after_script"] == STEPS[-1:]


def minutes(text: str) -> int:
    return int(text[:-1]) * {"m": 1, "h": 60}[text[-1]]


def test_gitlab_leaves_time_to_destroy_after_a_script_that_takes_too_long() -> None:
    """A job that runs into its own timeout has no after_script."""
    (job,) = loaded("gitlab").values()
    script, after = (job["variables"][f"RUNNER_{name}_TIMEOUT"] for name in ("SCRIPT", "AFTER_SCRIPT"))
    assert minutes(script) + minutes(after) < minutes(job["timeout"])
    page = (ROOT / "docs" / "ci.md").read_text()
    for name, value in (("SCRIPT", script), ("AFTER_SCRIPT", after)):
        assert re.search(rf"`RUNNER_{name}_TIMEOUT`\s+\({minutes(value)}\s+minutes\)", page), name


def test_github_runs_nothing_of_a_fork() -> None:
    (job,) = loaded("github")["jobs"].values()
    own = "github.event.pull_request.head.repo.full_name == github.repository"
    assert job["if"] == f"github.event_name != 'pull_request' || {own}"


def test_the_page_has_the_same_steps() -> None:
    page = (ROOT / "docs" / "ci.md").read_text()
    assert re.findall(r"^\| \w+ \| `(.*?)` \|", page, re.MULTILINE) == STEPS


def test_the_script_takes_the_steps_and_no_other() -> None:
    text = (ROOT / "scripts" / "staging.sh").read_text()
    assert re.findall(r"^(\w+)\)$", text, re.MULTILINE) == [step.split()[-1] for step in STEPS[1:]]
    done = subprocess.run([str(ROOT / "scripts/staging.sh"), "remove"], text=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert "provision|deploy|verify|destroy" in done.stderr


def test_what_is_provisioned_and_verified_is_what_the_inventory_has() -> None:
    text = (ROOT / "scripts" / "staging.sh").read_text()
    groups = yaml.safe_load((ROOT / "inventories/staging/hosts.yml").read_text())["all"]["children"]
    hosts = {host for group in groups.values() for host in group["hosts"]}
    assert set(re.findall(r"--node (\w+)", text)) == hosts
    groups_with_names = groups["streamfleet_nodes"]["hosts"]
    streams = {values["streamfleet_stream_host"]: host for host, values in groups_with_names.items()}
    assert dict(re.findall(r"--domain (stream[\w.]+)=(\w+)", text)) == streams
    variables = yaml.safe_load((ROOT / "inventories/staging/group_vars/all/main.yml").read_text())
    assert f"panel={variables['streamfleet_panel_host']}\n" in text
    engines = re.search(r"STREAMFLEET_STAGING_ENGINES:-([\w ]+)\}", text)
    assert engines is not None
    assert set(engines[1].split()) == set(groups) & set(engine_specs(ROOT))


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_no_secret_is_in_an_example(name: str) -> None:
    text = (ROOT / "examples" / "ci" / f"{name}.yml").read_text()
    for value in re.findall(r"(?:PASSWORD|TOKEN)\w*:\s*(\S.*)", text):
        assert value.startswith("${{ secrets."), value


def test_the_fleet_wants_no_part_that_its_nodes_have_switched_off() -> None:
    # The part updates refuses a host whose timers are masked, and a test node's are.
    assert {"apt-daily.timer", "apt-daily-upgrade.timer"} <= set(MASKED)
    variables = yaml.safe_load((ROOT / "inventories/staging/group_vars/all/main.yml").read_text())
    assert set(variables["streamfleet_hardening"]) == {"firewall", "fail2ban"}
