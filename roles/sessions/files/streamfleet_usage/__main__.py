"""``python3 -P -m streamfleet_usage settings.json``: measure, and send away who sends too much, until told to end."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamfleet_sessions.tenants import Tenants

from streamfleet_usage.disk import Disk
from streamfleet_usage.held import Held
from streamfleet_usage.meters import MOST_LISTENERS, Drop, Meter, Source, Use, load, number, route_of

#: Seconds between two rounds, and for which what an engine has told stays where it does not answer.
ROUND, STALE = 15.0, 60.0
#: Seconds after which what is told is told anew, though it is the same: so the panel knows that it is measured still.
ALIVE = 300
#: Seconds for which an engine that has not answered in time is not asked again: the others are asked meanwhile.
PASSED_OVER = 60.0
#: Seconds between two looks who listens.
LOOK = 30.0
#: Sources of a service that are told, and bytes of its listeners, since no large file is fetched.
MOST_SOURCES, MOST_BYTES = 32, 32 << 10
FIRST_UID, LAST_UID = 200000, 299999
#: Stands among names of engines for the writing of what is told.
_WRITING = ""


class Measuring:
    """One process. ``root``: where the host's files are; ``clock``: seconds that nobody sets; tests have others."""

    def __init__(
        self, settings: Mapping[str, Any], root: Path = Path("/"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root = root
        self._clock = clock
        #: What makes a time of the clock one since the epoch, as of the begin of the round.
        self._epoch = 0.0
        self._folder = Path(settings["folder"])
        self._watching = Path(settings["watching"])
        modules = load(Path(settings["meters"]))
        self._meters: dict[str, tuple[Meter, bool]] = {
            name: (module.Meter(root), module.LISTENERS) for name, module in modules.items()
        }
        self._tenants = Tenants(root / "etc/systemd/system")
        self.held = Held()
        self.disk = Disk()
        self._uses: dict[str, tuple[float, Use]] = {}
        self._counted: set[str] = set()
        self._failing: set[tuple[str, str]] = set()
        self._passed_over: dict[str, float] = {}
        self._unwritten = False
        self._peaks: dict[tuple[str, int], tuple[str, int]] = {}
        self._told: dict[tuple[str, str], str] = {}
        self._viewing = Path(settings["viewing"])
        self._looked: dict[str, float] = {}
        self._listening: dict[str, list[dict[str, Any]]] = {}
        self._stopped = self._recalled = False

    def stop(self, *_signal: object) -> None:
        """End soon."""
        self._stopped = True

    def run(self) -> None:
        """Until ``stop``."""
        while not self._stopped:
            begun = time.monotonic()
            self.round(time.time())
            while not self._stopped and (left := begun + ROUND - time.monotonic()) > 0:
                time.sleep(min(left, 1.0))

    def round(self, now: float) -> None:
        """Measure every service once. ``now``: since the epoch."""
        self._epoch = now - self._clock()
        tenants = self._tenants.read() | self._owners()
        self._recall(tenants)
        for name, (meter, listeners) in self._meters.items():
            self._measure(name, meter, listeners, tenants)
        self.held.forget(self._clock(), tenants)
        for known in (self._uses, self._looked, self._listening, self._passed_over):
            for slug in known.keys() - tenants.keys():
                del known[slug]
        self._told = {key: text for key, text in self._told.items() if key[0] in tenants}
        folders = [self._data(slug) for slug in tenants]
        folders += [self._library(uid) for uid in sorted(set(tenants.values()))]
        self.disk.count(folders, ROUND / 10)
        self._unwritten = False
        viewers, viewing = _counts(self._watching), _object(self._viewing)
        for slug, uid in tenants.items():
            told = self._of(now, slug, uid, viewers.get(slug, 0))
            self._tell(slug, "usage.json", told)
            running = self._listening.get(slug, []) if told["listeners"] else []
            running = [*running, *(_viewer(row) for row in viewing.get(slug, []))][:MOST_LISTENERS]
            self._tell(slug, "running.json", {"slug": slug, "uid": uid, "sessions": _fitting(running)})
        self._clean(tenants)

    def _recall(self, tenants: Mapping[str, int]) -> None:
        """Go on from what an earlier process has told of services that are still the same customer's."""
        if self._recalled:
            return
        self._recalled = True
        for slug, uid in tenants.items():
            told = _object(self._folder / slug / "usage.json")
            if told.get("uid") != uid:
                continue
            month, peak = told.get("month"), told.get("listeners_peak")
            if isinstance(month, str) and isinstance(peak, int):
                self._peaks[slug, uid] = month, peak
            for folder, name in ((self._data(slug), "disk_bytes"), (self._library(uid), "library_bytes")):
                if isinstance(told.get(name), int):
                    self.disk.recall(folder, told[name])
            with contextlib.suppress(TypeError):
                self.held.recall(slug, [Drop(**drop) for drop in told.get("drops") or []])

    def _owners(self) -> dict[str, int]:
        """Whose the services are that have no unit: their route says it."""
        found = {}
        for path in (self._root / "etc/streamfleet/routes").glob("*.json"):
            try:
                uid = (route_of(self._root, path.stem) or {}).get("uid")
            except (OSError, ValueError):
                continue
            if isinstance(uid, int) and FIRST_UID <= uid <= LAST_UID:
                found[path.stem] = uid
        return found

    def _measure(self, name: str, meter: Meter, listeners: bool, tenants: Mapping[str, int]) -> None:
        on_air = set()
        try:
            services = meter.services()
        except (OSError, ValueError) as error:
            self._once((name, ""), f"{name} does not tell its services: {error}")
            return
        self._failing.discard((name, ""))
        for slug in services:
            if self._stopped:
                return
            if slug not in tenants:
                continue
            on_air.add(slug)
            (self._counted.add if listeners else self._counted.discard)(slug)
            if self._clock() < self._passed_over.get(slug, 0.0):
                continue
            try:
                use = meter.measure(slug)
                # Of the moment of the answer: others may have been slow to answer before.
                at = self._clock()
                self._uses[slug] = at, use
                self.held.see(at, slug, use.sources)
                self._hold(at, slug, meter, use)
                self._failing.discard((name, slug))
            except (OSError, ValueError, KeyError, TypeError) as error:
                if isinstance(error, TimeoutError):
                    self._passed_over[slug] = self._clock() + PASSED_OVER
                self._once((name, slug), f"{slug}: {name} does not tell what it uses: {error}")
                continue
            # Apart: an answer that is too long to read is nothing against what was measured.
            try:
                self._look(at, slug, meter, use)
                self._failing.discard((name, f"{slug} listeners"))
            except (OSError, ValueError, KeyError, TypeError) as error:
                self._once((name, f"{slug} listeners"), f"{slug}: {name} does not tell who listens: {error}")
        self._failing = {
            (engine, slug) for engine, slug in self._failing if engine != name or slug.partition(" ")[0] in on_air
        }

    def _once(self, fault: tuple[str, str], words: str) -> None:
        """Say a fault when it is new."""
        if fault not in self._failing:
            print(words, file=sys.stderr, flush=True)
            self._failing.add(fault)

    def _look(self, at: float, slug: str, meter: Meter, use: Use) -> None:
        """See who listens, now and then."""
        if use.heard and at - self._looked.get(slug, float("-inf")) < LOOK:
            return
        self._looked[slug] = at
        known = {(item["name"], item["mount"]): item["started"] for item in self._listening.get(slug, [])}
        # Where it is not told, nobody is shown rather than who listened before.
        self._listening[slug] = []
        self._listening[slug] = [
            {
                "name": item.name[:32],
                "source": item.source,
                "mount": item.mount[:100],
                "address": item.address[:45],
                "agent": item.agent[:255],
                # The engine tells whole seconds: the same listener began at the same moment each time.
                "started": known.get((item.name[:32], item.mount[:100]), round(at + self._epoch) - item.seconds),
                "bytes": None,
            }
            for item in (meter.running(slug, use) if use.heard else [])[:MOST_LISTENERS]
        ]

    def _hold(self, at: float, slug: str, meter: Meter, use: Use) -> None:
        """Send away whoever sends more than the service's limit."""
        if use.dropped is not None:
            self.held.dropped(at, slug, use.dropped)
        limit = (route_of(self._root, slug) or {}).get("max_bitrate_kbps")
        if not isinstance(limit, int):
            return
        for source in use.sources:
            kbps = self.held.above(at, slug, source, limit)
            if kbps is not None:
                meter.drop(slug, source)
                self.held.dropped(at, slug, Drop(at + self._epoch, source.mount, kbps, limit))
                whose = f"{source.kind} {source.mount}".rstrip()
                print(f"{slug}: {whose} sent away: {kbps} kbit/s, {limit} are allowed", file=sys.stderr, flush=True)

    def _of(self, now: float, slug: str, uid: int, viewers: int) -> dict[str, Any]:
        """What is told of a service."""
        at, use = self._uses.get(slug, (float("-inf"), Use()))
        off = not (self._root / "etc/streamfleet/routes" / f"{slug}.json").exists()
        fresh = self._clock() - at < STALE
        sources: list[dict[str, Any]] | None = [self._source(slug, item) for item in use.sources[:MOST_SOURCES]]
        listeners: int | None = use.listeners if slug in self._counted else viewers
        if off:
            sources, listeners = [], 0 if slug in self._counted else viewers
        elif not fresh:
            sources = None
            listeners = None if slug in self._counted else viewers
        month = datetime.fromtimestamp(now, UTC).strftime("%Y-%m")
        before = self._peaks.get((slug, uid))
        peak = max(listeners or 0, before[1] if before is not None and before[0] == month else 0)
        self._peaks[slug, uid] = month, peak
        return {
            "slug": slug,
            "uid": uid,
            "measured": int(now // ALIVE * ALIVE),
            "listeners": listeners,
            "month": month,
            "listeners_peak": peak,
            "sources": sources,
            "disk_bytes": self.disk.bytes(self._data(slug)),
            "library_bytes": self.disk.bytes(self._library(uid)),
            "drops": [{**asdict(drop), "at": round(drop.at)} for drop in self.held.drops(slug)],
        }

    def _source(self, slug: str, source: Source) -> dict[str, Any]:
        return {
            "mount": source.mount,
            "kind": source.kind,
            "since": None if source.since is None else round(source.since),
            "announced_kbps": source.announced_kbps,
            "kbps": self.held.kbps(slug, source),
        }

    def _data(self, slug: str) -> Path:
        return self._root / "var/lib/streamfleet/services" / slug

    def _library(self, uid: int) -> Path:
        return self._root / "var/lib/streamfleet/media" / str(uid)

    def _tell(self, slug: str, name: str, told: Mapping[str, Any]) -> None:
        """Write what is told where it is another than before, whole or not at all.

        Where it cannot be written, as on a full disk, limits hold on and it is tried anew in the next round.
        """
        text = json.dumps(told, separators=(",", ":"))
        if self._told.get((slug, name)) == text:
            return
        folder = self._folder / slug
        try:
            folder.mkdir(mode=0o750, exist_ok=True)
            new = folder / f"{name}.new"
            new.write_text(text + "\n", "ascii")
            new.replace(folder / name)
        except OSError as error:
            # One line for all services: it is the same disk.
            self._once((_WRITING, ""), f"{slug}: cannot tell what it uses: {error}")
            self._unwritten = True
            return
        self._told[slug, name] = text

    def _clean(self, tenants: Mapping[str, int]) -> None:
        """Remove what was told of services that are no longer here."""
        try:
            folders = [path for path in self._folder.iterdir() if path.is_dir() and path.name not in tenants]
        except OSError as error:
            self._once((_WRITING, ""), f"cannot remove what was told: {error}")
            self._unwritten, folders = True, []
        for folder in folders:
            try:
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()
            except OSError as error:
                self._once((_WRITING, ""), f"{folder.name}: cannot remove what was told of it: {error}")
                self._unwritten = True
        if not self._unwritten:
            self._failing.discard((_WRITING, ""))
        self._peaks = {key: peak for key, peak in self._peaks.items() if tenants.get(key[0]) == key[1]}


def _object(path: Path) -> dict[str, Any]:
    """What the recorder of sessions tells; nothing where it tells nothing."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _counts(path: Path) -> dict[str, int]:
    """Viewers by slug."""
    return {slug: count for slug, count in _object(path).items() if number(str(count)) is not None}


def _fitting(sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many as may be told, whatever their players are called."""
    room = MOST_BYTES
    for place, session in enumerate(sessions):
        room -= len(json.dumps(session)) + 1
        if room < 0:
            return sessions[:place]
    return sessions


def _viewer(row: list[Any]) -> dict[str, Any]:
    """A viewer of HLS."""
    address, agent, started, size = row
    told = {"name": "", "source": "hls", "mount": "", "address": address, "agent": agent}
    return {**told, "started": started, "bytes": size}


def main() -> int:
    """Exit status."""
    measuring = Measuring(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    signal.signal(signal.SIGTERM, measuring.stop)
    signal.signal(signal.SIGINT, measuring.stop)
    measuring.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
