"""Whether an upgrade works on the panel's database: then what it holds may be half of a migration, or be taken back."""

from __future__ import annotations

import json
import time
from typing import Any

from .errors import BackupError
from .settings import Settings
from .status import Status

#: Phases of an upgrade in which its database is not the one that stays (module_utils/streamfleet/upgrade/journal.py).
UNSETTLED = ("begun", "snapshot", "open", "undoing")
#: How long one that works is waited for, and how long after its last step it counts as working, in seconds.
PATIENCE, LEASE = 3600.0, 1800.0
POLL_SECONDS = 5.0


def wait(settings: Settings, status: Status) -> None:
    """Come back when the database is the one that stays. Raises BackupError where that takes too long."""
    deadline, told = time.monotonic() + PATIENCE, False
    while (journal := _journal(settings)).get("phase") in UNSETTLED:
        dead = time.time() - float(journal.get("touched", 0)) > LEASE
        if dead or time.monotonic() > deadline:
            raise BackupError(
                f"an upgrade has begun on this host and has not ended ({settings.upgrade / 'journal.json'}: phase"
                f" {journal['phase']}), so the panel's database may not be the one that stays. Wait for its end, or"
                " have upgrade.yml -e upgrade_take_over=yes finish or undo it. Nothing was stored."
            )
        if not told:
            status.phase("upgrade", "waiting for the end of an upgrade of this host")
            told = True
        time.sleep(POLL_SECONDS)


def trace(settings: Settings) -> tuple[bool, int]:
    """What is another one after an upgrade has begun, or has ended: compared before and after a dump."""
    try:
        ended = (settings.upgrade / "last.json").stat().st_mtime_ns
    except OSError:
        ended = 0
    return _journal(settings).get("phase") in UNSETTLED, ended


def _journal(settings: Settings) -> dict[str, Any]:
    """The journal of the upgrade that works or was killed; it is written whole."""
    try:
        found = json.loads((settings.upgrade / "journal.json").read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BackupError(
            f"{settings.upgrade / 'journal.json'} cannot be read ({error}). Run upgrade.yml again. Nothing was stored."
        ) from None
    return found if isinstance(found, dict) else {}
