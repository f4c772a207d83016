"""Recordings of shows: what a DJ sends, as it comes, capped in number and in size."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

#: Recordings of a station that are kept, and the bytes of all together.
KEPT = 20
MOST_BYTES = 2 * 1024**3
SUFFIXES = (".mp3", ".aac", ".ogg")


class Full(Exception):
    """There is no room for more."""


class Shelf:
    """The recordings of a station. ``most``: bytes of all together."""

    def __init__(self, folder: Path, most: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most = most
        self._used = 0
        self._open: set[Path] = set()

    def begin(self, username: str, suffix: str, now: float) -> Recording:
        """A new recording of a show that begins at ``now`` (seconds of the epoch); the oldest ones make room for it."""
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        return self.resume(self._folder / f"{username}-{moment}.{suffix}")

    def resume(self, path: Path) -> Recording:
        """Go on with a recording, after a drop-out. Raises OSError."""
        recording = Recording(self, path)
        self._open.add(path)
        found = [item for item in self._folder.iterdir() if item.suffix in SUFFIXES and item.is_file()]
        found.sort(key=lambda item: (item.stat().st_mtime_ns, item.name))
        for old in [item for item in found if item not in self._open][: max(0, len(found) - KEPT)]:
            old.unlink(missing_ok=True)
        self._used = sum(item.stat().st_size for item in found if item.exists())
        return recording

    def take(self, size: int) -> None:
        """Room for so many bytes. Raises Full."""
        if self._used + size > self._most:
            raise Full
        self._used += size

    def put_back(self, path: Path) -> None:
        """This one is written no more."""
        self._open.discard(path)


class Recording:
    """One show's file."""

    def __init__(self, shelf: Shelf, path: Path) -> None:
        self.path = path
        self._shelf = shelf
        # Not buffered: what the file has is what is counted.
        self._stream: io.FileIO | None = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Keep these bytes. Raises Full, or OSError."""
        if self._stream is not None:
            self._shelf.take(len(data))
            self._stream.write(data)

    def close(self) -> None:
        """Write it out. Raises OSError."""
        stream, self._stream = self._stream, None
        self._shelf.put_back(self.path)
        if stream is not None:
            stream.close()
