"""The relays of a station, as converge has written them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Relay:
    """One relay; equal ones need not connect anew. ``live``: a file that says whether a DJ is on the air."""

    name: str
    direction: str
    address: str
    mount: str
    format: str
    title: str
    username: str | None
    password: str | None
    listener_password: str | None
    live: str | None
    enabled: bool
    silence_seconds: int
    reconnect_seconds: int

    @property
    def incoming(self) -> bool:
        """From elsewhere to the station."""
        return self.direction == "in"


def relays_of(data: Any) -> dict[str, Relay]:
    """The enabled relays by name. Raises KeyError and TypeError for what is no list of relays."""
    names = [field.name for field in fields(Relay)]
    relays = [Relay(**{name: item[name] for name in names}) for item in data]
    return {relay.name: relay for relay in relays if relay.enabled}


class Roster:
    """The file of a station's relays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None

    def changed(self) -> dict[str, Relay] | None:
        """The relays if the file is another than the last time; None where it is the same, or cannot be read."""
        try:
            stat = self._path.stat()
            seen = stat.st_ino, stat.st_mtime_ns
            if seen == self._seen:
                return None
            found = relays_of(json.loads(self._path.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            # Written anew with a rename: whole the next time, or gone with the station.
            return None
        self._seen = seen
        return found


def dj_on_air(path: str | None) -> bool:
    """Whether the way in for DJs says that one is on the air; not where it says nothing."""
    if path is None:
        return False
    try:
        said = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and said.get("on_air") is not None
