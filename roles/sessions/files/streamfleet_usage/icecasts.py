"""What stations of Icecast and its relatives use.

They tell it the administrator of the station, whose password is in its settings.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from streamfleet_usage.meters import Listener, Source, Use, ask, element, listed, number, on_the_air, route_of

#: Hidden mounts of the platform's own: what their sources are (render.py beside this file).
KINDS = {"/_relay-": "relay", "/autodj-": "autodj"}


class Stations:
    """Asks the stations of an engine on this node."""

    engine: str

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._passwords: dict[str, tuple[int, str]] = {}

    def services(self) -> list[str]:
        """Stations on the air."""
        return on_the_air(self._root, self.engine)

    def measure(self, slug: str) -> Use:
        """What the station uses now."""
        route = self._route(slug)
        root = element(self._ask(slug, route, "/admin/stats"))
        listeners, sources, heard = 0, [], []
        for found in root.iter("source"):
            here = number(found.findtext("listeners")) or 0
            listeners += here
            size, name = number(found.findtext("total_bytes_read")), found.get("mount") or ""
            if size is None or not name.startswith("/"):
                continue
            if here:
                heard.append(name)
            # A mount that the customer declares is the customer's, whatever it is called.
            prefix = next((prefix for prefix in KINDS if name.startswith(prefix)), "")
            prefix = "" if name in route["mounts"] else prefix
            sources.append(
                Source(
                    name=name,
                    mount="/" + name.removeprefix(prefix) if prefix == "/_relay-" else name,
                    kind=KINDS.get(prefix, "encoder"),
                    since=_moment(found.findtext("stream_start_iso8601") or found.findtext("stream_start")),
                    announced_kbps=number(found.findtext("ice-bitrate") or found.findtext("bitrate"), 1_000_000),
                    bytes=size,
                )
            )
        return Use(listeners, sources, heard=heard)

    def drop(self, slug: str, source: Source) -> None:
        """Its listeners get what the mount falls back to; all other mounts go on."""
        self._ask(slug, self._route(slug), f"/admin/killsource?mount={quote(source.name)}")

    def running(self, slug: str, use: Use) -> list[Listener]:
        """Who listens now. Of those who come through the web server the engine does not know the address."""
        route, told = self._route(slug), []
        for name in use.heard:
            path = f"/admin/listclients?mount={quote(name)}"
            for found in listed(int(route["port"]), path, self._password(slug), "listener"):
                address, own = found.findtext("IP") or "", found.findtext("ID") or ""
                web = address in ("", "127.0.0.1", "::1")
                told.append(
                    Listener(
                        name=own,
                        mount=name,
                        address="" if web else address,
                        agent=found.findtext("UserAgent") or "",
                        seconds=number(found.findtext("Connected"), 1 << 31) or 0,
                        source="web" if web else "direct",
                    )
                )
        return told

    def _route(self, slug: str) -> dict[str, Any]:
        route = route_of(self._root, slug)
        if route is None:
            raise ValueError(f"{slug} is off the air")
        return route

    def _ask(self, slug: str, route: dict[str, Any], path: str) -> bytes:
        return ask(int(route["port"]), path, self._password(slug))

    def _password(self, slug: str) -> str:
        path = self._root / "etc/streamfleet/instances" / self.engine / slug / "icecast.xml"
        changed = path.stat().st_mtime_ns
        known = self._passwords.get(slug)
        if known is None or known[0] != changed:
            text = element(path.read_bytes()).findtext("authentication/admin-password")
            known = self._passwords[slug] = changed, text or ""
        return known[1]


def _moment(text: str | None) -> float | None:
    # Icecast's own, and that of logs, which Icecast-KH has.
    for form in ("%Y-%m-%dT%H:%M:%S%z", "%d/%b/%Y:%H:%M:%S %z"):
        with contextlib.suppress(ValueError):
            return datetime.strptime(text or "", form).timestamp()
    return None
