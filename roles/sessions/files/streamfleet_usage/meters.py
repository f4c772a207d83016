"""What an engine's meter is, ``roles/<engine>/engine/meter.py``: how what its services use is read on their node.

A meter has a class ``Meter`` with the methods of the one below, and a constant ``LISTENERS``: whether the engine itself
tells how many listen (else those are counted who fetch segments from the web server).
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from xml.etree import ElementTree as ET

#: Seconds that an engine may take for an answer, and how long that may be.
SECONDS, LARGEST_ANSWER = 3.0, 1 << 20
#: Listeners of a service that are told, and how far an engine's list of them is read, however many it has: so many with
#: the longest names of players fit; seconds for all of it.
MOST_LISTENERS, LARGEST_LIST, LIST_SECONDS = 200, 8 << 20, 10.0


@dataclass(frozen=True)
class Source:
    """One that sends. ``since``: seconds since the epoch; ``bytes``: what has come from it since then.

    ``kind``: encoder, relay or autodj. ``name`` is the engine's own for it, to send it away.
    """

    name: str
    mount: str
    kind: str
    since: float | None
    announced_kbps: int | None
    bytes: int


@dataclass(frozen=True)
class Drop:
    """A source that was sent away, since it sent more than it may."""

    at: float
    mount: str
    kbps: int
    limit_kbps: int


@dataclass(frozen=True)
class Use:
    """What an engine tells of a service. ``dropped``: what the engine itself has sent away last."""

    listeners: int | None = None
    sources: list[Source] = field(default_factory=list)
    dropped: Drop | None = None
    #: The engine's own names of what somebody listens to.
    heard: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Listener:
    """One who listens now. ``name``: the engine's own; ``address``: empty where the engine sees the web server's.

    ``source``: web or direct.
    """

    name: str
    mount: str
    address: str
    agent: str
    seconds: int
    source: str


class Meter(Protocol):
    """One engine's. Every method raises OSError or ValueError where the engine does not answer, or not as it should."""

    def services(self) -> list[str]:
        """Slugs of its services that are on the air here."""

    def measure(self, slug: str) -> Use:
        """What the service uses now."""

    def drop(self, slug: str, source: Source) -> None:
        """Send a source away. It may come back."""

    def running(self, slug: str, use: Use) -> list[Listener]:
        """Who listens now, of an engine that tells how many do."""


def load(folder: Path) -> dict[str, ModuleType]:
    """The meters of all engines that have one."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"streamfleet_meter_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[path.stem] = module
    return found


def route_of(root: Path, slug: str) -> dict[str, Any] | None:
    """The service's route; None while it is off the air."""
    try:
        found = json.loads((root / "etc/streamfleet/routes" / f"{slug}.json").read_bytes())
    except FileNotFoundError:
        return None
    return found if isinstance(found, dict) else None


def on_the_air(root: Path, engine: str) -> list[str]:
    """Slugs of an engine's services with a folder and a route, but for those that another node has."""
    try:
        folders = sorted(path.name for path in (root / "etc/streamfleet/instances" / engine).iterdir())
    except FileNotFoundError:
        return []
    return [slug for slug in folders if _is_here(root, slug)]


def _is_here(root: Path, slug: str) -> bool:
    try:
        route = route_of(root, slug)
    except (OSError, ValueError):
        # What is wrong with it is said when the service is measured.
        return True
    return route is not None and route.get("elsewhere") is not True


def ask(port: int, path: str, password: str | None = None) -> bytes:
    """What a program on this host's port answers. Raises OSError, or ValueError for a refusal."""
    return _answer(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS), path, _headers(password))


def _headers(password: str | None) -> dict[str, str]:
    headers = {"Connection": "close"}
    if password is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
    return headers


def listed(port: int, path: str, password: str, name: str, most: int = MOST_LISTENERS) -> list[ET.Element]:
    """The first elements of this name in an answer in XML: it is read no further than to them, however long it is.

    Raises OSError, or ValueError for a refusal.
    """
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    parser: ET.XMLPullParser[Any] = ET.XMLPullParser(["end"])
    found: list[ET.Element] = []
    size, end = 0, time.monotonic() + LIST_SECONDS
    try:
        link.request("GET", path, headers=_headers(password))
        answer = link.getresponse()
        if answer.status != 200:
            raise ValueError(f"answered {answer.status}")
        while data := answer.read1(1 << 16):
            size += len(data)
            if size > LARGEST_LIST or time.monotonic() > end:
                raise ValueError(f"told {len(found)} listeners in {size} bytes, and goes on")
            parser.feed(data)
            events: list[Any] = list(parser.read_events())
            found += [item for _event, item in events if item.tag == name]
            if len(found) >= most:
                return found[:most]
        parser.close()
    except ET.ParseError as error:
        raise ValueError(f"no XML: {error}") from None
    except http.client.HTTPException as error:
        raise ValueError(f"no answer of HTTP: {type(error).__name__}") from None
    finally:
        link.close()
    return found


class _Local(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask_local(socket_path: str, path: str) -> bytes:
    """What a program answers on a socket of this host's file system. Raises OSError, or ValueError for a refusal."""
    return _answer(_Local(socket_path), path, {})


def _answer(link: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> bytes:
    try:
        link.request("GET", path, headers=headers)
        answer = link.getresponse()
        text = answer.read(LARGEST_ANSWER + 1)
    except http.client.HTTPException as error:
        raise ValueError(f"no answer of HTTP: {type(error).__name__}") from None
    finally:
        link.close()
    if answer.status != 200 or len(text) > LARGEST_ANSWER:
        raise ValueError(f"answered {answer.status}, {len(text)} bytes")
    return text


def element(text: bytes) -> ET.Element:
    """The root of an answer in XML. Raises ValueError."""
    try:
        return ET.fromstring(text)  # noqa: S314  (expat bounds what entities may become)
    except ET.ParseError as error:
        raise ValueError(f"no XML: {error}") from None


def number(text: str | None, most: int = 1 << 62) -> int | None:
    """A whole number; None for what is none."""
    if text is None or not text.strip().isascii() or not text.strip().isdigit():
        return None
    found = int(text.strip()[:20])
    return found if found <= most else None
