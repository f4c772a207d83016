"""What ansible-lint leaves out for the sake of time is nothing that it could say anything about."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = yaml.safe_load((ROOT / ".ansible-lint.yml").read_text())["exclude_paths"]
#: What is not ours, is built, or is held by the tools that read it.
OTHERS = {
    ".venv/",
    ".cache/",
    ".nodes/",
    ".demo/",
    ".ansible/",
    "build/",
    "changelogs/",
    "molecule/*/molecule.yml",
    ".github/",
}


@pytest.mark.parametrize("pattern", [pattern for pattern in LEFT_OUT if pattern not in OTHERS])
def test_no_yaml_is_left_out(pattern: str) -> None:
    folder = ROOT / pattern.removesuffix("*")
    assert any(path.is_file() for path in folder.rglob("*")), "is not there: take it out of .ansible-lint.yml"
    # A pattern without a slash inside would leave out folders of that name anywhere, such as roles/panel.
    assert "/" in pattern.rstrip("/")
    assert [path for path in folder.rglob("*") if path.suffix in (".yml", ".yaml")] == []
