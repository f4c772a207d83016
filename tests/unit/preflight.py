"""A role's preflight on a host for each input, and what each of them has said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def refusals(role: str, cases: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """Host (``case0`` …, with the variables of that case) → what it was refused with; none of those that passed.

    Raises AssertionError where a host has not come to its end, or has failed without a word.
    """
    hosts = {f"case{number}": dict(given) for number, given in enumerate(cases)}
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
    tasks = [{"ansible.builtin.include_role": {"name": role, "tasks_from": "preflight"}}]
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(folder / "hosts.json"),
            str(folder / "play.yml"),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(folder), "ANSIBLE_NOCOLOR": "1",
        },
    )  # fmt: skip
    found: dict[str, list[str]] = {}
    for host, text in re.findall(r"^(?:fatal|failed): \[(case\d+)\].*?=> (.*)$", done.stdout, re.MULTILINE):
        found.setdefault(host, []).append(" ".join(json.loads(text)["msg"].split()))
    recap = dict(re.findall(r"^(case\d+)\s.*failed=(\d)", done.stdout, re.MULTILINE))
    assert len(recap) == len(cases), done.stdout[-3000:] + done.stderr[-3000:]
    assert {host for host, failed in recap.items() if failed != "0"} == set(found)
    return {host: " | ".join(texts) for host, texts in found.items()}
