"""Nothing of the repository's surface goes untested: every module, every playbook, every role is named by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.unit.library_specs import module_names

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted(path.name for path in (ROOT / "playbooks").glob("*.yml"))
ROLES = sorted(path.parent.parent.name for path in (ROOT / "roles").glob("*/tasks/main.yml"))


def text_of_tests(*folders: str) -> str:
    """All that stands in the tests of ``folders``; not in this file."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yml")]
    return "\n".join(path.read_text() for path in paths if path != Path(__file__))


@pytest.mark.parametrize("name", module_names())
def test_every_module_has_a_contract_test(name: str) -> None:
    """Named, and run for real: as the module of a step or of a task."""
    text = text_of_tests("tests/contract")
    kind = name.removeprefix("streamfleet_")
    assert re.search(rf'MODULE = "{name}"|"{name}": ', text) or (kind.endswith("_info") and f"{name}" in text), (
        f"library/{name}.py has no test in tests/contract"
    )


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_every_playbook_has_a_test(name: str) -> None:
    text = text_of_tests("tests", "molecule")
    claimed = {
        word for line in re.findall(r"Tests playbooks: (.*)", text) for word in re.findall(r"[a-z_]+\.yml", line)
    }
    assert name in claimed, f'playbooks/{name} has no test (a test file says "Tests playbooks: {name}")'


@pytest.mark.parametrize("name", ROLES)
def test_every_role_is_run_by_a_playbook(name: str) -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "playbooks").rglob("*.yml"))
    listed = yaml.safe_load((ROOT / "engines.yml").read_text())
    if name in listed["engines"]:  # playbooks do not name engines
        name = r'"\{\{ .*engine.* \}\}"'
    elif name in listed["companions"]:
        name = r'"\{\{ companion \}\}"'
    used = re.search(rf"^\s*(?:- )?(?:role|name): {name}$|^\s*- {name}$", text, re.MULTILINE)
    assert used, f"roles/{name} is in no playbook"
