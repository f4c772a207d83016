"""What a signal handler may set and a loop may wait for.

Not threading.Event: its lock is not reentrant, so a handler that runs in the moments in which the waiting thread holds
it waits for itself for ever, and the process has to be killed.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress


class StopRequest:
    """Set once, by a signal handler or another thread; stays set."""

    def __init__(self) -> None:
        self._set = False
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __del__(self) -> None:
        for end in (self._reader, self._writer):
            with suppress(OSError):
                os.close(end)

    def set(self, *_: object) -> None:
        """Ask to stop. Takes what a handler is given; wakes whoever waits."""
        self._set = True
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def is_set(self) -> bool:
        """Whether it was asked for."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Sleep that long, or until it is asked for; whether it was."""
        select.select([self._reader], [], [], seconds)
        return self._set
