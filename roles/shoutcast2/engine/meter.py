"""What Shoutcast's stations use: sc_serv tells who listens and which streams are on the air, the kernel what has come.

sc_serv does not tell how much a source sends, nor which connection is which stream's.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from streamfleet_sessions.sockets import Connection, Kernel
from streamfleet_usage.meters import Listener, Source, Use, ask, element, listed, number, on_the_air, route_of

#: sc_serv counts its listeners, those through the web server too.
LISTENERS = True
#: One who listens or asks sends less than this.
LEAST = 1 << 16
#: Seconds for which the kernel's answer is good: it is about all stations at once.
FRESH = 2.0


class Meter:
    """Asks the stations on this node, and the kernel."""

    def __init__(self, root: Path = Path("/"), kernel: Kernel | None = None) -> None:
        self._root = root
        self._kernel = kernel or Kernel()
        self._open: dict[int, list[Connection]] = {}
        self._asked = float("-inf")

    def services(self) -> list[str]:
        """Stations on the air."""
        return on_the_air(self._root, "shoutcast2")

    def measure(self, slug: str) -> Use:
        """What the station uses now."""
        port = int(self._route(slug)["port"])
        streams = self._streams(port)
        live = [stream for stream in streams if stream.findtext("STREAMSTATUS") == "1"]
        # Which of several streams a connection is nobody says.
        one = live[0] if len(live) == 1 else None
        found = [item for each in (port, port + 1) for item in self._connections().get(each, [])]
        found = sorted((item for item in found if item.received >= LEAST), key=lambda item: -item.received)
        sources = [
            Source(
                name=str(item.cookie),
                mount=(one.findtext("STREAMPATH") or "") if one is not None else "",
                kind="encoder",
                since=None,
                announced_kbps=number(one.findtext("BITRATE"), 1_000_000) if one is not None else None,
                bytes=item.received,
            )
            for item in found[: len(live)]
        ]
        counts = {stream.get("id") or "": number(stream.findtext("CURRENTLISTENERS")) or 0 for stream in streams}
        return Use(
            sum(counts.values()), sources, heard=[sid for sid, count in counts.items() if count and sid.isdigit()]
        )

    def running(self, slug: str, use: Use) -> list[Listener]:
        """Who listens now, with their own addresses, also of those who come through the web server."""
        port = int(self._route(slug)["port"])
        paths = {stream.get("id"): stream.findtext("STREAMPATH") or "" for stream in self._streams(port)}
        # sc_serv tells the same of both; who comes through the web server has no connection of their own.
        own = {item.address for each in (port, port + 1) for item in self._connections().get(each, [])}
        told = []
        for sid in use.heard:
            path = f"/admin.cgi?sid={sid}&mode=viewxml&page=3"
            for found in listed(port, path, self._password(slug), "LISTENER"):
                told.append(
                    Listener(
                        name=found.findtext("UID") or "",
                        mount=paths.get(sid, ""),
                        address=found.findtext("HOSTNAME") or "",
                        agent=found.findtext("USERAGENT") or "",
                        seconds=number(found.findtext("CONNECTTIME"), 1 << 31) or 0,
                        source="direct" if found.findtext("HOSTNAME") in own else "web",
                    )
                )
        return told

    def drop(self, slug: str, source: Source) -> None:
        """Send away the source; where several streams are on the air, all of them, since nobody says which it is."""
        port = int(self._route(slug)["port"])
        for stream in self._streams(port):
            sid = number(stream.get("id"))
            if stream.findtext("STREAMSTATUS") == "1" and sid is not None:
                ask(port, f"/admin.cgi?sid={sid}&mode=kicksrc", self._password(slug))

    def _route(self, slug: str) -> dict[str, Any]:
        route = route_of(self._root, slug)
        if route is None:
            raise ValueError(f"{slug} is off the air")
        return route

    def _streams(self, port: int) -> list[ET.Element]:
        return list(element(ask(port, "/statistics")).iter("STREAM"))

    def _password(self, slug: str) -> str:
        path = self._root / "etc/streamfleet/instances/shoutcast2" / slug / "sc_serv.conf"
        lines = (line.partition("=") for line in path.read_text("utf-8").splitlines())
        return next((value for key, _equals, value in lines if key == "adminpassword"), "")

    def _connections(self) -> dict[int, list[Connection]]:
        """Of all stations, by port."""
        now = time.monotonic()
        if now - self._asked >= FRESH:
            ports: dict[int, str] = {}
            for slug in self.services():
                route = route_of(self._root, slug)
                if route is not None:
                    ports |= {int(route["port"]): slug, int(route["port"]) + 1: slug}
            self._open = {}
            for item in self._kernel.connections(ports):
                self._open.setdefault(item.port, []).append(item)
            self._asked = now
        return self._open
