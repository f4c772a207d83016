"""What a restore notes of itself before it changes anything, so that whoever goes on after a kill knows of it."""

from __future__ import annotations

import json
from typing import Any

from .settings import Settings
from .status import write_whole

FILE = "restoring.json"


def exists(settings: Settings) -> bool:
    """Whether a restore has begun here and has not ended, though nothing of it can be read."""
    return (settings.data / FILE).exists()


def read(settings: Settings) -> dict[str, Any]:
    """``{"snapshot", "units", "database"?}``, or nothing.

    ``units``: those that were stopped. ``database``: there from before the first load on, ``{"kept": [file]}`` of what
    was kept of the one that was here.
    """
    try:
        found = json.loads((settings.data / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note(settings: Settings, **fields: Any) -> None:
    """Add to it, on the disk when this returns. Raises OSError."""
    write_whole(settings.data / FILE, json.dumps(read(settings) | fields) + "\n")


def close(settings: Settings) -> None:
    """The restore has ended."""
    (settings.data / FILE).unlink(missing_ok=True)
