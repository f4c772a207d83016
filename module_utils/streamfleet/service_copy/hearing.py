"""Whether stations are heard, asked as the web server asks: by their route, on the node itself."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable

from ..node_apply.host import Host
from .places import folders_of

ROUTES = "/etc/streamfleet/routes"
#: Bytes that make a stream, and the seconds in which they come: more than any page of an engine's has.
ENOUGH, PATIENCE = 16384, 4.0


def heard(host: Host, services: Iterable[str], seconds: float) -> dict[str, int]:
    """Slug → bytes that came of its stream, 0 where none did. Tries those again that are silent, for ``seconds``."""
    slugs = [folder.partition("/")[2] for folder in folders_of(services, [])]
    found = dict.fromkeys(slugs, 0)
    until = host.clock() + seconds
    while True:
        for slug in (slug for slug, count in found.items() if not count):
            found[slug] = _listen(host, slug)
        if all(found.values()) or host.clock() >= until:
            return found
        host.sleep(1.0)


def _listen(host: Host, slug: str) -> int:
    try:
        route = json.loads(host.path(f"{ROUTES}/{slug}.json").read_text())
        query = f"?{route['query']}" if "query" in route else ""
        link = http.client.HTTPConnection("127.0.0.1", int(route["port"]), timeout=PATIENCE)
        try:
            link.request("GET", f"{route['default']}{query}", headers={"User-Agent": "streamfleet-transfer"})
            answer = link.getresponse()
            if answer.status != 200:
                return 0
            begun, came = host.clock(), 0
            while came < ENOUGH and host.clock() - begun < PATIENCE:
                if not (piece := answer.read1(4096)):
                    return 0
                came += len(piece)
            return came if came >= ENOUGH // 4 else 0
        finally:
            link.close()
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return 0
