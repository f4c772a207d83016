"""Running commands and holding locks, always with an end in sight."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.nodes.errors import NodesError

Result = subprocess.CompletedProcess[str]


def run(
    argv: Sequence[str],
    *,
    check: bool = True,
    timeout: float = 120.0,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run a command to its end, capturing its output; timeout in seconds.

    Raises NodesError with the tail of the command's stderr when it cannot start, takes too long, or (with check) fails.
    """
    try:
        result = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            check=False,
        )
    except FileNotFoundError as error:
        raise NodesError(
            f"{argv[0]} is not installed.", "`python -m tests.nodes doctor` lists what is missing."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise NodesError(f"`{' '.join(argv[:6])}` did not end within {timeout:.0f} s.") from error
    if check and result.returncode != 0:
        tail = (result.stderr.strip() or result.stdout.strip())[-2000:]
        raise NodesError(f"`{' '.join(argv[:6])}` ended with {result.returncode}: {tail}")
    return result


@contextlib.contextmanager
def locked(path: Path, timeout: float, what: str) -> Iterator[None]:
    """Hold an exclusive lock on path; wait up to timeout seconds, then say who is waited for.

    The kernel drops the lock of a killed holder, so none is ever stale.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    while True:
        with path.open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    handle.seek(0)
                    holder = handle.read().strip() or "unknown"
                    raise NodesError(
                        f"Waited {timeout:.0f} s for another process ({holder}) to finish {what}."
                    ) from None
                time.sleep(0.2)
                continue
            if not _is_file(handle, path):
                continue  # its last holder removed it while we waited
            handle.truncate(0)
            handle.write(f"pid {os.getpid()}\n")
            handle.flush()
            yield
            return


def _is_file(handle: IO[str], path: Path) -> bool:
    """Whether the open handle is still what lies at path."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False
