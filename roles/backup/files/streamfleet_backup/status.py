"""What the running job is at, in a file that others may read while it works."""

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

EVERY_SECONDS = 1.0


def stamp() -> str:
    """This moment, RFC 3339."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace ``path`` atomically, on the disk when this returns. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w") as stream:
        os.fchmod(descriptor, mode)
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    new.replace(path)


class Status:
    """``{"job", "id", "state": running | succeeded | failed, "phase", "percent", "message", "begun", "updated"}``."""

    def __init__(self, folder: Path, job: str) -> None:
        self._path = folder / "status.json"
        self._told = 0.0
        self.fields: dict[str, Any] = {
            "job": job,
            "id": os.environ.get("INVOCATION_ID", ""),
            "pid": os.getpid(),
            "state": "running",
            "phase": "begin",
            "percent": 0,
            "message": "",
            "begun": stamp(),
        }
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._write()

    def phase(self, name: str, message: str = "") -> None:
        """A new phase begins."""
        self.fields |= {"phase": name, "percent": 0, "message": message}
        self._write()
        print(f"{name} {message}".rstrip(), flush=True)

    def progress(self, percent: float, message: str) -> None:
        """How far the phase is, of 100; written at most once a second."""
        self.fields |= {"percent": round(percent, 1), "message": message}
        if time.monotonic() - self._told >= EVERY_SECONDS:
            self._write()

    def end(self, state: str, message: str, **result: Any) -> None:
        """The job has ended."""
        self.fields |= {"state": state, "message": message, "result": result}
        if state == "succeeded":
            self.fields |= {"phase": "end", "percent": 100}
        self._write()
        print(message, flush=True)

    def _write(self) -> None:
        self._told = time.monotonic()
        # What is told is not the work: a full /run must not end it.
        with contextlib.suppress(OSError):
            write_whole(self._path, json.dumps({**self.fields, "updated": stamp()}) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """What was told last; empty where nothing was."""
    try:
        found = json.loads((folder / "status.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
