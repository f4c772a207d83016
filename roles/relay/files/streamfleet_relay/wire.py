"""Speaks to both ends of a relay: listens to a stream, and is the source of a mount. By asyncio, with time limits."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import json
import re
import socket
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import guard

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 15.0
MOST_HEAD = 16384
MOST_REDIRECTS = 5
#: Of the addresses that a name has, so many are tried.
MOST_ADDRESSES = 4
AGENT = "Streamfleet relay"

#: Format of a mount → what others may call it. A server is told the first, never what others say.
TYPES: Mapping[str, tuple[str, ...]] = {
    "mp3": ("audio/mpeg", "audio/mp3", "audio/x-mpeg", "audio/mpeg3", "audio/x-mp3"),
    "aac": ("audio/aac", "audio/aacp", "audio/x-aac", "audio/mp4a-latm"),
    "ogg": ("application/ogg", "audio/ogg", "audio/vorbis", "audio/x-ogg"),
    "opus": ("audio/ogg", "application/ogg", "audio/opus"),
    "flac": ("audio/ogg", "application/ogg", "audio/flac"),
}
_PLAYLISTS = ("mpegurl", "scpls", "xspf", "x-ms-asf", "text/")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Lost(Exception):
    """An end that is not as it should be, in words; never with a password."""


@dataclass
class Link:
    """A connection, and the head of what the other side has answered."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: Mapping[str, str] | None = None

    def close(self) -> None:
        """At once."""
        self.writer.transport.abort()


@dataclass(frozen=True)
class Login:
    """A user name and a password."""

    username: str
    password: str

    @property
    def header(self) -> str:
        """As HTTP has it."""
        text = f"{self.username}:{self.password}".encode()
        return f"Authorization: Basic {base64.b64encode(text).decode()}\r\n"


class Guarded:
    """Connects to others: to addresses that the guard has seen, each time anew, and to nothing else.

    ``opened``: a file with the networks that the operator has opened, read for every connection.
    """

    def __init__(self, opened: Path) -> None:
        self._opened = opened
        self._tls = ssl.create_default_context()

    def networks(self) -> list[guard.Network]:
        """What the operator has opened; nothing where that cannot be read."""
        try:
            return guard.networks_of(json.loads(self._opened.read_text()))
        except (OSError, ValueError, TypeError):
            return []

    async def connect(self, place: guard.Place) -> Link:
        """A connection to ``place``. Raises Refused for where nobody goes, Lost for what cannot be reached."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            if isinstance(error, TimeoutError):
                raise Lost(f"{place.host} is not found: the resolver does not answer") from None
            raise Lost(f"{place.host} is not found") from None
        # The very addresses that were looked at are connected to: whoever answers for the name cannot give others.
        addresses = guard.vetted((str(item[4][0]) for item in found), self.networks())
        if any(is_own(address) for address in addresses):
            # A name of the station's own would have it relay itself, round and round.
            fix = "Name another server; a station cannot relay what is on its own."
            raise guard.Refused("leads to the server that the station is on", fix)
        why = ""
        for address in addresses[:MOST_ADDRESSES]:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return Link(*await self._open(place, address))
            except TimeoutError:
                why = "does not answer"
            except ssl.SSLError as error:
                why = f"has no good certificate or TLS ({error.reason or 'it broke off'})"
            except OSError as error:
                why = f"cannot be reached ({error.strerror or 'it broke off'})"
        raise Lost(f"{place.host} {why}")

    async def _open(self, place: guard.Place, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = {"ssl": self._tls, "server_hostname": place.host} if place.encrypted else {}
        return await asyncio.open_connection(address, place.port, limit=MOST_HEAD, **tls)  # type: ignore[arg-type]


def is_own(address: str) -> bool:
    """Whether an address is this host's: it is its own way there then. Loopback is the guard's to judge.

    Nothing is sent. Binding to it would not tell: hosts with addresses that move can bind to any.
    """
    if ipaddress.ip_address(address).is_loopback:
        return False
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
            return str(probe.getsockname()[0]) == address
        except OSError:
            return False


async def own(port: int) -> Link:
    """A connection to the station itself. Raises Lost."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return Link(*await asyncio.open_connection("127.0.0.1", port, limit=MOST_HEAD))
    except OSError:
        raise Lost("the station itself does not answer") from None


async def listen(outside: Guarded, place: guard.Place, login: Login | None) -> Link:
    """Listen to a stream, wherever it is redirected to. Raises Refused and Lost."""
    first = place
    for _hop in range(MOST_REDIRECTS + 1):
        link = await outside.connect(place)
        try:
            # A password is for the server that it was given for, and for no other that this one names.
            same = (place.host, place.port, place.scheme) == (first.host, first.port, first.scheme)
            await ask(link, "GET", place.path, place.authority, login if same else None, "Icy-MetaData: 1\r\n")
            if link.status not in _REDIRECTS:
                return link
            target = (link.headers or {}).get("location", "")
            base = f"{place.scheme}://{place.authority}{place.path}"
            try:
                place = guard.place_of(urllib.parse.urljoin(base, target), ("http", "https"))
            except guard.Refused as refused:
                raise Lost(f"{place.host} redirects to an address that {refused.message}") from None
            except ValueError:
                # Its text may hold what the other side has sent.
                raise Lost(f"{place.host} redirects to what is no address") from None
        except BaseException:
            link.close()
            raise
        link.close()
    raise Lost(f"{first.host} redirects more than {MOST_REDIRECTS} times")


async def ask(link: Link, method: str, path: str, host: str, login: Login | None, more: str = "") -> None:
    """Send a request and read the answer's head into ``link``. Raises Lost."""
    # HTTP/1.0 for listening: an answer in chunks is then out of the question.
    version = "1.1" if method == "PUT" else "1.0"
    head = f"{method} {path} HTTP/{version}\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\n{more}"
    link.writer.write(f"{head}{login.header if login else ''}\r\n".encode())
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await link.writer.drain()
            raw = await link.reader.readuntil(b"\r\n\r\n")
    except TimeoutError:
        raise Lost("it does not answer what it is asked") from None
    except asyncio.LimitOverrunError:
        raise Lost("its answer has no end") from None
    except (asyncio.IncompleteReadError, OSError):
        raise Lost("it breaks off instead of answering") from None
    link.status, link.headers = head_of(raw)


def head_of(raw: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers, names in lower case. Raises Lost."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"(?:HTTP/1\.[01]|ICY) ([1-5][0-9][0-9])(?: .*)?", first)
    if match is None:
        raise Lost("it does not speak HTTP")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return int(match[1]), {name.strip().lower(): value.strip() for name, _colon, value in pairs}


def check_stream(link: Link, wanted: str) -> int:
    """Whether the answer is a stream of that format; its interval of titles, 0 where it has none. Raises Lost."""
    headers = link.headers or {}
    if link.status != 200:
        raise Lost(refusal(link.status))
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if any(word in kind for word in _PLAYLISTS):
        raise Lost(f"it is a {_shown(kind)}, not a stream: give the address that stands in it")
    if kind and kind not in TYPES[wanted]:
        raise Lost(f"it is {_shown(kind)}, and the mount is {wanted}: give the mount that format, or use another")
    if headers.get("transfer-encoding", "identity").lower() != "identity":
        raise Lost("it comes in chunks, which it was not asked for")
    text = headers.get("icy-metaint", "0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else 0


def refusal(status: int) -> str:
    """A status in words."""
    words = {
        401: "it does not take the user name and password",
        403: "it refuses (403): its mount has a source or as many listeners as it may have, or the password is wrong",
        404: "there is no such stream (404), or nothing is on the air there",
    }
    return words.get(status, f"it answers with status {status}")


def _shown(text: str) -> str:
    """What others have said, as far as it can be repeated."""
    return re.sub(r"[^a-z0-9/.+-]", "", text)[:40]


async def be_source(link: Link, mount: str, host: str, login: Login, kind: str, title: str) -> None:
    """Become the source of a mount of an Icecast, or of what understands the same. Raises Lost."""
    name = re.sub(r"[^\x20-\x7e]", "", title)[:200]
    more = f"Content-Type: {TYPES[kind][0]}\r\nIce-Public: 0\r\nIce-Name: {name}\r\nExpect: 100-continue\r\n"
    await ask(link, "PUT", mount, host, login, more)
    if link.status not in (100, 200):
        raise Lost(refusal(link.status))


async def tell_title(link: Link, mount: str, host: str, login: Login, title: str) -> None:
    """Tell an Icecast the title of what is sent to its mount. Raises Lost."""
    query = urllib.parse.urlencode({"mode": "updinfo", "mount": mount, "charset": "UTF-8", "song": title})
    try:
        await ask(link, "GET", f"/admin/metadata?{query}", host, login)
    finally:
        with contextlib.suppress(OSError):
            link.close()
