"""What encoders say: Icecast sources, Shoutcast 1 sources and updates of titles, as hostile as the network. Pure.

An Icecast client sends a request with headers; a Shoutcast 1 client sends a line with its log-in and waits for ``OK2``
before its headers. The first line tells which it is.
"""

from __future__ import annotations

import base64
import binascii
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: First line and headers together, in bytes.
MOST_HEADER = 8192
MOST_HEADERS = 100
MOST_PARAMETERS = 32
LONGEST_TITLE = 300

REQUEST = re.compile(r"([A-Z]{3,10}) (\S+) (HTTP/1\.[01]|ICE/1\.0)")
USERNAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
PASSWORD = re.compile(r"[A-Za-z0-9._~-]{8,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

#: What an encoder calls its format → the name that Liquidsoap knows, and the suffix of a recording.
FORMATS = {
    "audio/mpeg": ("audio/mpeg", "mp3"),
    "audio/mp3": ("audio/mpeg", "mp3"),
    "audio/x-mpeg": ("audio/mpeg", "mp3"),
    "audio/aac": ("audio/aac", "aac"),
    "audio/aacp": ("audio/aac", "aac"),
    "audio/x-aac": ("audio/aac", "aac"),
    "audio/ogg": ("application/ogg", "ogg"),
    "audio/opus": ("application/ogg", "ogg"),
    "application/ogg": ("application/ogg", "ogg"),
    "application/x-ogg": ("application/ogg", "ogg"),
}
#: Encoders that say nothing of their format send MP3, as Icecast takes it.
USUAL_FORMAT = "audio/mpeg"
#: Of who wants to send. By these very words fail2ban counts who guesses (guard.conf).
NO_DJ = "There is no DJ with this user name and password."
#: Of who has a title: browsers can be made to ask for that by any page, so nobody is banned for it.
NO_DJ_FOR_TITLE = "No DJ with this user name and password tells titles."
NO_LOGIN = "A DJ's user name and password are needed."


class Refused(Exception):
    """Why a client is sent away. ``message`` is for it and for the journal: it holds nothing of what was sent."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Login:
    """Who a client says it is. Both may be anything."""

    username: str
    password: str


@dataclass(frozen=True)
class Source:
    """Who wants to send. ``mount``: the path, None where the protocol has none; ``waits``: for 100 Continue."""

    login: Login
    mount: str | None
    format: str
    suffix: str
    waits: bool = False


@dataclass(frozen=True)
class Update:
    """A title for what a DJ plays. ``mount``: whose, None where the protocol has none."""

    login: Login
    mount: str | None
    title: str


def is_request(line: bytes) -> bool:
    """Whether the first line is one of HTTP's; else it is the log-in of a Shoutcast source."""
    return REQUEST.fullmatch(text_of(line)) is not None


def text_of(line: bytes) -> str:
    """One line without its end. Every byte is a character, so that nothing is lost or refused here."""
    return line.decode("latin-1").rstrip("\r\n")


def headers_of(lines: Sequence[bytes]) -> dict[str, str]:
    """Headers by their lower-case names. Raises Refused; one that comes twice is none that we would guess about."""
    if len(lines) > MOST_HEADERS:
        raise Refused(431, f"There are more than {MOST_HEADERS} headers.")
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = text_of(line).partition(":")
        name = name.strip().lower()
        if not colon or not name:
            raise Refused(400, "A header has no name.")
        if name in found and name in ("authorization", "content-type", "expect", "transfer-encoding"):
            raise Refused(400, f"The header {name} comes twice.")
        found[name] = value.strip()
    return found


def request(line: bytes, headers: Mapping[str, str]) -> Source | Update:
    """What an HTTP client wants. Raises Refused."""
    match = REQUEST.fullmatch(text_of(line))
    if match is None:
        raise Refused(400, "This is no request.")
    method, target = match[1], match[2]
    path, _mark, query = target.partition("?")
    if method in ("PUT", "SOURCE"):
        if headers.get("transfer-encoding", "identity").lower() != "identity":
            raise Refused(501, "Chunked sources are not taken: send the stream as it is.")
        kind, suffix = format_of(headers.get("content-type", ""))
        waits = headers.get("expect", "").lower() == "100-continue"
        return Source(_basic(headers), path, kind, suffix, waits)
    if method != "GET":
        raise Refused(405, "Sources use PUT or SOURCE, updates of titles GET.")
    if path not in ("/admin/metadata", "/admin.cgi"):
        raise Refused(404, "There is nothing to hear here: listeners use the station's own address.")
    parameters = _parameters(query)
    if parameters.get("mode") != "updinfo":
        raise Refused(400, "Only mode=updinfo is known.")
    title = _title(parameters)
    if path == "/admin.cgi":
        return Update(shoutcast_login(parameters.get("pass", "").encode("latin-1")), None, title)
    return Update(_basic(headers), parameters.get("mount", ""), title)


def shoutcast_login(line: bytes) -> Login:
    """The log-in of a Shoutcast source, ``username:password`` in one line."""
    username, _colon, password = text_of(line).partition(":")
    return Login(username, password)


def shoutcast_source(login: Login, headers: Mapping[str, str]) -> Source:
    """A Shoutcast source. Raises Refused."""
    return Source(login, None, *format_of(headers.get("content-type", "")))


def format_of(content_type: str) -> tuple[str, str]:
    """Liquidsoap's name of the format, and a suffix. Raises Refused."""
    name = content_type.partition(";")[0].strip().lower() or USUAL_FORMAT
    if name not in FORMATS:
        raise Refused(415, "The format is none of MP3, AAC, Ogg Vorbis, Opus and Ogg FLAC.")
    return FORMATS[name]


def clean(title: str) -> str:
    """A title as one line without control characters."""
    return re.sub(r"\s+", " ", _CONTROL.sub(" ", title)).strip()[:LONGEST_TITLE]


def refusal(status: int, message: str) -> bytes:
    """The answer of HTTP to who is sent away."""
    reason = _REASONS.get(status, "Refused")
    more = 'WWW-Authenticate: Basic realm="DJs"\r\n' if status == 401 else ""
    head = f"HTTP/1.0 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n{more}\r\n"
    return f"{head}{message}\n".encode()


_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
}


def _basic(headers: Mapping[str, str]) -> Login:
    """The log-in of HTTP. What is none is the log-in of nobody."""
    scheme, _blank, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise Refused(401, NO_LOGIN)
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise Refused(400, "The log-in cannot be read.") from None
    username, _colon, password = decoded.partition(":")
    return Login(username, password)


def _parameters(query: str) -> dict[str, str]:
    try:
        pairs = urllib.parse.parse_qsl(
            query, keep_blank_values=True, encoding="latin-1", max_num_fields=MOST_PARAMETERS
        )
    except ValueError:
        raise Refused(400, "The parameters cannot be read.") from None
    return dict(pairs)


def _title(parameters: Mapping[str, str]) -> str:
    """``song``, or ``artist`` and ``title`` as players show them. UTF-8, and what is not, Latin-1."""
    parts = [parameters.get(name, "") for name in (("song",) if "song" in parameters else ("artist", "title"))]
    text = " - ".join(part for part in parts if part)
    try:
        text = text.encode("latin-1").decode("utf-8")
    except ValueError:
        # It is no UTF-8, or holds a character that came unquoted: then it is what it is.
        return clean(text)
    return clean(text)
