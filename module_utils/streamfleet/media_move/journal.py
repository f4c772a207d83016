"""How far a move has come: one file on the node, written before each step, so that the next run goes on where one was
killed. A lock keeps two runs apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import durable
from .errors import MoveError

#: Seconds to wait for the lock: what a killed run has asked the node for goes on there for a moment.
PATIENCE = 15.0


@dataclass(frozen=True)
class Journal:
    """``folder``: root's alone. Methods raise OSError."""

    folder: Path

    def read(self) -> dict[str, Any] | None:
        """The move that is not ended, else None: ``from``, ``to``, ``began``, ``passes``, ``stopped`` and ``phase``.

        That is ``copying`` and ``switching`` until the libraries are in the new folder, ``switched`` from then on;
        ``returning`` while they go back, ``releasing`` while the files of before are removed.
        """
        try:
            found: dict[str, Any] = json.loads((self.folder / "journal.json").read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise MoveError(f"{self.folder}/journal.json cannot be read ({error}); look at the disk") from None
        return found

    def write(self, entry: Mapping[str, Any]) -> None:
        """Have this be known after a restart."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.write_json(self.folder / "journal.json", dict(entry), 0o600)

    def end(self) -> None:
        """The move is ended, one way or the other."""
        if not self.folder.is_dir():
            return
        (self.folder / "journal.json").unlink(missing_ok=True)
        durable.sync_directory(self.folder)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Raises MoveError where another run works, and goes on doing so for ``PATIENCE`` seconds."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            until = time.monotonic() + PATIENCE
            while not _try(descriptor):
                if time.monotonic() > until:
                    raise MoveError("another run of move_media.yml works on this node just now. Wait for its end")
                time.sleep(0.2)
            yield
        finally:
            os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
