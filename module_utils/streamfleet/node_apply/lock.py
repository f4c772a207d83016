"""One converge at a time on a node. The kernel frees the lock when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from .errors import ApplyError
from .host import Host

POLL_SECONDS = 0.1


@contextlib.contextmanager
def held(host: Host, who: str, timeout: float) -> Iterator[float]:
    """Hold the node's lock; gives the seconds waited. Raises ApplyError naming the holder after ``timeout`` seconds."""
    path = host.lock
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ApplyError(f"cannot open the lock {path}: {error.strerror}") from None
    try:
        begun = host.clock()
        while not _try(descriptor):
            if host.clock() - begun >= timeout:
                raise ApplyError(
                    f"another converge is working on this node: {_holder(path)}; waited {timeout:g} seconds."
                    " Run again later, or give a longer lock_timeout."
                )
            host.sleep(POLL_SECONDS)
        waited = host.clock() - begun
        _sign(descriptor, who)
        yield waited
        # Emptied only at a good end: what a killed run leaves tells who it was.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int, who: str) -> None:
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = json.dumps({"who": who, "pid": os.getpid(), "since": since})
    # The lock is held either way; on a full disk (/run is memory) only the name is missing.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder(path: Path) -> str:
    try:
        data = json.loads(path.read_text())
        return f"{data['who']} (process {data['pid']}) since {data['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a run that has not written its name yet"
