"""Check mode tells the truth: what install.yml predicts on a fresh host is what it then does.

Tests playbooks: install.yml.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from demo.stage import Stage

pytestmark = pytest.mark.live

_HEAD = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.*?)\] \**$")
_CHANGED = re.compile(r"^changed: \[([^\]]+)\]")


def changes(log: str) -> set[tuple[str, str]]:
    """The set of (task or handler, host) that an Ansible run reported as changed."""
    found = set()
    name = ""
    for line in log.splitlines():
        if head := _HEAD.match(line):
            name = head[1]
        elif changed := _CHANGED.match(line):
            found.add((name, changed[1].split(" -> ")[0]))
    return found


def test_the_changes_that_check_predicts_are_those_that_the_run_makes(tmp_path: Path) -> None:
    stage = Stage(f"check{secrets.token_hex(3)}", tmp_path)
    log = tmp_path / "install.log"
    try:
        stage.start()
        before = stage.on_node(["dpkg-query", "-W"])
        stage.install("--check", "--diff")
        predicted = changes(log.read_text())
        assert stage.on_node(["dpkg-query", "-W"]) == before, "check mode installed something"
        assert stage.on_node(["sh", "-c", "ls -d /etc/streamfleet /opt/streamfleet 2>/dev/null || true"]) == ""
        log.unlink()
        stage.install()
        made = changes(log.read_text())
    finally:
        stage.remove()
    assert len(made) > 20
    assert predicted == made, f"predicted only: {sorted(predicted - made)}; made only: {sorted(made - predicted)}"
