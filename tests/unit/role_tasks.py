"""Tasks of roles, and what their templates come to without a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]


def tasks(role: str, file: str) -> dict[str, dict[str, Any]]:
    """A role's tasks by their names."""
    return {task["name"]: task for task in yaml.safe_load((ROOT / f"roles/{role}/tasks/{file}.yml").read_text())}


def variables(role: str) -> dict[str, Any]:
    """What a role has in its vars and defaults."""
    found: dict[str, Any] = {}
    for kind in ("defaults", "vars"):
        path = ROOT / f"roles/{role}/{kind}/main.yml"
        found |= (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}
    return found


def templated(value: Any, values: dict[str, Any]) -> Any:
    """What a text with templates, or whatever has such texts in it, comes to with these variables."""

    def trusted(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: trusted(inner) for name, inner in one.items()}
        if isinstance(one, list):
            return [trusted(inner) for inner in one]
        return trust_as_template(one) if isinstance(one, str) else one

    return Templar(loader=DataLoader(), variables=trusted(values)).template(trusted(value))
