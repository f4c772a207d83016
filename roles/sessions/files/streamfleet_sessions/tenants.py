"""Whose each service is. A slug that was purged may be another customer's; what was sent for the first stays his."""

from __future__ import annotations

import os
import re
from pathlib import Path

from streamfleet_sessions.lines import SLUG

UNIT = re.compile(rf"streamfleet-[a-z0-9_-]+@({SLUG.pattern})\.service\.d")
#: As whose user systemd runs the instance: there as long as the service is, on the air or not.
DROPIN = "10-user.conf"
USER = re.compile(r"^User=sf(\d{6})$", re.MULTILINE)


class Tenants:
    """Reads the drop-ins of instances in ``units``, systemd's folder."""

    def __init__(self, units: Path) -> None:
        self._units = units
        self._known: dict[str, tuple[int, int, int]] = {}

    def read(self) -> dict[str, int]:
        """The uid of the tenant of each service that has processes of its own. Raises OSError."""
        known: dict[str, tuple[int, int, int]] = {}
        found: dict[str, tuple[int, int]] = {}
        for entry in os.scandir(self._units):
            match = UNIT.fullmatch(entry.name)
            if match is None:
                continue
            try:
                status = Path(entry.path, DROPIN).stat()
                place = known[entry.name] = self._look(entry, status)
            except (FileNotFoundError, ValueError):
                continue
            # Of two that differ, as of a companion that could not be removed, the later one is true.
            _inode, changed, uid = place
            found[match[1]] = max(found.get(match[1], (0, 0)), (changed, uid))
        self._known = known
        return {slug: uid for slug, (_changed, uid) in found.items()}

    def _look(self, entry: os.DirEntry[str], status: os.stat_result) -> tuple[int, int, int]:
        before = self._known.get(entry.name)
        if before is not None and before[:2] == (status.st_ino, status.st_mtime_ns):
            return before
        match = USER.search(Path(entry.path, DROPIN).read_text("utf-8"))
        if match is None:
            raise ValueError(entry.path)
        return status.st_ino, status.st_mtime_ns, int(match[1])
