"""Tasks that only look: what they expect passes and is judged later, anything else fails at the task itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path for name in ("preflight", "self_check", "uninstall") for path in ROOT.glob(f"roles/*/tasks/{name}.yml")
)
PLAYBOOKS = sorted(ROOT.glob("playbooks/*.yml"))
LOOKS = [
    ("tasks/host", "Read the worker's public key on the panel's host"),
    ("tasks/register", "Read the installation's token on the panel's host"),
    ("uninstall", "Look for the installation's token on a panel that stays"),
]
STARTED = {"start": "2026-01-01 00:00:00"}


def _careless(tasks: list[dict[str, Any]]) -> list[str]:
    return [task["name"] for task in tasks if task.get("failed_when") is False or task.get("ignore_errors")]


def _of_playbook(path: Path) -> list[dict[str, Any]]:
    """Of a playbook, or of a file of tasks that playbooks import."""
    items = yaml.safe_load(path.read_text())
    if path.parent.name == "tasks":
        return list(_tasks(items))
    return [
        task for play in items for part in ("pre_tasks", "tasks", "post_tasks") for task in _tasks(play.get(part) or [])
    ]


def _tasks(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from _tasks(task.get(part) or [])


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parts[-3]}-{path.stem}" for path in FILES])
def test_no_look_takes_every_failure_for_an_answer(path):
    tasks = list(_tasks(yaml.safe_load(path.read_text())))
    assert tasks
    assert _careless(tasks) == []


@pytest.mark.parametrize("path", PLAYBOOKS, ids=[path.stem for path in PLAYBOOKS])
def test_no_look_of_a_playbook_does_either(path):
    assert _careless(_of_playbook(path)) == []


@pytest.mark.parametrize(
    ("role", "task", "answers", "accidents"),
    [
        ("certificates", "Verify each certificate as a client would", [0, 1, 2], [-1, 127]),
        ("certificates", "Look when each certificate expires", [0, 1], [2, 127]),
        ("panel", "Ask systemd about the panel's units", [0, 3, 4], [1, 2]),
        ("panel", "Ask the panel itself", [0, 1, 2], [77, 127]),
        ("panel", "Ask the panel by its socket, as the web server does", [0, 7, 28], [2, 3]),
        ("worker", "Ask systemd about the worker", [0, 3, 4], [1, 2]),
        ("worker", "Ask the panel, as the worker does", [0, 7, 60, 77], [2, 127]),
    ],
)
def test_answers_pass_and_accidents_fail(role, task, answers, accidents):
    for code in answers:
        assert not _fails(role, task, {"rc": code, **STARTED}), code
    for code in accidents:
        assert _fails(role, task, {"rc": code, **STARTED}), code
    # How Ansible says that there is no such program.
    assert _fails(role, task, {"rc": 2, "msg": "Error executing command."})


@pytest.mark.parametrize(("playbook", "task"), LOOKS, ids=[name for _, name in LOOKS])
def test_a_file_that_is_not_there_is_an_answer(playbook, task):
    (it,) = [one for one in _of_playbook(ROOT / "playbooks" / f"{playbook}.yml") if one.get("name") == task]
    assert not _holds(it, {"content": "c2VjcmV0"})
    assert not _holds(it, {"msg": "File not found: /etc/streamfleet/panel/install_token"})
    assert _holds(it, {"msg": "File is not readable: /etc/streamfleet/panel/install_token"})


def test_the_panel_that_does_not_answer_over_the_network_is_an_answer():
    name = "Ask the panel from here, as a browser would"
    (it,) = [one for one in _of_playbook(ROOT / "playbooks/self_check.yml") if one.get("name") == name]
    for code in (0, 7, 28, 60):
        assert not _holds(it, {"rc": code}), code
    assert _holds(it, {"rc": 2, "msg": "[Errno 2] No such file or directory: b'curl'"})


@pytest.mark.parametrize(
    ("role", "task"),
    [
        ("nginx_rtmp", "Reach the RTMP server from the controller"),
        ("web", "Reach the web server from the controller"),
    ],
)
def test_a_port_that_is_not_reached_is_an_answer(role, task):
    assert not _fails(role, task, {"state": "started"})
    assert not _fails(role, task, {"msg": "Timeout when waiting for 192.0.2.1:1935"})
    assert _fails(role, task, {"msg": "Module result deserialization failed"})
    assert _fails(role, task, {})


def _fails(role: str, name: str, result: dict[str, Any]) -> bool:
    folder = ROOT / "roles" / role / "tasks"
    tasks = yaml.safe_load((folder / "self_check.yml").read_text())
    for place in [task["ansible.builtin.import_tasks"] for task in tasks if "ansible.builtin.import_tasks" in task]:
        tasks += yaml.safe_load((folder / place).read_text())
    (task,) = [task for task in tasks if task["name"] == name]
    return _holds(task, result)


def _holds(task: dict[str, Any], result: dict[str, Any]) -> bool:
    condition = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True).compile_expression(
        task["failed_when"], undefined_to_none=False
    )
    return bool(condition({task["register"]: result}))
