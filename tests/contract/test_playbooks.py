"""The playbooks for one thing, as a survey calls them.

Tests playbooks: apply.yml customer.yml media_service.yml.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import ROOT, Runner


class Survey:
    """Runs one of the playbooks with answers."""

    def __init__(self, runner: Runner, name: str, task: str) -> None:
        self.runner, self.path, self.task = runner, ROOT / "playbooks" / f"{name}.yml", task

    def __call__(self, answers: dict[str, Any], *options: str) -> dict[str, Any]:
        code, results, output = self.runner.playbook(self.path, answers, *options)
        assert code == 0, output[-2000:]
        return results[self.task]

    def refused(self, answers: dict[str, Any]) -> str:
        code, results, _ = self.runner.playbook(self.path, answers)
        assert code != 0
        return "\n".join(str(result.get("msg")) for result in results.values() if result.get("failed"))


def test_customer(runner: Runner, panel: Panel) -> None:
    survey = Survey(runner, "customer", "Apply the customer")
    answers = {
        "customer_username": " survey ",
        "customer_password": runner.canary("canary survey"),
        "customer_email": "survey@example.net",
        "customer_name": "",
        "customer_api_access": "no",
        "customer_account_type": "",
        "customer_reseller": "",
    }
    assert survey(answers, "--check")["changed"] is True
    assert panel.request("GET", "/customers/survey")[0] == 404
    made = survey(answers)
    assert (made["operation"], made["customer"]["api_access"], made["customer"]["name"]) == ("created", False, None)
    assert survey(answers)["changed"] is False
    changed = survey({"customer_username": "survey", "customer_api_access": "yes", "customer_email": ""}, "--diff")
    assert changed["changes"] == {"api_access": {"before": False, "after": True}}
    assert changed["customer"]["email"] == "survey@example.net", "an empty answer leaves the field as it is"
    assert survey({"customer_username": "survey", "customer_state": "absent"})["operation"] == "deleted"
    assert "customer_username is empty" in survey.refused({"customer_username": "  "})
    message = survey.refused({"customer_username": "survey", "customer_emial": "x"})
    assert "Unknown: customer_emial. Use customer_ followed by one of username" in message
    assert "must be yes or no" in survey.refused({"customer_username": "survey", "customer_api_access": "maybe"})


def test_media_service(runner: Runner, panel: Panel, owner: str) -> None:
    survey = Survey(runner, "media_service", "Apply the media service")
    answers = {
        "media_service_slug": "survey-fm",
        "media_service_customer": owner,
        "media_service_engine": "icecast",
        "media_service_max_listeners": "250",
        "media_service_mounts": '[{"name": "/live.mp3"}]',
        "media_service_source_password": runner.canary("canary-survey-source"),
        "media_service_suspended": "",
        "media_service_node": "",
    }
    made = survey(answers)
    assert made["media_service"]["max_listeners"] == 250
    assert [mount["name"] for mount in made["media_service"]["mounts"]] == ["/live.mp3"]
    assert survey(answers)["changed"] is False
    changed = survey(
        {
            "media_service_slug": "survey-fm",
            "media_service_max_listeners": "unlimited",
            "media_service_suspended": "yes",
            "media_service_suspend_reason": "unpaid",
        }
    )
    assert changed["media_service"]["max_listeners"] is None
    assert changed["media_service"]["suspended"] is True
    assert "must be a whole number, or unlimited" in survey.refused(
        {"media_service_slug": "survey-fm", "media_service_max_listeners": "lots"}
    )
    assert "Unknown: media_service_bitrate." in survey.refused(
        {"media_service_slug": "survey-fm", "media_service_bitrate": "128"}
    )


def test_apply(runner: Runner, panel: Panel, tmp_path: Path) -> None:
    survey = Survey(runner, "apply", "Apply the document")
    (tmp_path / "a.yml").write_text("customers:\n  - {username: by-file-1}\n")
    (tmp_path / "b.json").write_text(json.dumps({"customers": [{"username": "by-file-2"}]}))
    files = {"apply_files": f"{tmp_path}/a.yml\n{tmp_path}/b.json", "apply_label": "by-file"}
    assert survey(files, "--check")["summary"]["created"] == 2
    assert survey(files)["summary"]["created"] == 2
    assert survey(files)["changed"] is False
    inline = {"apply_document": {"customers": [{"username": "by-file-1"}]}, "apply_label": "by-file"}
    assert survey({**inline, "apply_prune": "yes", "apply_max_delete": "1"})["summary"]["deleted"] == 1
    as_text = {"apply_document": json.dumps(inline["apply_document"]), "apply_label": "by-file"}
    assert survey(as_text)["changed"] is False
    assert "There is nothing to apply" in survey.refused({"apply_files": ""})
    assert "Unknown: apply_file." in survey.refused({"apply_file": "x"})


@pytest.mark.parametrize("name", ["customer", "media_service", "apply"])
def test_runs_on_localhost_without_facts(name: str) -> None:
    import yaml

    (play,) = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())
    assert (play["hosts"], play["connection"], play["gather_facts"]) == ("localhost", "local", False)
