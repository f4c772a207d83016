"""The upgrade of host after host, run by Ansible itself: it ends at a host that fails or is lost, and lets others work.

The play is that of playbooks/upgrade.yml; what it brings in is a double. On nodes: tests/live/test_upgrade_fleet.py.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from scripts.forked_ansible import playbook

# Each runs Ansible.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
#: Doubles of what the play brings in: one host is broken, which is said by ``broken``.
FILES = {
    "vars/wiring.yml": "{}",
    "vars/upgrade.yml": "{__streamfleet_upgrade_touches: true, __streamfleet_upgrade_packages: false}",
    "tasks/host.yml": """
- {name: Work, ansible.builtin.debug: {msg: "{{ inventory_hostname }}"}}
- {name: Fail, ansible.builtin.fail: , when: broken == "failed " ~ inventory_hostname}
- {name: Go on, ansible.builtin.command: "true"}
""",
    "tasks/fleet_lock.yml": "- {name: Lock, ansible.builtin.debug: {msg: locked}, run_once: true}",
    "tasks/upgrade_drain.yml": """
- name: Drain or give back
  ansible.builtin.debug: {msg: "{{ __streamfleet_upgrade_status }} {{ inventory_hostname }}"}
- name: Have no panel
  ansible.builtin.fail:
  when: broken == "panel away" and __streamfleet_upgrade_status == "active"
""",
    "tasks/fleet_unlock.yml": "- {name: Unlock, ansible.builtin.debug: {msg: unlocked}, run_once: true}",
}


def upgraded(folder: Path, serial: int, broken: str) -> tuple[str, list[str]]:
    """What Ansible printed, and the hosts whose turn came to its end, of n1, n2, n3 and n4."""
    (play,) = [
        play
        for play in yaml.safe_load((ROOT / "playbooks/upgrade.yml").read_text())
        if play["name"] == "Upgrade host after host"
    ]
    del play["gather_subset"]
    play |= {"hosts": "all", "become": False, "gather_facts": False}
    for name, text in {**FILES, "play.yml": yaml.safe_dump([play])}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    # Nobody listens at port 1: a host that is lost.
    lost = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_timeout": 2}
    hosts = {name: lost if broken == f"lost {name}" else local for name in ("n1", "n2", "n3", "n4")}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    done = playbook(
        [
            "-i",
            str(folder / "hosts.yml"),
            str(folder / "play.yml"),
            "-e",
            f"upgrade_serial={serial}",
            "-e",
            f"broken='{broken}'",
        ],
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0"},
        timeout=60,
    )
    ended = re.findall(r"changed: \[(n\d)\]", done.stdout)
    assert done.returncode != 0, done.stdout + done.stderr
    return " ".join(done.stdout.split()), sorted(ended)


def test_the_lock_is_prolonged_for_each_host_and_given_back_without_the_panel(tmp_path: Path) -> None:
    said, done = upgraded(tmp_path, 1, "failed n2")
    assert done == ["n1"], said
    assert said.count('"msg": "locked"') == 2, said
    assert [f'"msg": "active {name}"' in said for name in ("n1", "n2", "n3")] == [True, True, False]
    said, done = upgraded(tmp_path, 1, "panel away")
    assert done == ["n1"], said
    assert said.count('"msg": "unlocked"') == 1, said


def test_a_host_that_was_not_drained_is_not_given_back(tmp_path: Path) -> None:
    said, _ = upgraded(tmp_path, 1, "lost n2")
    assert '"msg": "active n3"' not in said, said


@pytest.mark.parametrize(("serial", "broken", "ended"), [(1, "lost n2", ["n1"]), (2, "failed n3", ["n1", "n2"])])
def test_it_ends_at_a_host_that_fails_or_is_lost(tmp_path: Path, serial: int, broken: str, ended: list[str]) -> None:
    said, done = upgraded(tmp_path, serial, broken)
    assert done == ended, said
    assert said.count('"msg": "unlocked"') == 1, said
    if broken.startswith("lost"):
        assert "n2 did not get to the end of its upgrade, so no further host is upgraded" in said
