"""``python3 -P -m streamfleet_watch``: look, restart what is hung, write figures; until told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamfleet_watch import host, hung
from streamfleet_watch.figures import Figures, write

#: Seconds between two rounds, and for which a unit that was restarted is left alone.
ROUND, GRACE = 30.0, 90.0
#: Units that may answer nothing at one time. Of more the host is the cause, and a restart would mend none.
FEW = 2
#: Restarts of one unit within an hour; what is hung more often is only said.
MOST = 4
STATE, FIGURES = "var/lib/streamfleet/watch/restarts.jsonl", "var/lib/streamfleet/metrics/streamfleet.prom"
#: Bytes at which the list of restarts begins anew; the one of before is kept.
LARGEST = 256 << 10
PATTERNS = ("streamfleet-*@*.service", "streamfleet-rtmp.service")


def systemctl(*arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    done = subprocess.run(["/usr/bin/systemctl", *arguments], capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr.strip()


class Watch:
    """One process. Tests have another ``root``, ``ask`` (systemctl), ``clock`` (seconds nobody sets), ``lateness``."""

    def __init__(
        self,
        root: Path = Path("/"),
        ask: Callable[..., tuple[int, str]] = systemctl,
        clock: Callable[[], float] = time.monotonic,
        lateness: Callable[[], host.Lateness] = host.Lateness,
    ) -> None:
        self._root, self._ask, self._clock, self._lateness = root, ask, clock, lateness
        self._figures = Figures(root)
        self._suspects: set[str] = set()
        self._restarted: dict[str, list[float]] = {}
        self.restarts: dict[tuple[str, str], int] = {}
        self.left: set[tuple[str, str]] = set()
        self._stopped = False

    def stop(self, *_signal: object) -> None:
        """End soon."""
        self._stopped = True

    def run(self) -> None:
        """Until ``stop``."""
        while not self._stopped:
            begun = self._clock()
            self.round()
            while not self._stopped and self._clock() - begun < ROUND:
                time.sleep(1.0)

    def round(self) -> None:
        """One look. What cannot be done is said, and tried again at the next."""
        code, told = self._ask("list-units", "--all", "--plain", "--no-legend", "--no-pager", "--full", "--", *PATTERNS)
        if code != 0:
            say(f"systemd does not say which units run: {told}")
        else:
            self._judge(_running(told))
        try:
            write(self._root / FIGURES, self._figures.text(self.restarts, self.left))
        except OSError as error:
            say(f"/{FIGURES} cannot be written: {error.strerror}")

    def _look(self, running: Mapping[str, str], *last: Any) -> tuple[dict[str, tuple[str, str]], str]:
        """What is hung, and why the host is to blame; "" where it is not. ``last``: as ``hung.look`` takes it."""
        with self._lateness() as lateness:
            found = hung.look(self._root, running, *last)
        # Of a queue that is kept full from outside others are not to suffer.
        silent = [unit for unit, (_service, cause) in found.items() if cause not in (hung.HELD, hung.FULL)]
        if not silent:
            return found, ""
        why = host.slow(self._root, lateness.worst)
        return found, why or (f"{len(silent)} of its units did so at once" if len(silent) > FEW else "")

    def _judge(self, running: Mapping[str, str]) -> None:
        """Restart what is hung in two rounds in which the host was well, and when asked once more with patience."""
        found, why = self._look(running)
        suspects = self._suspects & set(found)
        # A signal is seen however slow the host is.
        self._suspects = {unit for unit, (_service, cause) in found.items() if not why or cause == hung.HELD}
        self.left = set()
        again = [unit for unit in suspects if found[unit][1] != hung.HELD]
        still: dict[str, tuple[str, str]] = {}
        if again and not why:
            still, why = self._look(running, hung.LAST_PATIENCE, again)
        for unit, (service, cause) in sorted(found.items()):
            if cause == hung.HELD:
                if unit in suspects:
                    self._restart_once(unit, service, cause)
            elif why:
                self._leave(unit, service, f"{cause}. The host is slow, or this watchdog: {why}. It is left as it is")
            elif unit in still and still[unit][1] == hung.FULL:
                self._leave(unit, service, f"{hung.FULL}. It is left as it is: see who connects to it")
            elif unit in still:
                self._restart_once(unit, *still[unit])

    def _leave(self, unit: str, service: str, words: str) -> None:
        self.left.add((unit, service))
        say(f"{unit} answers nothing: {words}")

    def _restart_once(self, unit: str, service: str, cause: str) -> None:
        now = self._clock()
        recent = [moment for moment in self._restarted.get(unit, []) if now - moment < 3600]
        if recent and now - recent[-1] < GRACE:
            return
        if len(recent) >= MOST:
            self.left.add((unit, service))
            say(f"{unit} is hung: {cause}. It was restarted {len(recent)} times within an hour, so it is left as it is")
            return
        self._restarted[unit] = [*recent, now]
        self._restart(unit, service, cause)

    def _restart(self, unit: str, service: str, cause: str) -> None:
        # What a signal holds hears no other; what is hung may not hear TERM either.
        self._ask("kill", "--signal=KILL", "--", unit)
        code, told = self._ask("restart", "--", unit)
        if code != 0:
            say(f"{unit} is hung: {cause}. It could not be restarted: {told}")
            return
        say(f"{unit} was hung: {cause}, twice within {ROUND:g} seconds. It was restarted")
        self.restarts[unit, service] = self.restarts.get((unit, service), 0) + 1
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        line = {"at": moment, "service": service, "unit": unit, "cause": cause}
        try:
            self._note(json.dumps(line) + "\n")
        except OSError as error:
            say(f"/{STATE} cannot be written: {error.strerror}")

    def _note(self, line: str) -> None:
        path = self._root / STATE
        if path.exists() and path.stat().st_size > LARGEST:
            path.replace(path.with_name("restarts.1.jsonl"))
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _running(told: str) -> dict[str, str]:
    """Unit → sub-state, of a list of units."""
    rows = (line.split(None, 4) for line in told.splitlines())
    return {row[0]: row[3] for row in rows if len(row) > 3}


def say(text: str) -> None:
    """To the journal."""
    print(text, flush=True)


def main() -> int:
    """Exit status."""
    watch = Watch()
    signal.signal(signal.SIGTERM, watch.stop)
    watch.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
