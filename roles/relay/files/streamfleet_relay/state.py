"""What is known of the relays, for people and for checks: one small file, written whole."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: Bytes alone are written down so often at most.
WRITE_SECONDS = 5.0


@dataclass
class Passage:
    """What a relay does now, and what has gone wrong last.

    ``bytes`` have been passed on since ``since``; ``reconnects`` are counted from the program's start.
    """

    name: str
    direction: str
    state: str = "connecting"
    since: str | None = None
    bytes: int = 0
    title: str | None = None
    reconnects: int = 0
    last_error: str | None = None
    last_error_at: str | None = None

    def connected(self) -> None:
        """Both ends are there."""
        self.state, self.since, self.bytes, self.title = "connected", now(), 0, None

    def passed(self, count: int) -> None:
        """So many bytes more."""
        self.bytes += count

    def waits(self, state: str, why: str | None) -> None:
        """It is not connected; ``why``: what went wrong."""
        self.state, self.since, self.bytes, self.title = state, None, 0, None
        if why is not None:
            self.reconnects += 1
            self.last_error, self.last_error_at = why, now()


class Board:
    """All passages of a station, and the file that says so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.passages: dict[str, Passage] = {}
        self._written: list[dict[str, Any]] | None = None
        self._at = 0.0

    def write(self) -> None:
        """Write the file, if something has changed, or bytes have for a while."""
        data = [asdict(self.passages[name]) for name in sorted(self.passages)]
        if data == self._written:
            return
        moment = time.monotonic()
        if self._written is not None and moment - self._at < WRITE_SECONDS and _still(data) == _still(self._written):
            return
        text = json.dumps({"relays": data}, indent=1, ensure_ascii=False) + "\n"
        new = self._path.with_name(f".{self._path.name}.new")
        new.write_text(text)
        new.replace(self._path)
        self._written, self._at = data, moment


def _still(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**item, "bytes": 0} for item in data]


def now() -> str:
    """The time, as RFC 3339 has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
