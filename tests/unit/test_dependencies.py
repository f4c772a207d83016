"""What the panel asks for is what it uses: every package on a node is one that somebody has to keep safe."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PANEL = ROOT / "panel"
#: Loaded by others than our own code, and why.
BY_OTHERS = {
    "argon2-cffi": "Django's password hasher",
    "ansible-core": "the program that the worker starts",
    "gunicorn": "the program in the panel's unit",
    "psycopg": "Django's PostgreSQL backend",
}


def _modules(name: str) -> set[str]:
    """The top-level modules that a distribution installs."""
    tops = {file.parts[0] for file in distribution(name).files or () if file.suffix in (".py", ".so")}
    return {top.split(".")[0] for top in tops}


def test_the_panel_uses_every_package_that_it_asks_for():
    asked = tomllib.loads((PANEL / "pyproject.toml").read_text())["project"]["dependencies"]
    text = "\n".join(path.read_text() for path in (PANEL / "streamfleet_panel").rglob("*.py"))
    names = {Requirement(line).name for line in asked}
    unused = [
        name
        for name in sorted(names - set(BY_OTHERS))
        if not any(re.search(rf"\b{re.escape(module)}\b", text) for module in _modules(name))
    ]
    assert unused == []
    assert set(BY_OTHERS) <= names
