"""One job at a time on a host. The kernel frees the lock when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import BackupError
from .status import read, stamp


@contextlib.contextmanager
def held(folder: Path, job: str) -> Iterator[None]:
    """Hold the lock. Raises BackupError naming the job that has it."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = read(folder)
            raise BackupError(
                f"{told.get('job', 'a job')} works on this host since {told.get('begun', 'a moment ago')}, process"
                f" {told.get('pid', 'unknown')}. Run this {job} again when it has ended."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{job} {os.getpid()} {stamp()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
