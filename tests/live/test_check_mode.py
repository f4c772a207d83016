"""Check mode tells the truth: what install.yml predicts on a fresh host is what it then does.

Tests playbooks: install.yml.
"""

from __future__ import annotations

import re

import pytest

from tests.live.conftest import FirstInstall

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


def test_the_changes_that_check_predicts_are_those_that_the_run_makes(first_install: FirstInstall) -> None:
    if not first_install.check:
        pytest.skip("STREAMFLEET_LIVE_FLEET names a node on which the platform was installed before")
    before, after = first_install.packages
    assert before == after != "", "check mode installed something"
    assert first_install.left == "", "check mode wrote something"
    predicted, made = changes(first_install.check), changes(first_install.made)
    assert len(made) > 20
    assert predicted == made, f"predicted only: {sorted(predicted - made)}; made only: {sorted(made - predicted)}"
