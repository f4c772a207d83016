"""What goes on by itself on a host: asked for again until it is through, and each news of it is said once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from action_plugins import streamfleet_backup_job, streamfleet_media_move

COPYING = [{"running": True, "step": "copy, pass 1", "percent": percent, "words": ""} for percent in (41.2, 41.4, 60.0)]
WORKING = [
    {"state": "running", "phase": "files", "percent": 0, "message": "looks"},
    {"state": "running", "phase": "files", "percent": 12.4, "message": ""},
]


def run(
    plugin: Any, monkeypatch: pytest.MonkeyPatch, answers: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[str]]:
    """The action's result, with these answers of its module, all of which it has to ask for; and what it said."""
    said: list[str] = []
    made = object.__new__(plugin.ActionModule)
    made._task = SimpleNamespace(args={}, async_val=0)
    monkeypatch.setattr(plugin.ActionBase, "run", lambda *_args, **_options: {})
    monkeypatch.setattr(made, "_execute_module", lambda **_options: answers.pop(0), raising=False)
    monkeypatch.setattr(plugin.display, "display", said.append)
    result: dict[str, Any] = made.run(task_vars={"inventory_hostname": "n1"})
    assert answers == []
    return result, said


def test_a_copy_of_libraries_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    end = {"changed": True, "status": {"running": False}}
    answers = [*({"status": status} for status in COPYING), end]
    assert run(streamfleet_media_move, monkeypatch, answers) == (
        end,
        ["n1: copy, pass 1 41 %", "n1: copy, pass 1 60 %"],
    )


@pytest.mark.parametrize(
    "end", [{"status": {"state": "done"}}, {"changed": False}, {"failed": True, "status": WORKING[0]}]
)
def test_a_backup_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch, end: dict[str, Any]) -> None:
    answers = [*({"status": status} for status in WORKING), end]
    assert run(streamfleet_backup_job, monkeypatch, answers) == (end, ["n1: files looks", "n1: files 12 %"])
