"""The two steps of the firewall's action: what it does when the new rules let it in again, and when they do not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure

from action_plugins import streamfleet_firewall as action


class HostDouble:
    """A host that is reached by connections: how many of them fail after the change, and what the module says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], lost: int = 0) -> None:
        self.change = change
        self.lost = lost
        self.steps: list[dict[str, Any]] = []
        self.resets = 0
        self.slept = 0.0
        self.plugin = object.__new__(action.ActionModule)
        self.plugin._task = SimpleNamespace(args={"open": [], "confirm_seconds": 40}, async_val=0)
        self.plugin._connection = SimpleNamespace(transport="ssh", reset=self.reset)
        monkeypatch.setattr(action.ActionBase, "run", lambda *_args, **_options: {})
        monkeypatch.setattr(self.plugin, "_execute_module", self.module, raising=False)
        monkeypatch.setattr(self.plugin, "_low_level_execute_command", self.command, raising=False)
        monkeypatch.setattr(action.time, "sleep", self.sleep)
        monkeypatch.setattr(action.time, "monotonic", lambda: self.slept)

    def run(self) -> dict[str, Any]:
        result: dict[str, Any] = self.plugin.run(task_vars={})
        return result

    def reset(self) -> None:
        self.resets += 1

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def _connect(self) -> None:
        if self.resets and self.lost:
            self.lost -= 1
            raise AnsibleConnectionFailure("Connection timed out")

    def module(self, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self._connect()
        self.steps.append(module_args)
        return dict(self.change) if module_args["step"] == "change" else {"changed": True}

    def command(self, command: str) -> dict[str, Any]:
        self._connect()
        return {"rc": 0}


CHANGED = {"changed": True, "unconfirmed": "a1b2", "ssh_ports": [22]}


def test_a_change_is_confirmed_over_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    host = HostDouble(monkeypatch, CHANGED)
    assert host.run() == {"changed": True, "ssh_ports": [22]}
    assert [step["step"] for step in host.steps] == ["change", "confirm"]
    assert host.steps[1]["token"] == "a1b2"
    assert host.steps[0]["needs_ssh"] is True
    assert host.resets == 1


@pytest.mark.parametrize(
    "said",
    [{"changed": False, "unconfirmed": ""}, {"changed": True, "unconfirmed": ""}, {"failed": True, "msg": "x"}],
)
def test_where_there_is_nothing_to_confirm_nothing_is(monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]) -> None:
    host = HostDouble(monkeypatch, said)
    assert host.run() == {name: value for name, value in said.items() if name != "unconfirmed"}
    assert (len(host.steps), host.resets) == (1, 0)


def test_locked_out_it_waits_until_the_host_has_taken_the_change_back(monkeypatch: pytest.MonkeyPatch) -> None:
    host = HostDouble(monkeypatch, CHANGED, lost=3)
    result = host.run()
    assert (result["failed"], result["changed"], result["reverted"]) == (True, False, True)
    assert (
        "keeps this controller out: Connection timed out The host has taken it back and answers again." in result["msg"]
    )
    # Not before its time.
    assert host.slept >= 40
    assert [step["step"] for step in host.steps] == ["change"]


def test_a_host_that_does_not_come_back_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    host = HostDouble(monkeypatch, CHANGED, lost=10**6)
    result = host.run()
    assert (result["failed"], result["reverted"]) == (True, False)
    assert "The host does not answer yet." in result["msg"]
    assert host.slept < 40 + 2 * action.PATIENCE
