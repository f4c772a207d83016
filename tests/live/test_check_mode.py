"""Check mode tells the truth: what install.yml predicts on a fresh host is what it then does.

Tests playbooks: install.yml.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stage import Stage
from tests.platforms import FirstInstall, bare

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


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Stage]:
    """A node on which nothing was installed."""
    fleet = f"fresh{secrets.token_hex(3)}"
    stage = Stage(fleet, tmp_path / "state")
    try:
        yield bare(fleet, tmp_path / "state")
    finally:
        stage.remove()


def test_the_changes_that_check_predicts_are_those_that_the_run_makes(
    first_install: FirstInstall, fresh: Stage
) -> None:
    if not first_install.log:
        pytest.skip("STREAMFLEET_LIVE_FLEET names a node on which the platform was installed before")
    packages = fresh.on_node(["dpkg-query", "-W"])
    fresh.install("--check", "--diff")
    assert fresh.on_node(["dpkg-query", "-W"]) == packages != "", "check mode installed something"
    left = fresh.on_node(["sh", "-c", "ls -d /etc/streamfleet /opt/streamfleet 2>/dev/null || true"])
    assert left == "", "check mode wrote something"
    predicted, made = changes((fresh.state / "install.log").read_text()), changes(first_install.log)
    assert len(made) > 20
    assert predicted == made, f"predicted only: {sorted(predicted - made)}; made only: {sorted(made - predicted)}"
