"""One line of a log, taken apart. Whoever connects writes a part of every line, so nothing in it is believed."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Any

#: What is kept of a player's own name.
LONGEST_AGENT = 255
LONGEST_LINE = 1 << 18
#: A number above this is no count of bytes or seconds.
MOST_BYTES = 1 << 50
MOST_SECONDS = 400 * 86400.0

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
#: Icecast's and Icecast-KH's, who write the same lines.
UNIT = re.compile(rf"streamfleet-icecast(?:_kh)?@({SLUG.pattern})\.service")
# User, referrer and agent may hold anything, quotes too; a path holds no blank, so what follows it is not made up.
ICECAST = re.compile(
    r" \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    r'"([A-Z]{1,16}) (\S{1,8192}) (?:HTTP|ICE)/\d\.\d" (\d{3}) (\d{1,16}) "'
)
SOURCES = ("PUT", "SOURCE")
ICECAST_END = re.compile(r'" (\d{1,10})$')


@dataclass(frozen=True)
class Request:
    """A request that has ended. ``path``: the mount, empty for the default one; ``source``: web, direct or hls."""

    id: str
    source: str
    slug: str
    path: str
    method: str
    status: int
    bytes: int
    seconds: float
    ended: float
    address: str
    agent: str


def of_web(line: bytes, where: str) -> Request | None:
    """A line of the web server's log of streams; ``where`` it stands makes its id. None for what is no such line."""
    if len(line) > LONGEST_LINE:
        return None
    try:
        found = json.loads(line.decode("utf-8", "replace"))
        slug, item = str(found["slug"]), str(found["item"])
        address = address_of(found["address"])
        size = _number(found["bytes"], MOST_BYTES)
        seconds = _number(found["seconds"], MOST_SECONDS)
        ended = _number(found["time"], 1 << 40)
        status = int(_number(found["status"], 999))
        method, agent = str(found["method"]), text_of(found["agent"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not SLUG.fullmatch(slug) or address is None:
        return None
    is_list = item.endswith((".m3u8", ".ts")) and not item.startswith("/")
    path = "" if is_list or item in ("", "/", "-") else item
    source = "hls" if is_list else "web"
    name = name_of(where.encode() + b"\n" + line)
    return Request(name, source, slug, path, method, status, int(size), seconds, ended, address, agent)


def of_icecast(unit: str, message: str, cursor: str, ended: float) -> Request | None:
    """What Icecast has written of a client of its port, as the journal has it. None for anything else.

    A line in which two places could be the request is passed over: one of them is of a client's making.
    """
    match = UNIT.fullmatch(unit)
    if match is None or len(message) > LONGEST_LINE:
        return None
    found = list(ICECAST.finditer(message))
    end = ICECAST_END.search(message)
    address = address_of(message.split(" ", 1)[0])
    if len(found) != 1 or end is None or address is None:
        return None
    method, target, status, size = found[0].groups()
    path = target.partition("?")[0]
    rest = message[found[0].end() : end.start()]
    agent = text_of(rest.rpartition('" "')[2])
    seconds = min(float(end[1]), MOST_SECONDS)
    name = name_of(cursor.encode())
    # Of a source Icecast-KH writes what it has got.
    sent = 0 if method in SOURCES else min(int(size), MOST_BYTES)
    return Request(name, "direct", match[1], path, method, int(status), sent, seconds, ended, address, agent)


def address_of(text: object) -> str | None:
    """An IP address as it is written everywhere: IPv4 in IPv6 as IPv4, without a zone. None for what is none."""
    try:
        found = ipaddress.ip_address(str(text).partition("%")[0])
    except ValueError:
        return None
    return str(getattr(found, "ipv4_mapped", None) or found)


def is_this_host(address: str) -> bool:
    """Whether it is the loopback's: the web server, on behalf of somebody whom it has recorded itself."""
    return ipaddress.ip_address(address).is_loopback


def text_of(value: object) -> str:
    """What may be shown of a client's words: printable, on one line, not too long."""
    text = "".join(character if character.isprintable() else " " for character in str(value)[: 2 * LONGEST_AGENT])
    return "" if text.strip() in ("", "-") else text.strip()[:LONGEST_AGENT]


def name_of(place: bytes) -> str:
    """The id of what is read at ``place``: the same when it is read again."""
    return hashlib.sha256(place).hexdigest()[:32]


def _number(value: Any, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ValueError(value)
    return value
