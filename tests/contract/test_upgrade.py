"""The modules of an upgrade, as tasks: what they refuse, and a probe that is heard.

The steps on a host with a panel are in tests/unit/test_upgrade_steps.py; all of it is in tests/live/test_upgrade.py.
"""

from __future__ import annotations

import pytest

from tests.contract.playbook import Runner, Step
from tests.doubles.radio import RadioPanelClient

pytestmark = pytest.mark.slow

MODULE = "streamfleet_panel_upgrade"
NEW = {
    "release": "/opt/streamfleet/releases/9.9.9-0123456789abcdef",
    "venv": "/opt/streamfleet/venvs/9.9.9-0123456789abcdef",
}


def test_a_host_without_a_panel_and_steps_without_a_beginning_are_refused(runner: Runner) -> None:
    runner.steps(
        Step(MODULE, {"step": "look", **NEW}, error="no panel is installed here: run install.yml"),
        Step(MODULE, {"step": "finish", "run": "x"}, error="No upgrade was begun on this host"),
        Step(MODULE, {"step": "undo"}, error="step is undo but all of the following are missing: run"),
        Step(MODULE, {"step": "claim", "run": "x"}, error="release, venv"),
        Step(MODULE, {"step": "begin", "run": "x"}, error="No upgrade was begun on this host"),
        Step(MODULE, {"step": "drain", "run": "x", "nodes": ["a/b"]}, error="'a/b' is no name of a node"),
        Step(
            MODULE,
            {"step": "away"},
            error="value of step must be one of: look, claim, begin, renew, open, finish, undo, drain, undrain",
        ),
    )


@pytest.mark.full
def test_a_probe_is_heard_or_says_why_not(runner: Runner) -> None:
    client = RadioPanelClient()
    try:
        client.create("probe-fm")
        login = client.login("probe-fm")
        secret = runner.canary(login.details["Password"])
        entries = {**login.details, "Mount": "/stream", "User": "source"}
        told = {
            "engine": "icecast",
            "slug": "probe-fm",
            "connection": [{"label": label, "value": value} for label, value in entries.items()],
            "listen_url": login.listen_url,
        }
        found = runner.tasks([{"name": "heard", "streamfleet_probe": told}])["heard"]
        assert "440 Hz in" in found["evidence"]
        assert found["changed"] is False
        wrong = [{**entry, "value": "wrong"} if entry["value"] == secret else entry for entry in told["connection"]]
        runner.steps(
            Step("streamfleet_probe", {**told, "engine": "icecats"}, error="engine: 'icecats' is none. Use one of"),
            Step("streamfleet_probe", {**told, "connection": wrong}, error="probe-fm: the encoder with the right"),
            Step(
                "streamfleet_probe", {**told, "connection": [{"label": "x"}]}, error="connection: an entry has no value"
            ),
        )
    finally:
        client.close()
