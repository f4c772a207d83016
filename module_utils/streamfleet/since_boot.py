"""Time as a host has lived it since it was booted, which whoever sets its clock does not change."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Moment:
    """``boot`` tells one boot from another and is empty where that is not known; ``seconds`` since then."""

    boot: str
    seconds: float

    def after(self, boot: str, seconds: float) -> float | None:
        """How many seconds this is after another moment; None where that was in another boot, or is not known."""
        return self.seconds - seconds if boot and boot == self.boot else None


def now() -> Moment:
    """This moment. A host that sleeps lives on."""
    try:
        return Moment(_BOOT.read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME))
    except (OSError, AttributeError):
        return Moment("", 0.0)
