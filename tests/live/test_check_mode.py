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
from tests.platforms import FirstInstall, demo_node

pytestmark = pytest.mark.live

_HEAD = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.*?)\] \**$")
_CHANGED = re.compile(r"^changed: \[([^\]]+)\]")
#: What an installation puts where nothing else is called so.
OURS = ["find", "/etc", "/opt", "/usr/lib", "/var/lib", "-maxdepth", "1", "-name", "streamfleet*"]


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
    stage = demo_node(f"fresh{secrets.token_hex(3)}", tmp_path / "state")
    try:
        stage.start()
        yield stage
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
    assert fresh.on_node(OURS) == "", "check mode wrote something"
    assert len(first_install.stage.on_node(OURS).split()) >= 4
    predicted, made = changes((fresh.state / "install.log").read_text()), changes(first_install.log)
    assert len(made) > 20
    assert predicted == made, f"predicted only: {sorted(predicted - made)}; made only: {sorted(made - predicted)}"
