"""The files that the panel's worker reads, and the state in which a later process goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Lines:
    """A file of JSON lines that is rotated by size and by day: ``<name>.jsonl``, ``<name>.1.jsonl`` and so on."""

    def __init__(self, path: Path, most_bytes: int, older: int, keep_days: float) -> None:
        self._path, self._most, self._older, self._keep = path, most_bytes, older, keep_days * 86400

    def append(self, items: Iterable[Mapping[str, Any]], now: float) -> None:
        """Write, and have it on the disk."""
        self._rotate(now)
        data = "".join(json.dumps(item, separators=(",", ":")) + "\n" for item in items).encode()
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


def read(path: Path) -> dict[str, Any] | None:
    """The state that was kept; None where there is none. Raises ValueError for what is none."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(found, dict) or found.get("schema") != 1:
        raise ValueError(f"{path} is of another version: remove it, and counting begins anew")
    return found


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Keep the state, whole or not at all."""
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(state, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
