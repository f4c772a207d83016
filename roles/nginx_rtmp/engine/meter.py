"""What channels of nginx_rtmp use: nginx tells what comes, on a socket of its own.

Its callbacks hold the bitrate (publish.js, which sees the segments), and note whom they have sent away.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from xml.etree import ElementTree as ET

from streamfleet_usage.meters import Drop, Listener, Source, Use, ask_local, element, number, route_of

#: Viewers fetch segments from the web server.
LISTENERS = False
RUN = "run/streamfleet-rtmp"
#: Seconds for which nginx's answer is good: it is about all channels at once.
FRESH = 2.0


class Meter:
    """Asks nginx for all channels of this node."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._live: dict[str, ET.Element] = {}
        self._asked = float("-inf")

    def services(self) -> list[str]:
        """Channels on the air: those whose route leads nowhere, but for those that another node has."""
        routes = sorted(path.stem for path in (self._root / "etc/streamfleet/routes").glob("*.json"))
        return [slug for slug in routes if _is_here(route_of(self._root, slug) or {})]

    def measure(self, slug: str) -> Use:
        """Who publishes, if anybody does, and who was sent away last."""
        run = self._root / RUN
        lease = _object(run / "live" / slug)
        stream = self._streams().get(slug) if lease else None
        sources = []
        if lease is not None and stream is not None and _publishes(stream, str(lease.get("client"))):
            since, size = lease.get("since"), number(stream.findtext("bytes_in"))
            started = since / 1000 if isinstance(since, (int, float)) else None
            sources = [Source(slug, "", "encoder", started, None, size or 0)]
        told, dropped = _object(run / f"dropped-{slug}"), None
        # Not of another customer's channel that had the name before.
        if told is not None and told.get("uid") == (route_of(self._root, slug) or {}).get("uid"):
            at, kbps, limit = (told.get(name) for name in ("at", "kbps", "limit_kbps"))
            if isinstance(at, (int, float)) and isinstance(kbps, int) and isinstance(limit, int):
                dropped = Drop(at / 1000, "", kbps, limit)
        return Use(None, sources, dropped)

    def drop(self, slug: str, source: Source) -> None:
        """nginx does so by itself, as it is asked about every publisher every few seconds."""

    def running(self, slug: str, use: Use) -> list[Listener]:
        """Nobody whom nginx would know."""
        return []

    def _streams(self) -> dict[str, ET.Element]:
        now = time.monotonic()
        if now - self._asked >= FRESH:
            root = element(ask_local(str(self._root / RUN / "control.sock"), "/stat"))
            live = (application for application in root.iter("application") if application.findtext("name") == "live")
            self._live = {
                name: stream
                for application in live
                for stream in application.iter("stream")
                if (name := stream.findtext("name"))
            }
            self._asked = now
        return self._live


def _is_here(route: dict[str, object]) -> bool:
    return "uid" in route and route.get("elsewhere") is not True


def _publishes(stream: ET.Element, client: str) -> bool:
    """Whether the client that has the lease is the stream's publisher."""
    return any(
        found.findtext("id") == client and found.find("publishing") is not None for found in stream.iter("client")
    )


def _object(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None
