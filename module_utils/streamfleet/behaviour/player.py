"""Players: what a listener gets at a service's address, over plain HTTP and by HLS."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from ..errors import Misbehaved
from . import sound
from .route import Route

#: Most bytes of one list or one segment.
MOST = 32 * 1024 * 1024
PIECE = 16384
#: What goes wrong between a player and a server.
BROKEN = (OSError, http.client.HTTPException)
#: Seconds within which a stream must be heard that is published to.
WITHIN = 45.0
#: Seconds of sound that make a good proof.
PROOF = 2.0
#: All tones that a check may send, so that it is seen which one is heard.
TONES = (440, 660, 880, 1320)


@dataclass(frozen=True)
class Fetched:
    """An answer: its status, media type and body; ``error`` says why there is none."""

    status: int = 0
    media_type: str = ""
    body: bytes = b""
    error: str = ""

    def __str__(self) -> str:
        status = f"{self.status} {self.media_type}".strip() if self.status else "nothing"
        return f"{status} ({self.error})" if self.error else status


def is_hls(url: str) -> bool:
    """Whether an address is one of HLS."""
    return urlsplit(url).path.endswith(".m3u8")


def fetch(route: Route, url: str, seconds: float = 20, most: int = MOST) -> Fetched:
    """GET for at most so many seconds, or until the end. Never raises."""
    end = time.monotonic() + seconds
    status, media_type, body = 0, "", b""
    try:
        with route.get(url) as answer:
            status, media_type = answer.status, answer.headers.get("Content-Type", "")
            while time.monotonic() < end and len(body) < most and (piece := answer.read1(PIECE)):
                body += piece
    except BROKEN as error:
        if status != 200 or not body:
            return Fetched(status, media_type, body, f"{type(error).__name__}: {error}")
    return Fetched(status, media_type, body)


@dataclass(frozen=True)
class List:
    """A media playlist of HLS: number of the first segment, addresses of all, seconds of the longest."""

    first: int
    segments: list[str]
    target: float
    ended: bool


def list_of(text: str) -> List:
    """Read a media playlist. Raises Misbehaved for what is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "#EXTM3U":
        raise Misbehaved(f"this is no list of HLS: {text[:80]!r}")
    tags = dict(line[1:].partition(":")[::2] for line in lines if line.startswith("#EXT-X-"))
    try:
        first, target = int(tags.get("EXT-X-MEDIA-SEQUENCE", "0")), float(tags.get("EXT-X-TARGETDURATION", "0"))
    except ValueError:
        raise Misbehaved(f"a list of HLS with numbers that are none: {text[:200]!r}") from None
    return List(first, [line for line in lines if line[0] != "#"], target, "EXT-X-ENDLIST" in tags)


def media_list(route: Route, url: str) -> str:
    """The address of the list of segments: of a new viewer's own where the first list only names others.

    Raises Misbehaved.
    """
    answer = fetch(route, url)
    text = answer.body.decode("utf-8", "replace")
    if answer.status != 200 or not text.startswith("#EXTM3U"):
        raise Misbehaved(f"{url} answers {answer}")
    if "#EXT-X-STREAM-INF" not in text:
        return url
    found = next((line for line in text.splitlines() if line and not line.startswith("#")), None)
    if found is None:
        raise Misbehaved(f"{url} names no list of segments")
    return urljoin(url, found)


def _segments(route: Route, url: str) -> Iterator[bytes]:
    """The newest segments of a live list, in order, as they come. Raises Misbehaved."""
    where, done = media_list(route, url), -1
    while True:
        answer = fetch(route, where)
        if answer.status != 200:
            raise Misbehaved(f"{where} answers {answer}")
        found = list_of(answer.body.decode("utf-8", "replace"))
        if found.ended:
            raise Misbehaved(f"{url} is the list of a stream that has ended")
        done = max(done, found.first + len(found.segments) - 3)
        for number, name in enumerate(found.segments, found.first):
            if number > done:
                segment = fetch(route, urljoin(where, name))
                if segment.status == 200:
                    yield segment.body
                done = number
        time.sleep(0.5)
        yield b""


def played(route: Route, url: str, kind: str, frequency: int) -> str:
    """What was heard, once it is this tone for PROOF seconds (and seen). Raises Misbehaved where it is not in time."""
    begun, heard = time.monotonic(), "nothing"
    while time.monotonic() - begun < WITHIN:
        try:
            heard, good = (_watched if is_hls(url) else _heard)(route, url, kind, frequency, begun + WITHIN)
        except Misbehaved as error:
            heard, good = str(error), False
        if good:
            return f"{heard}, {time.monotonic() - begun:.1f} s after the encoder began"
        time.sleep(0.5)
    raise Misbehaved(f"{frequency} Hz was not to be had at {url} within {WITHIN:g} s; at last: {heard}")


def _heard(route: Route, url: str, kind: str, frequency: int, end: float) -> tuple[str, bool]:
    del kind, end
    answer = fetch(route, url, PROOF + 3)
    if answer.status != 200:
        return f"{url} answers {answer}", False
    return judged(answer.body, answer.media_type, frequency, False)


def _watched(route: Route, url: str, kind: str, frequency: int, end: float) -> tuple[str, bool]:
    data, told = b"", ("no segment came", False)
    for piece in _segments(route, url):
        if piece:
            data += piece
            told = judged(data, "video/mp2t", frequency, kind == "video")
        if told[1] or time.monotonic() > end:
            break
    return told


def judged(data: bytes, media_type: str, frequency: int, picture: bool) -> tuple[str, bool]:
    """What a piece of a stream is, in words; and whether its end is this tone, with a picture where there should be."""
    samples = sound.decoded(data, media_type)
    seconds = len(samples) / sound.RATE
    last = sound.tone(samples[-int(PROOF * sound.RATE) :], TONES)
    words = f"{f'{last} Hz' if last else 'no tone of ours'} in {seconds:.1f} s of sound"
    good = last == frequency and seconds >= PROOF
    if picture:
        frames = sound.pictures(data)
        words += f", {frames} frames"
        good = good and frames >= PROOF * 20
    return f"{words} ({len(data)} bytes of {media_type or 'no media type'})", good
