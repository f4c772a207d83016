"""A forked ansible-playbook is the program: it says and does the same, and no run knows of another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from scripts import forked_ansible

TOLD = "{{ lookup('env', 'STREAMFLEET_TOLD') }} of {{ said }}"


def play(folder: Path, *tasks: dict[str, Any]) -> list[str]:
    """Arguments for a play of these tasks on this machine."""
    path = folder / "play.yml"
    path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]))
    extra = {"said": "this", "ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    return ["-i", "localhost,", "-e", json.dumps(extra), str(path)]


def debug(text: str) -> dict[str, Any]:
    return {"name": "Say", "ansible.builtin.debug": {"msg": text}}


def timeless(text: str) -> str:
    """What was printed, without the times in it."""
    return re.sub(r"[0-9]+", "0", text)


@pytest.mark.slow
def test_says_what_the_program_says(tmp_path: Path) -> None:
    fails = {"name": "Fail", "ansible.builtin.command": "false", "environment": {"LC_ALL": "C.UTF-8"}}
    arguments = play(tmp_path, debug(TOLD), fails)
    env = {**os.environ, "STREAMFLEET_TOLD": "by me"}
    real = subprocess.run(
        [forked_ansible.PROGRAM, *arguments], cwd=forked_ansible.ROOT, env=env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    forked = forked_ansible.playbook(arguments, env=env)
    assert forked.returncode == real.returncode == 2
    assert "by me of this" in forked.stdout
    assert timeless(forked.stdout) == timeless(real.stdout)
    assert forked.stderr == real.stderr


def test_no_run_knows_of_another(tmp_path: Path) -> None:
    arguments = play(tmp_path, debug("{{ lookup('env', 'STREAMFLEET_TOLD') | default('nothing', true) }}"))
    said = [
        forked_ansible.playbook(arguments, env={**os.environ, **own}).stdout
        for own in ({"STREAMFLEET_TOLD": "a secret"}, {})
    ]
    assert "a secret" in said[0]
    assert "a secret" not in said[1]
    assert "nothing" in said[1]


def test_other_settings_are_those_of_another_process(tmp_path: Path) -> None:
    arguments = play(tmp_path, debug("forks: {{ lookup('config', 'DEFAULT_FORKS') }}"))
    assert "forks: 31" not in forked_ansible.playbook(arguments).stdout
    assert "forks: 31" in forked_ansible.playbook(arguments, env={**os.environ, "ANSIBLE_FORKS": "31"}).stdout


def test_what_cannot_be_read_is_told_as_by_the_program(tmp_path: Path) -> None:
    done = forked_ansible.playbook([str(tmp_path / "none.yml")])
    assert done.returncode == 1
    assert "none.yml could not be found" in done.stderr


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    wait = {"name": "Wait", "ansible.builtin.command": "sleep 60"}
    begun = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        forked_ansible.playbook(play(tmp_path, wait), timeout=3)
    assert time.monotonic() - begun < 40
    assert forked_ansible.playbook(play(tmp_path, debug("later"))).returncode == 0


def test_several_run_side_by_side(tmp_path: Path) -> None:
    said: dict[int, str] = {}

    def one(number: int) -> None:
        (tmp_path / str(number)).mkdir()
        said[number] = forked_ansible.playbook(play(tmp_path / str(number), debug(f"number {number}"))).stdout

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"number {number}" in said[number] for number in range(3))


def test_a_process_that_cannot_import_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        forked_ansible.playbook([], env={**os.environ, "ANSIBLE_CONFIG": "/dev/null", "PYTHONHOME": "/nowhere"})
