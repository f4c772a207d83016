"""Whether services are heard or seen, asked as the web server asks: by their route, on the node itself.

Of one that is packaged here as files, or fetched from another node, the list is asked for, as players ask.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

from ..node_apply.host import Host
from .notes import Notes
from .places import CopyError, folders_of

ROUTES = "/etc/streamfleet/routes"
HLS = "/run/streamfleet/hls"
#: Of the web server, which has the port of HTTPS in it.
WEB = "/etc/nginx/conf.d/streamfleet.conf"
#: Seconds for which a list goes on without a new segment.
FRESH = 30.0
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
        if "port" not in route:
            return _lists(host, slug, route)
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


def _lists(host: Host, slug: str, route: dict[str, Any]) -> int:
    """Bytes of the list of a channel that goes on; 0 where none goes on. Raises OSError, ValueError."""
    place = host.path(f"{HLS}/{slug}/index.m3u8")
    if route.get("elsewhere") is not True:
        text = place.read_bytes()
        fresh = time.time() - place.stat().st_mtime < FRESH
    else:
        text = _fetched(host, slug, str(route["web"]["here"]))
        # Not what players are given meanwhile.
        fresh = not place.is_file() or place.read_bytes() != text
    return len(text) if fresh and text.startswith(b"#EXTM3U") and b"#EXT-X-ENDLIST" not in text else 0


def _fetched(host: Host, slug: str, name: str) -> bytes:
    """The list as this node's own web server gives it, under the node's own name. Raises OSError, ValueError."""
    port = re.search(r"^ *listen (\d+) ssl", host.path(WEB).read_text(), re.MULTILINE)
    if port is None:
        raise ValueError(WEB)
    # Its certificate is looked at by others: this asks whether there is a stream.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", int(port[1])), timeout=PATIENCE)
    link = http.client.HTTPSConnection(name, timeout=PATIENCE, context=context)
    try:
        link.sock = context.wrap_socket(plain, server_hostname=name)
        link.request("GET", f"/hls/{slug}/index.m3u8", headers={"User-Agent": "streamfleet-transfer"})
        answer = link.getresponse()
        return answer.read() if answer.status == 200 else b""
    finally:
        link.close()
