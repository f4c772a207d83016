"""Where a playbook goes on without a host that cannot be reached, it does so. Tests all playbooks.

ansible-core ends a play with ``any_errors_fatal`` at an unreachable host, whether ``ignore_unreachable`` is set or not
(plugins/strategy/linear.py): a task that is to go on has to say ``any_errors_fatal: false``, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import forked_ansible

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "playbooks"
INCLUDES = [f"ansible.builtin.{way}_tasks" for way in ("import", "include")]
PLAY = """
- hosts: all
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.ping:
      ignore_unreachable: true
      any_errors_fatal: {ends}
      register: pinged
    - ansible.builtin.copy: {{content: "{{{{ pinged is unreachable }}}}", dest: "{out}/{{{{ inventory_hostname }}}}"}}
      delegate_to: localhost
"""


def tasks_of(tasks: list[dict[str, Any]], seen: set[Path]) -> Iterator[dict[str, Any]]:
    """All tasks, with those of their blocks and of the files that they name."""
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_of(task.get(part, []), seen)
        for name in filter(None, map(task.get, INCLUDES)):
            place = PLAYBOOKS / "tasks" / Path(name if isinstance(name, str) else name["file"]).name
            if place.exists() and place not in seen:
                seen.add(place)
                yield from tasks_of(yaml.safe_load(place.read_text()) or [], seen)


def test_a_task_that_goes_on_without_a_host_does_not_end_its_play() -> None:
    found = []
    for playbook in sorted(PLAYBOOKS.glob("*.yml")):
        for play in yaml.safe_load(playbook.read_text()):
            parts = [task for part in ("pre_tasks", "tasks", "post_tasks") for task in play.get(part, [])]
            if not play.get("any_errors_fatal"):
                continue
            assert not play.get("ignore_unreachable"), f"{playbook.name}: {play['name']}"
            for task in tasks_of(parts, set()):
                if task.get("ignore_unreachable"):
                    found.append(task["name"])
                    assert task.get("any_errors_fatal") is False, f"{playbook.name}: {task['name']}"
    assert found


@pytest.mark.parametrize(("ends", "there"), [("false", ["here", "lost"]), ("true", [])])
def test_ansible_takes_it_for_an_error_otherwise(ends: str, there: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "play.yml").write_text(PLAY.format(ends=ends, out=out))
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"here": here, "lost": {"ansible_host": "127.0.0.1", "ansible_port": 1}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    done = forked_ansible.playbook(["-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml")])
    assert sorted(path.name for path in out.iterdir()) == there, done.stdout
