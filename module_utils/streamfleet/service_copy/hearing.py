"""Whether stations are heard, asked as the web server asks: by their route, on the node itself."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable

from ..node_apply.host import Host
from .notes import Notes
from .places import CopyError, folders_of

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


def before(host: Host, transfer: str, services: Iterable[str]) -> dict[str, int]:
    """The same at once, noted while they are on the air: at each try anew, for encoders come and go."""
    known = heard(host, services, 0)
    Notes(host, transfer).note("heard", known)
    return known


def again(host: Host, transfer: str, seconds: float) -> dict[str, int]:
    """Those that were heard before, by now: once, for then it is their owners' again whether they are.

    Raises CopyError where one stays silent for ``seconds``.
    """
    notes = Notes(host, transfer)
    noted: dict[str, int] = notes.read("heard", {})
    if not any(noted.values()):
        return {}
    found = heard(host, [slug for slug, count in noted.items() if count], seconds)
    silent = [slug for slug, count in found.items() if not count]
    if silent:
        raise CopyError(
            f"Heard before, and silent for {seconds:g} seconds by the way over this node: {', '.join(silent)}. Look at"
            " the encoder or the AutoDJ of each; the same command listens again"
        )
    notes.note("heard", {})
    return found


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
