"""What the demo verified: printed as it goes, written as JSON at the end."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Report:
    """Entries of ``{"name", "ok", "value"}``, one per thing verified."""

    path: Path
    checks: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    # Parts of the demo that run side by side report to one file.
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def step(self, text: str) -> None:
        """Print what begins now, with the seconds since the start."""
        print(f"[{time.monotonic() - self.started:5.0f}s] {text}", flush=True)

    def check(self, name: str, ok: bool, value: Any) -> bool:
        """Record one verified thing."""
        # On a terminal the task that runs beside it is shown in this line.
        clear = "\r\033[K" if sys.stdout.isatty() else ""
        with self._lock:
            self.checks.append({"name": name, "ok": bool(ok), "value": value})
            print(f"{clear}         {'ok  ' if ok else 'FAIL'} {name}: {value}", flush=True)
            self.write()
        return bool(ok)

    def write(self) -> None:
        """Write what is known so far, so that a broken run leaves its evidence too."""
        self.path.write_text(json.dumps({"checks": self.checks}, indent=2) + "\n")

    @property
    def ok(self) -> bool:
        """True when there is at least one entry and every entry is ok."""
        return bool(self.checks) and all(entry["ok"] for entry in self.checks)
