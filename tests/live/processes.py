"""A process with all that it has started. Ansible's workers have sessions of their own, so its group is not all."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path


def stop(process: int) -> list[int]:
    """Have it and all below it stand still; their numbers, its own first. Each parent stops before it is looked at, so
    that it starts nothing meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGSTOP)
    _wait_until_still(process)
    return [process, *(number for child in _children(process) for number in stop(child))]


def go_on(processes: Iterable[int]) -> None:
    """After ``stop``, with what that has returned."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def kill(process: int) -> None:
    """SIGKILL to it and to all below it."""
    for number in stop(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def _children(process: int) -> list[int]:
    found: list[int] = []
    for listed in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, listed.read_text().split())
    return found


def _wait_until_still(process: int, seconds: float = 5) -> None:
    """A signal returns before what it is sent to has stopped; one that waits for the disk stops later."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return
        if state in "TtZX":
            return
        time.sleep(0.001)
