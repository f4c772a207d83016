"""The DJs of a station: who they are, and whether they may be on the air now."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from . import chooser
from .wire import Login


@dataclass(frozen=True)
class DJ:
    """One DJ, as the panel says. ``active`` are windows as playlists have them; ``kick`` changes when it shall go."""

    username: str
    name: str
    password: str
    priority: int
    enabled: bool
    scheduled_only: bool
    active: tuple[Mapping[str, Any], ...] | None
    grace_seconds: float
    record: bool
    kick: int

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> DJ:
        """From plain data. Raises KeyError, TypeError or ValueError."""
        return cls(
            username=str(data["username"]),
            name=str(data["name"]),
            password=str(data["password"]),
            priority=int(data["priority"]),
            enabled=bool(data["enabled"]),
            scheduled_only=bool(data["scheduled_only"]),
            active=None if data["active"] is None else tuple(data["active"]),
            grace_seconds=float(data["grace_seconds"]),
            record=bool(data["record"]),
            kick=int(data["kick"]),
        )

    def in_time(self, timezone: str, now: float) -> bool:
        """Whether its hours allow it at ``now`` (seconds of the epoch), by the station's clock."""
        if not self.scheduled_only:
            return True
        return chooser.is_active(self.active, datetime.fromtimestamp(now, chooser.zone(timezone)))


class Roster:
    """The file of DJs, read again when it changes. A file that cannot be read leaves things as they are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self.timezone = "UTC"
        self.djs: dict[str, DJ] = {}

    def refresh(self) -> bool:
        """Whether there was something new."""
        try:
            status = self._path.stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
            if stamp == self._stamp:
                return False
            data = json.loads(self._path.read_bytes())
            djs = {dj.username: dj for dj in map(DJ.of, data["djs"])}
            timezone = str(data["timezone"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        self._stamp, self.djs, self.timezone = stamp, djs, timezone
        return True

    def authenticated(self, login: Login) -> DJ | None:
        """The DJ whose log-in this is. How long it takes tells nothing of names or passwords."""
        dj = self.djs.get(login.username)
        expected = dj.password if dj is not None else "\0"
        same = hmac.compare_digest(login.password.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))
        return dj if same else None
