"""How long transfers have held their services off the air, by a clock that nobody sets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta


def _lived() -> float:
    """Seconds since this host was booted, also those that it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class HoldTimes:
    """Of one process. How old a hold was when the process first saw it, only the time of day tells."""

    def __init__(self, clock: Callable[[], float] = _lived) -> None:
        self._clock = clock
        self._since: dict[tuple[int, datetime], float] = {}

    def over(self, held: Mapping[int, datetime], now: datetime, most: timedelta) -> list[int]:
        """Those of the transfers that have held for longer than ``most``. ``held``: all that hold → since when."""
        seconds = self._clock()
        # A hold that begins in the future was made before the clock was set back.
        self._since = {
            key: self._since.get(key, seconds - max(0.0, (now - key[1]).total_seconds())) for key in held.items()
        }
        return [pk for (pk, _at), since in self._since.items() if seconds - since > most.total_seconds()]
