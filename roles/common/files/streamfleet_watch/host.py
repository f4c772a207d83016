"""Whether the host itself is slow: then nothing that is said of its stations can be believed."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from pathlib import Path

#: Seconds of a short sleep, and by how much it may come late.
STEP, LATE = 0.1, 2.0
#: Percent of the last ten seconds in which nothing could go on, as the kernel counts it, for want of what.
MOST = {"memory": 20.0, "io": 60.0}
_FULL = re.compile(r"^full avg10=([0-9.]+)", re.MULTILINE)


class Lateness:
    """How late this program's own short sleeps come while others are asked: a host without processor time shows so."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sleep, daemon=True)

    def __enter__(self) -> Lateness:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sleep(self) -> None:
        while not self._ended.is_set():
            begun = time.monotonic()
            self._ended.wait(STEP)
            self.worst = max(self.worst, time.monotonic() - begun - STEP)


def slow(root: Path, late: float) -> str:
    """Why the host is slow; "" where it is not. ``late``: seconds by which a short sleep came late."""
    if late > LATE:
        return f"a program of its own came {late:.1f} seconds late"
    for name, most in MOST.items():
        # A kernel without these figures says nothing of it.
        with contextlib.suppress(OSError, ValueError):
            told = _FULL.search((root / "proc/pressure" / name).read_text())
            if told and float(told[1]) > most:
                return f"for want of {name} nothing went on for {float(told[1]):.0f} percent of the last ten seconds"
    return ""
