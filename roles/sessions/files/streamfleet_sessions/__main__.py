"""``python3 -I -m streamfleet_sessions settings.json``: record and count until told to end."""

from __future__ import annotations

import errno
import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamfleet_sessions import shelf
from streamfleet_sessions.ledger import Ledger, Route, route_of
from streamfleet_sessions.lines import SLUG
from streamfleet_sessions.sockets import Connection, Kernel
from streamfleet_sessions.sources import Journal, Log
from streamfleet_sessions.tenants import Tenants

#: Seconds between looks at what connections have carried, after each of which what was found is kept.
LOOK = 5.0
#: Seconds between reports of what was sent, and between those that name every service.
REPORT, REPORT_ALL = 15.0, 3600.0
OLDER, TRANSFER_BYTES = 7, 8 << 20
#: What the kernel says where it has no such interface; any other fault may pass.
MISSING = (errno.EPROTONOSUPPORT, errno.ENOENT)
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Recorder:
    """One process. ``settings``: what the role sessions writes."""

    def __init__(self, settings: dict[str, Any], kernel: Kernel) -> None:
        folder = Path(settings["folder"])
        keep = float(settings["keep_days"])
        self._routes = Path(settings["routes"])
        self._state = shelf.State(folder / "state.json")
        self._sessions = shelf.Lines(folder / "sessions.jsonl", int(settings["file_mb"]) << 20, OLDER, keep)
        #: Viewers of HLS, for whoever measures use.
        self._watching = shelf.Kept(folder / "watching.json")
        self._viewing = shelf.Kept(folder / "viewing.json")
        self._transfer = shelf.Lines(folder / "transfer.jsonl", TRANSFER_BYTES, 1, keep)
        self._kernel: Kernel | None = kernel
        self.ledger = Ledger(float(settings["hls_idle_seconds"]), BOOT.read_text("ascii").strip())
        self._tenants = Tenants(Path(settings["units"]))
        kept = self._state.read() or {}
        self.read_tenants()
        if kept:
            self.ledger.load(kept["ledger"], time.time())
        self.log = Log(Path(settings["log"]), kept.get("log"))
        self.journal = Journal(kept.get("journal"))
        self._seen_routes: int | None = None
        self._here: set[str] = set()
        self._told: dict[tuple[str, int | None, str], int] = {}
        self._next_report = self._next_all = 0.0
        #: Since when the kernel has not said what is open.
        self._blind: float | None = None
        self._stopped = False

    def stop(self, *_signal: object) -> None:
        """End after this turn."""
        self._stopped = True

    def run(self) -> None:
        """Until ``stop``."""
        next_look = 0.0
        while not self._stopped:
            self.read_routes()
            for request in self.journal.requests(1.0):
                self.ledger.request(request, time.time())
            for request in self.log.requests():
                self.ledger.request(request, time.time())
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + LOOK
                self.look(time.time())
        self.look(time.time(), last=True)
        self.journal.stop()

    def read_routes(self) -> None:
        """Which services are here: again when a file of theirs has come, gone or been replaced."""
        try:
            changed = self._routes.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed == self._seen_routes:
            return
        found: dict[str, Route] = {}
        for path in self._routes.glob("*.json"):
            try:
                route = route_of(path.read_text("utf-8")) if SLUG.fullmatch(path.stem) else None
            except (OSError, UnicodeDecodeError):
                continue
            if route is not None:
                found[path.stem] = route
        self.ledger.learn(found, changed / 1e9)
        self._here = set(found)
        self._seen_routes = changed

    def read_tenants(self) -> None:
        """Whose the services are; as before where it cannot be read."""
        try:
            self.ledger.tenants = self._tenants.read()
        except OSError as error:
            print(f"whose services are is not known anew: {error}", file=sys.stderr, flush=True)

    def look(self, now: float, last: bool = False) -> None:
        """Ask the kernel, count, and keep what was found; all of it at the ``last`` time."""
        self.read_tenants()
        ports = {
            route.port: slug
            for slug, route in self.ledger.routes.items()
            if route.port is not None and slug in self._here
        }
        self.ledger.tick(now, self._connections(now, ports), ports)
        finished, self.ledger.finished = self.ledger.finished, []
        if finished:
            self._sessions.append(finished, now)
        self._watching.write(self.ledger.watching())
        self._viewing.write(self.ledger.viewing())
        self._report(now)
        # After what was written: what is read again after a crash has the same ids.
        self._state.write(self._dump, now, last)

    def _dump(self) -> dict[str, Any]:
        return {
            "schema": 1, "log": self.log.place, "journal": self.journal.cursor, "blind": self._blind,
            "ledger": self.ledger.dump(),
        }  # fmt: skip

    def _connections(self, now: float, ports: Mapping[int, str]) -> list[Connection] | None:
        """What is open; None where the kernel does not say."""
        if self._kernel is None:
            return []
        try:
            found = self._kernel.connections(ports)
        except OSError as error:
            if error.errno in MISSING:
                self._kernel = None
            if self._blind is None or self._kernel is None:
                self._blind = now
                print(f"open connections are not seen, counted are ended ones: {error}", file=sys.stderr, flush=True)
            return None if self._kernel is not None else []
        if self._blind is not None:
            self._blind = None
            print("open connections are seen again", file=sys.stderr, flush=True)
        return found

    def _report(self, now: float) -> None:
        if now < self._next_report:
            return
        self._next_report = now + REPORT
        everything = now >= self._next_all
        if everything:
            self._next_all = now + REPORT_ALL
            self.ledger.forget(now, self._here)
            self._sessions.clean(now)
            self._transfer.clean(now)
            self._told = {}
        items = self.ledger.transfer()
        told = {(item["slug"], item.get("uid"), item["month"]): item["bytes"] for item in items}
        new = [item for item, name in zip(items, told, strict=True) if self._told.get(name) != item["bytes"]]
        if new:
            self._transfer.append(new, now)
            self._told.update(told)


def main() -> int:
    """Exit status."""
    recorder = Recorder(json.loads(Path(sys.argv[1]).read_text("utf-8")), Kernel())
    signal.signal(signal.SIGTERM, recorder.stop)
    signal.signal(signal.SIGINT, recorder.stop)
    recorder.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
