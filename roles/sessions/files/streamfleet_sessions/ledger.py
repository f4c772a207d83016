"""What was listened to, and how much was sent for each service in each month.

Two measures, which meet. A session's bytes are those of the log line that ends it. What is sent meanwhile the kernel
knows, by connection to the service's port: of the listener, or of the web server on a listener's behalf. So a
service's transfer is what has ended and what is open, and it grows while somebody listens.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from streamfleet_sessions.lines import Request, is_this_host, name_of
from streamfleet_sessions.sockets import Connection

#: Seconds for which a line and the end of its connection wait for each other.
PATIENCE = 60.0
#: A line and a connection are the same listener's unless they differ by more: what lay in buffers.
NEAR = 1 << 20
#: Sessions that are recorded of one service in a minute; more only count as transfer, so that one fills no disk.
MOST_A_MINUTE = 5000
#: Viewers of HLS of one service who are followed at a time, so that one that has many hides nobody else's.
MOST_VIEWERS_EACH = 2000
#: Of all services: above it the one that has most loses some, ``LOST``, whose sessions end there.
MOST_VIEWERS, LOST = 20000, 200
#: Viewers of a service who are told while they watch.
MOST_TOLD = 200
#: Lines of a service that wait for the ends of their connections.
MOST_WAITING = 10000
MONTHS = 2
#: Bytes that somebody gets who listens, at least: whoever asks or sends gets less.
LISTENED = 1 << 16
#: Answers with something in them.
FOUND = (200, 206)


@dataclass
class Route:
    """Where a service is: what the web server reads as its route.

    ``uid``: whose it is, where no unit of it says so. ``unwritten``: its engine writes no lines about its listeners.
    ``elsewhere``: another node has it, and counts what is sent on from here.
    """

    port: int | None
    mounts: list[str]
    default: str
    uid: int | None = None
    unwritten: bool = False
    elsewhere: bool = False


@dataclass
class Tally:
    """What a service has sent. ``ended`` and ``total`` count for ever; ``months`` by month of UTC.

    ``gone`` waits for lines and ``told`` for the ends of connections; ``unseen``: of lines since the kernel last said
    what is open.
    """

    ended: int = 0
    total: int = 0
    months: dict[str, int] = field(default_factory=dict)
    gone: list[tuple[float, int]] = field(default_factory=list)
    told: list[tuple[float, int]] = field(default_factory=list)
    unseen: int = 0

    def line(self, now: float, size: int) -> None:
        """A listener's log line: counts exactly, instead of what the kernel said of its connection."""
        self.ended += size
        self.unseen += size
        if not _take(self.gone, size):
            self.told.append((now + PATIENCE, size))

    def vanished(self, now: float, size: int) -> None:
        """A connection that is no longer there: counts as last seen, until its line comes."""
        if not _take(self.told, size):
            self.gone.append((now + PATIENCE, size))

    def add_up(self, now: float, month: str, open_bytes: int, seen: bool = True) -> None:
        """Count what has been sent since the last time as sent in ``month``.

        Where it is not ``seen`` what is open, lines may be of what was open when it last was: nothing counts twice.
        """
        # Without a line, as when a server was killed: what was last seen stays counted.
        self.ended += sum(size for due, size in self.gone if due <= now)
        self.gone = [(due, size) for due, size in self.gone if due > now]
        if seen:
            self.told = [(due, size) for due, size in self.told if due > now]
            self.unseen = 0
        self.told = self.told[-MOST_WAITING:]
        open_bytes = max(0, open_bytes - self.unseen)
        total = self.ended + open_bytes + sum(size for _key, size in self.gone)
        if total > self.total:
            self.months[month] = self.months.get(month, 0) + total - self.total
            self.total = total
        for old in sorted(self.months)[:-MONTHS]:
            del self.months[old]


def _take(waiting: list[tuple[float, int]], size: int) -> bool:
    """Remove the entry that is nearest to ``size``, if one is near."""
    if not waiting:
        return False
    best = min(range(len(waiting)), key=lambda place: abs(waiting[place][1] - size))
    if abs(waiting[best][1] - size) > max(NEAR, size // 4):
        return False
    del waiting[best]
    return True


#: A tally's: the slug, and whose it is, since a slug that was purged may be somebody else's.
Key = tuple[str, int | None]


@dataclass
class Viewer:
    """Somebody who watches by HLS: many requests, one session."""

    id: str
    started: float
    ended: float
    bytes: int


@dataclass
class Direct:
    """Somebody who listens on the port of an engine that writes no lines: what the kernel knows of the connection."""

    slug: str
    address: str
    started: float
    ended: float
    bytes: int


class Ledger:
    """Everything that is counted on this node."""

    def __init__(self, idle_seconds: float = 60.0, boot: str = "") -> None:
        self.idle_seconds = idle_seconds
        #: Names the running kernel: what was open on another one has ended.
        self.boot = boot
        # Names this count, so that one that begins anew is not taken for the same.
        self.counter = secrets.token_hex(16)
        self.routes: dict[str, Route] = {}
        #: The uid of each service's customer, where it is known.
        self.tenants: dict[str, int] = {}
        self.tallies: dict[Key, Tally] = {}
        self.viewers: dict[tuple[str, str, str], Viewer] = {}
        self._watching: Counter[str] = Counter()
        self.finished: list[dict[str, Any]] = []
        self._open: dict[int, tuple[Key, int]] = {}
        self._direct: dict[int, Direct] = {}
        # Slug → since when another node has it, and until when: its web server's listeners who began then are there.
        self._away: dict[str, tuple[float, float | None]] = {}
        # Connections that are sent on. Some outlive the return of their service by a moment, with all they have sent.
        self._sent_on: set[int] = set()
        self._minute = 0
        self._recorded: dict[str, int] = {}

    def request(self, request: Request, now: float) -> None:
        """A request that has ended. What names no service that ever was here is passed over."""
        route = self.routes.get(request.slug)
        if request.source == "direct":
            if is_this_host(request.address):
                return
        elif self._began_away(request) or (route is None and (request.method != "GET" or request.status not in FOUND)):
            return
        tally = self._tally(self._key(request.slug))
        if request.source == "hls":
            tally.ended += request.bytes
            self._watched(request, now)
            return
        tally.line(now, request.bytes)
        if request.method != "GET" or request.status not in FOUND or not request.bytes:
            return
        mount = request.path or (route.default if route else "")
        if route is None or mount not in route.mounts:
            return
        self._record(
            now, request.id, request.source, request.slug, mount, request.address, request.agent,
            request.ended - request.seconds, request.ended, request.bytes,
        )  # fmt: skip

    def _key(self, slug: str) -> Key:
        route = self.routes.get(slug)
        return slug, self.tenants.get(slug, route.uid if route is not None else None)

    def _began_away(self, request: Request) -> bool:
        since, until = self._away.get(request.slug, (None, None))
        began = request.ended - request.seconds
        return since is not None and since <= began and (until is None or began < until)

    def learn(self, found: Mapping[str, Route], now: float = 0.0) -> None:
        """Where services are since ``now``, and whose. Those that have gone are still known: their last lines are yet
        to come."""
        for slug, route in found.items():
            since, until = self._away.get(slug, (now, now))
            if route.elsewhere and until is not None:
                self._away[slug] = (now, None)
            elif not route.elsewhere and until is None:
                self._away[slug] = (since, now)
            whose = self._key(slug)
            self.routes[slug] = route
            if whose[1] is None and self._key(slug)[1] is not None and whose in self.tallies:
                # Counted by a release that did not know whose it is.
                self.tallies.setdefault(self._key(slug), self.tallies.pop(whose))

    def _tally(self, key: Key) -> Tally:
        return self.tallies.setdefault(key, Tally())

    def _watched(self, request: Request, now: float) -> None:
        if request.method != "GET" or request.status not in FOUND:
            return
        key = (request.slug, request.address, request.agent)
        viewer = self.viewers.get(key)
        started = request.ended - request.seconds
        if viewer is None:
            if self._watching[request.slug] >= MOST_VIEWERS_EACH:
                return
            if len(self.viewers) >= MOST_VIEWERS:
                self._lose(now)
            viewer = self.viewers[key] = Viewer(request.id, started, request.ended, 0)
            self._watching[request.slug] += 1
        # The web server's processes write their lines some seconds later, each for itself: not in order.
        viewer.started = min(viewer.started, started)
        viewer.ended = max(viewer.ended, request.ended)
        viewer.bytes += request.bytes

    def _lose(self, now: float) -> None:
        largest = self._watching.most_common(1)[0][0]
        keys = sorted((key for key in self.viewers if key[0] == largest), key=lambda key: self.viewers[key].ended)
        for key in keys[:LOST]:
            self._gone(now, key)

    def _gone(self, now: float, key: tuple[str, str, str]) -> None:
        slug, address, agent = key
        viewer = self.viewers.pop(key)
        self._watching[slug] -= 1
        if not self._watching[slug]:
            del self._watching[slug]
        self._record(
            now, viewer.id, "hls", slug, "", address, agent, viewer.started, viewer.ended, viewer.bytes
        )  # fmt: skip

    def tick(self, now: float, connections: Iterable[Connection] | None, ports: Mapping[int, str]) -> None:
        """What is open now, None where that is not known: ``ports`` says whose each port is."""
        if connections is not None:
            mine = [item for item in connections if item.port in ports]
            self._sent_on = {item.cookie for item in mine if self._is_sent_on(item.cookie, ports[item.port])}
            here = [item for item in mine if item.cookie not in self._sent_on]
            self._directly(now, here, ports)
            self._ended(now, {item.cookie: (self._key(ports[item.port]), item.sent) for item in here})
        sums: dict[Key, int] = {}
        for whose, sent in self._open.values():
            sums[whose] = sums.get(whose, 0) + sent
        month = month_of(now)
        for whose in sums:
            self._tally(whose)
        for whose, tally in self.tallies.items():
            tally.add_up(now, month, sums.get(whose, 0), connections is not None)
        for key, viewer in list(self.viewers.items()):
            if viewer.ended + self.idle_seconds <= now:
                self._gone(now, key)

    def _is_sent_on(self, cookie: int, slug: str) -> bool:
        route = self.routes.get(slug)
        return cookie in self._sent_on or (route is not None and route.elsewhere)

    def _directly(self, now: float, here: Iterable[Connection], ports: Mapping[int, str]) -> None:
        """Follow listeners of engines that write no lines about them."""
        open_now = set()
        for item in here:
            open_now.add(item.cookie)
            slug = ports[item.port]
            found = self._direct.get(item.cookie)
            if found is None:
                route = self.routes.get(slug)
                # A source gets next to nothing, and the web server has recorded its listeners itself.
                if route is None or not route.unwritten or is_this_host(item.address) or item.sent < LISTENED:
                    continue
                found = self._direct[item.cookie] = Direct(slug, item.address, now, now, 0)
            found.ended, found.bytes = now, item.sent
        self._left(now, open_now)

    def _left(self, now: float, open_now: set[int]) -> None:
        for cookie in self._direct.keys() - open_now:
            gone = self._direct.pop(cookie)
            route = self.routes.get(gone.slug)
            # Which of several streams it was nobody says.
            mount = route.default if route is not None and len(route.mounts) == 1 else ""
            name = name_of(f"{self.boot}:{cookie}".encode())
            self._record(
                now, name, "direct", gone.slug, mount, gone.address, "", gone.started, gone.ended, gone.bytes
            )  # fmt: skip

    def _ended(self, now: float, open_now: dict[int, tuple[Key, int]]) -> None:
        """Whatever was open and is not any longer has ended."""
        for cookie, (whose, sent) in self._open.items():
            if cookie not in open_now and sent:
                self._tally(whose).vanished(now, sent)
        self._open = open_now

    def _record(
        self, now: float, name: str, source: str, slug: str, mount: str, address: str, agent: str,
        started: float, ended: float, size: int,
    ) -> None:  # fmt: skip
        if int(now // 60) != self._minute:
            self._minute, self._recorded = int(now // 60), {}
        self._recorded[slug] = self._recorded.get(slug, 0) + 1
        if self._recorded[slug] > MOST_A_MINUTE:
            return
        self.finished.append(
            {
                "id": name,
                **_named(self._key(slug)),
                "source": source,
                "mount": mount,
                "address": str(ipaddress.ip_address(address)),
                "agent": agent,
                "started": round(max(started, 0.0), 3),
                "ended": round(ended, 3),
                "bytes": size,
            }
        )

    def transfer(self) -> list[dict[str, Any]]:
        """What each service has sent in each month that is kept: for the customer whose it is."""
        return [
            {**_named(whose), "month": month, "bytes": size, "counter": self.counter}
            for whose, tally in sorted(self.tallies.items(), key=lambda item: item[0][0])
            if whose == self._key(whose[0])
            for month, size in sorted(tally.months.items())
        ]

    def watching(self) -> dict[str, int]:
        """How many watch each service by HLS now."""
        return {slug: count for slug, count in sorted(self._watching.items()) if count > 0}

    def viewing(self) -> dict[str, list[list[Any]]]:
        """Who they are, as far as so many are told: address, player, since when, bytes."""
        found: dict[str, list[list[Any]]] = {}
        for (slug, address, agent), viewer in self.viewers.items():
            told = found.setdefault(slug, [])
            if len(told) < MOST_TOLD:
                told.append([address, agent, round(viewer.started), viewer.bytes])
        return found

    def forget(self, now: float, here: Iterable[str]) -> None:
        """Leave out what is neither ``here`` nor has sent anything in the months that are kept."""
        now_here = {self._key(slug) for slug in here}
        self.tallies = {
            whose: tally
            for whose, tally in self.tallies.items()
            if whose in now_here or max(tally.months, default="") >= before(now)
        }
        kept = {*(slug for slug, _uid in now_here), *(slug for slug, _uid in self.tallies)}
        self.routes = {slug: route for slug, route in self.routes.items() if slug in kept}
        self._away = {slug: when for slug, when in self._away.items() if slug in kept}

    def dump(self) -> dict[str, Any]:
        """What a later process needs to go on, for JSON."""
        return {
            "counter": self.counter,
            # As releases before know them, which end with an error at a field that they do not; the rest is apart.
            "routes": {
                slug: {"port": route.port, "mounts": route.mounts, "default": route.default}
                for slug, route in self.routes.items()
            },
            "more": {slug: {"uid": route.uid, "unwritten": route.unwritten} for slug, route in self.routes.items()},
            "away": self._away,
            "boot": self.boot,
            "open": [[cookie, *whose, sent] for cookie, (whose, sent) in self._open.items()],
            "tallies": [[*whose, asdict(tally)] for whose, tally in self.tallies.items()],
            "viewers": [[*key, *asdict(viewer).values()] for key, viewer in self.viewers.items()],
            "direct": [[cookie, *asdict(direct).values()] for cookie, direct in self._direct.items()],
        }

    def load(self, kept: Mapping[str, Any], now: float) -> None:
        """Go on from ``dump``. Who the tenants are must be known."""
        self.counter = str(kept["counter"])
        more = kept.get("more", {})
        self.routes = {slug: Route(**(route | more.get(slug, {}))) for slug, route in kept["routes"].items()}
        self._away = {slug: (since, until) for slug, (since, until) in kept.get("away", {}).items()}
        tallies = kept["tallies"]
        if isinstance(tallies, dict):
            # Of a release that did not know whose they are.
            tallies = [[*self._key(slug), tally] for slug, tally in tallies.items()]
        self.tallies = {(slug, uid): Tally(**tally) for slug, uid, tally in tallies}
        self.viewers = {(row[0], row[1], row[2]): Viewer(*row[3:]) for row in kept["viewers"]}
        self._watching = Counter(viewer[0] for viewer in self.viewers)
        self._open = {cookie: ((slug, uid), sent) for cookie, slug, uid, sent in kept.get("open", [])}
        boot, self.boot = self.boot, str(kept.get("boot"))
        self._direct = {row[0]: Direct(*row[1:]) for row in kept.get("direct", [])}
        if boot != self.boot:
            self._ended(now, {})
            self._left(now, set())
        self.boot = boot


def _named(whose: Key) -> dict[str, Any]:
    slug, uid = whose
    return {"slug": slug} if uid is None else {"slug": slug, "uid": uid}


def month_of(moment: float) -> str:
    """The month of UTC, as in 2026-11."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m")


def before(moment: float) -> str:
    """The month before."""
    year, month = map(int, month_of(moment).split("-"))
    return f"{year - (month == 1):04}-{(month - 2) % 12 + 1:02}"


def route_of(text: str) -> Route | None:
    """A route's file; None for one that is none, and for a service whose port is shared with others."""
    try:
        found = json.loads(text)
        if "hls" in found:
            return Route(None, [], "")
        if "uid" in found:
            return Route(None, [], "", int(found["uid"]))
        mounts = [str(mount) for mount in found["mounts"]]
        unwritten, elsewhere = found.get("unwritten") is True, found.get("elsewhere") is True
        return Route(int(found["port"]), mounts, str(found["default"]), unwritten=unwritten, elsewhere=elsewhere)
    except (ValueError, KeyError, TypeError):
        return None
