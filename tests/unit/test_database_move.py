"""What playbooks/database_move.yml says and hides; what it does is shown by tests/live/test_database_move.py.

Tests playbooks: database_move.yml.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]


def tasks(found: Any) -> Iterator[dict[str, Any]]:
    """All tasks, in whatever blocks."""
    if isinstance(found, list):
        for item in found:
            yield from tasks(item)
    elif isinstance(found, dict):
        if "name" in found:
            yield found
        for part in ("tasks", "block", "rescue", "always"):
            yield from tasks(found.get(part, []))


def named(name: str) -> dict[str, Any]:
    (task,) = [
        one for one in tasks(yaml.safe_load((ROOT / "playbooks/database_move.yml").read_text())) if one["name"] == name
    ]
    return task


def said(text: str, **variables: Any) -> str:
    templar = Templar(loader=DataLoader(), variables=variables)
    return str(templar.template(trust_as_template(text)))


def test_the_task_that_is_given_the_password_shows_nothing() -> None:
    found = yaml.safe_load((ROOT / "roles/panel/tasks/move_database.yml").read_text())
    given = [task for task in found if "_streamfleet_panel_database_used" in str(task)]
    assert given
    assert all(task["no_log"] is True for task in given)


@pytest.mark.parametrize(
    ("undone", "expected"),
    [
        ({"result": {"undone": True}}, "no room. The panel uses sqlite:///a as before."),
        ({"result": {"undone": False}}, "no room. The data was moved all the same: the panel uses postgres://b, and"),
        ({"skipped": True}, "no room. The panel uses sqlite:///a as before."),
    ],
)
def test_a_run_that_fails_says_where_the_data_is(undone: dict[str, Any], expected: str) -> None:
    text = named("Say why the data was not moved, or what is left to be done")["ansible.builtin.fail"]["msg"]
    known = {"move_why": "no room.", "move_from": "sqlite:///a", "move_to": "postgres://b", "move_undone": undone}
    assert said(text, **{f"__streamfleet_{name}": value for name, value in known.items()}).startswith(expected)


@pytest.mark.parametrize(
    ("check", "expected"), [(True, "Would undo: 0.1.0 to"), (False, "The panel uses sqlite: again")]
)
def test_check_mode_does_not_say_that_it_is_undone(check: bool, expected: str) -> None:
    text = named("Say that it is undone")["ansible.builtin.debug"]["msg"]
    looked = {"plan": {"begun": {"text": "0.1.0 to 0.2.0"}}}
    facts = {"streamfleet_host": {"panel_database": "sqlite:"}}
    assert said(text, ansible_check_mode=check, __streamfleet_panel_looked=looked, ansible_facts=facts).startswith(
        expected
    )


def test_it_looks_whether_it_is_still_the_one_before_the_panel_changes() -> None:
    names = [task["name"] for task in tasks(yaml.safe_load((ROOT / "playbooks/database_move.yml").read_text()))]
    at = names.index("See that this run is still the one that moves")
    assert names[at - 1 : at + 2] == ["Copy", names[at], "Have the panel use it"]
