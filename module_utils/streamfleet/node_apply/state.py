"""What the node remembers: the state of the last apply, and the journal of one that is under way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import durable
from .errors import ApplyError
from .host import Host

SCHEMA = 1


def load(host: Host) -> dict[str, Any]:
    """The state: ``{"epoch", "generation", "services": {key: entry}}``; empty on a new node."""
    data = _read(host.state)
    return data or {"schema": SCHEMA, "epoch": "", "generation": 0, "services": {}}


def load_journal(host: Host) -> dict[str, Any]:
    """``{"services": {key: {"unit", "files", "action"}}}`` of a run that was killed; empty if none was."""
    data = _read(host.journal)
    return data or {"schema": SCHEMA, "services": {}}


def save(path: Path, data: Mapping[str, Any]) -> None:
    """Write durably: the file is the old one or the new one, whenever the power goes. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.write(path, json.dumps({**data, "schema": SCHEMA}, separators=(",", ":")).encode(), 0o600)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ApplyError(
            f"{path} cannot be read ({error}). Nothing was changed. Restore it from a backup, or move it away: the next"
            " run then compares everything with the files themselves."
        ) from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("services"), dict):
        raise ApplyError(f"{path} is not of schema {SCHEMA}: it was written by another release. Nothing was changed.")
    return data
