"""The files that the panel's worker reads, and the state in which a later process goes on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

#: How much of the state is written in a second at most, but after so many seconds it is, however large.
BYTES_A_SECOND, SELDOM = 64 << 10, 60.0


class Lines:
    """A file of JSON lines that is rotated by size and by day: ``<name>.jsonl``, ``<name>.1.jsonl`` and so on."""

    def __init__(self, path: Path, most_bytes: int, older: int, keep_days: float) -> None:
        self._path, self._most, self._older, self._keep = path, most_bytes, older, keep_days * 86400

    def append(self, items: Iterable[Mapping[str, Any]], now: float) -> None:
        """Write, and have it on the disk."""
        self._rotate(now)
        data = b"".join(_text(item) + b"\n" for item in items)
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            # The end of a line that a killed process has begun is its end, and no other line's beginning.
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                data = b"\n" + data
            while data:
                data = data[os.write(file, data) :]
            os.fsync(file)
        finally:
            os.close(file)

    def clean(self, now: float) -> None:
        """Remove what is too old: addresses are personal data."""
        for number in range(self._older + 1):
            path = self._name(number)
            if path.exists() and now - path.stat().st_mtime > self._keep:
                path.unlink()

    def _rotate(self, now: float) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return
        if found.st_size < self._most and _day(found.st_mtime) == _day(now):
            return
        for number in range(self._older, 0, -1):
            if self._name(number - 1).exists():
                self._name(number - 1).replace(self._name(number))

    def _name(self, number: int) -> Path:
        return self._path if not number else self._path.with_name(f"{self._path.stem}.{number}{self._path.suffix}")


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


class State:
    """What a later process needs to go on. Written when it has changed, and the larger it is, the more seldom.

    An older one does no harm: what is read again has the same ids, and counts go on from where they were.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = b""
        self._due = 0.0

    def read(self) -> dict[str, Any] | None:
        """What was kept; None where there is nothing. Raises ValueError for what is none."""
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        if not isinstance(found, dict) or found.get("schema") != 1:
            raise ValueError(f"{self._path} is of another version: remove it, and counting begins anew")
        return found

    def write(self, state: Callable[[], Mapping[str, Any]], now: float, at_once: bool = False) -> None:
        """Keep it, whole or not at all. The time of the file tells that the process is at work."""
        if at_once or not 0 <= self._due - now <= SELDOM:
            data = _text(state())
            self._due = now + min(len(data) / BYTES_A_SECOND, SELDOM)
            digest = hashlib.sha256(data).digest()
            if digest != self._kept:
                self._replace(data)
                self._kept = digest
                return
        os.utime(self._path)

    def _replace(self, data: bytes) -> None:
        new = self._path.with_name(self._path.name + ".new")
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


class Kept:
    """What others read: the last that is known, written where it is another than before. A crash may lose it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = b""

    def write(self, found: Mapping[str, Any]) -> None:
        """Keep it, whole or not at all."""
        data = _text(found)
        if data != self._kept:
            new = self._path.with_name(self._path.name + ".new")
            new.write_bytes(data + b"\n")
            new.replace(self._path)
            self._kept = data


def _text(found: Mapping[str, Any]) -> bytes:
    # Half of a surrogate pair has no other form than JSON's own, which is the same as Python's.
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")
