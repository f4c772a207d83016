"""How much sources send, and which of them send more than they may."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streamfleet_usage.meters import Drop, Source

#: A source is sent away when it has sent more than its limit and this much for so many seconds. Engines tell of bytes
#: up to five seconds late, which is taken into account, so that nobody who is right is sent away; what is only a little
#: too much, and goes on, shows in the longer time.
TOLERANCE, SECONDS, LONG_SECONDS, LATE = 1.1, 60.0, 300.0, 5.0
#: A mount whose source was sent away is watched more closely for a while: who comes back and sends far too much has
#: less time.
CLOSE_TOLERANCE, CLOSE_SECONDS, WATCHED = 1.5, 20.0, 600.0
#: What the platform itself encodes has the bitrate of its mount, which was checked, and may vary about it. More than
#: this is somebody's who has the password of the platform's mounts, as their owner may.
AUTODJ_TOLERANCE = 1.5
#: Seconds for which what a source has sent counts for the next one of its mount: nobody evades a limit by connecting
#: anew before it is looked at.
CARRIED = 300.0
#: Bitrates that differ by no more are told as the same.
NEARLY = 0.1
#: Drops of a service that are told.
TOLD = 5


@dataclass
class _Seen:
    """What a source, and those of its mount before it, had sent when."""

    since: float | None
    told: int | None = None
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    #: What its predecessors had sent, and when it was seen first.
    before: int = 0
    first: float = float("-inf")

    def add(self, now: float, size: int) -> None:
        size += self.before
        if self.samples and size < self.samples[-1][1]:
            self.samples.clear()
        self.samples.append((now, size))
        # One that is as old as the time that is asked for stays.
        while len(self.samples) > 2 and now - self.samples[1][0] >= LONG_SECONDS:
            self.samples.popleft()

    def next(self, now: float, source: Source) -> _Seen:
        """The one that comes after it."""
        last = self.samples[-1][1]
        # Of one whose begin is not known, only what it sends from now on is known to have come after the other's.
        before = last if source.since is not None else last - source.bytes
        return _Seen(source.since, samples=self.samples, before=before, first=now)

    def kbps(self, seconds: float) -> float | None:
        """Over the last ``seconds``, or all that is known of itself; None where it is not known."""
        carried = self._carried(seconds, self.first)
        return carried[0] * 8 / 1000 / carried[1] if carried is not None else None

    def at_least(self, seconds: float) -> float | None:
        """What it has sent for certain, in kbit/s; None where it has not been seen for as long."""
        carried = self._carried(seconds)
        return carried[0] * 8 / 1000 / (carried[1] + LATE) if carried is not None and carried[1] >= seconds else None

    def _carried(self, seconds: float, first: float = float("-inf")) -> tuple[int, float] | None:
        """Bytes, and in what time, as far back as ``first``."""
        samples = [sample for sample in self.samples if sample[0] >= first]
        if len(samples) < 2:
            return None
        now, size = samples[-1]
        # The newest of those that are old enough.
        old = [sample for sample in samples if now - sample[0] >= seconds]
        then, before = old[-1] if old else samples[0]
        return (size - before, now - then) if now > then else None


class Held:
    """The sources of all services. ``now`` is of a clock that nobody sets: rates are measured by it."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], _Seen] = {}
        #: Their names, by slug: what one service costs does not depend on how many others there are.
        self._names: dict[str, set[str]] = {}
        self._mounts: dict[tuple[str, str], str] = {}
        #: Those that have gone lately, by slug and mount.
        self._gone: dict[tuple[str, str], list[_Seen]] = {}
        self._watched: dict[tuple[str, str], float] = {}
        self._drops: dict[str, deque[Drop]] = {}

    def see(self, now: float, slug: str, sources: Iterable[Source]) -> None:
        """All sources of a service, as they are now."""
        found = {(slug, source.name): source for source in sources}
        for name in self._names.get(slug, ()):
            key = slug, name
            source = found.get(key)
            if source is None or source.since != self._seen[key].since:
                self._gone.setdefault((slug, self._mounts.pop(key)), []).append(self._seen.pop(key))
        for key, source in found.items():
            seen = self._seen.get(key)
            if seen is None:
                # Each goes on from one that has gone, the last of them.
                gone = self._gone.get((slug, source.mount))
                seen = gone.pop().next(now, source) if gone else _Seen(source.since)
                self._seen[key] = seen
            self._mounts[key] = source.mount
            seen.add(now, source.bytes)
        self._names[slug] = {name for _slug, name in found}

    def kbps(self, slug: str, source: Source) -> int | None:
        """What it sends, as measured over up to a minute; None as long as that is not known.

        The same as before where it is nearly the same: what is told anew is written, fetched and stored.
        """
        seen = self._seen.get((slug, source.name))
        found = None if seen is None else seen.kbps(SECONDS)
        if seen is None or found is None:
            return None
        if seen.told is None or abs(found - seen.told) > seen.told * NEARLY:
            seen.told = round(found)
        return seen.told

    def above(self, now: float, slug: str, source: Source, limit_kbps: int) -> int | None:
        """The kbit/s of a source that has sent too much; None for one that has not."""
        seen = self._seen.get((slug, source.name))
        if seen is None:
            return None
        least = AUTODJ_TOLERANCE if source.kind == "autodj" else TOLERANCE
        bounds = [(SECONDS, TOLERANCE)]
        if (seen.at_least(SECONDS) or 0) > limit_kbps:
            # Not for what was too much earlier, as of an encoder that had something to make up for.
            bounds.append((LONG_SECONDS, TOLERANCE))
        if now - self._watched.get((slug, source.mount), -WATCHED) < WATCHED:
            bounds.append((CLOSE_SECONDS, CLOSE_TOLERANCE))
        for seconds, tolerance in bounds:
            sent = seen.at_least(seconds)
            if sent is not None and sent > limit_kbps * max(tolerance, least):
                return round(seen.kbps(seconds) or sent)
        return None

    def dropped(self, now: float, slug: str, drop: Drop) -> None:
        """Remember it."""
        drops = self._drops.setdefault(slug, deque(maxlen=TOLD))
        if drop not in drops:
            drops.append(drop)
            self._watched[slug, drop.mount] = now
            # It may come back, and be right from then on.
            self._gone.pop((slug, drop.mount), None)
            for name in [name for name in self._names.get(slug, ()) if self._mounts[slug, name] == drop.mount]:
                del self._seen[slug, name], self._mounts[slug, name]
                self._names[slug].discard(name)

    def recall(self, slug: str, drops: Iterable[Drop]) -> None:
        """Those of which an earlier process has told."""
        self._drops[slug] = deque(drops, maxlen=TOLD)

    def drops(self, slug: str) -> list[Drop]:
        """The last ones of a service, the newest last."""
        return list(self._drops.get(slug, ()))

    def forget(self, now: float, here: Mapping[str, object]) -> None:
        """What is known of services that are no longer ``here``."""
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] in here}
        self._mounts = {key: mount for key, mount in self._mounts.items() if key in self._seen}
        self._names = {slug: names for slug, names in self._names.items() if slug in here and names}
        self._gone = {
            key: kept
            for key, gone in self._gone.items()
            if key[0] in here and (kept := [seen for seen in gone if now - seen.samples[-1][0] < CARRIED])
        }
        self._drops = {slug: drops for slug, drops in self._drops.items() if slug in here}
        self._watched = {key: at for key, at in self._watched.items() if key[0] in here and now - at < WATCHED}
