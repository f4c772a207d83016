"""What a restore notes of itself before it changes anything, so that whoever goes on after a kill knows of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from typing import Any

from .settings import Settings
from .status import write_whole

FILE = "restoring.json"
#: Folder of files that are named as units. The panel's and the worker's do not start while theirs is there
#: (AssertPathExists): a host may be restarted in the middle of a restore.
HELD = "held"

HELD_TEXT = (
    "A restore has begun and has not ended: run restore.yml again. Where its backup is gone: docs/backup.md, A restore"
    " that cannot be ended.\n"
)


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


def hold(settings: Settings, units: Iterable[str]) -> None:
    """Have these units not start, also at boot, until ``free``. Raises OSError."""
    (settings.data / HELD).mkdir(mode=0o700, exist_ok=True)
    for name in units:
        write_whole(settings.data / HELD / name, HELD_TEXT)


def free(settings: Settings) -> None:
    """What was held may start again."""
    shutil.rmtree(settings.data / HELD, ignore_errors=True)


def close(settings: Settings) -> None:
    """The restore has ended."""
    (settings.data / FILE).unlink(missing_ok=True)
