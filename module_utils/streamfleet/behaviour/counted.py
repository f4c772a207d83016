"""Neighbours: a stream of which nothing may be lost while something is done to another one, and the proof of it.

Of a sound stream every MP3 frame is numbered: servers pass whole frames on as they are, so a listener who gets frame n
must get frame n + 1 next, over one connection. Of HLS every segment of the list is, as RFC 8216 has it.
"""

from __future__ import annotations

import abc
import contextlib
import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import Misbehaved
from . import encoder, player
from .route import Route
from .target import Target

#: MPEG 1 layer III, 128 kbit/s, 44.1 kHz, no padding: 417 bytes, 38.28 frames a second.
HEADER = bytes([0xFF, 0xFB, 0x90, 0x64])
FRAME = 417
FRAMES_PER_SECOND = 44100 / 1152
NUMBER = re.compile(rb"#([0-9]{8})#")
#: Longest silence between two pieces, in seconds: what players have buffered.
LONGEST_GAP = 5.0
BEGIN_WITHIN = 45.0
TONE = 1320


def frame(number: int) -> bytes:
    """One numbered frame; whoever decodes it hears noise."""
    return (HEADER + b"#%08d#" % (number % 10**8)).ljust(FRAME, b"\x00")


def numbered() -> Callable[[], bytes]:
    """Frames, numbered from 0; each call gives as many as are due since the first."""
    begun, sent = time.monotonic(), 0

    def due() -> bytes:
        nonlocal sent
        first, sent = sent, int((time.monotonic() - begun) * FRAMES_PER_SECOND) + 1
        return b"".join(frame(number) for number in range(first, sent))

    return due


@dataclass
class Count:
    """What one listener got. ``pieces`` are frames or segments, ``gap`` is the longest between two, in seconds."""

    pieces: int = 0
    lost: int = 0
    gap: float = 0.0
    faults: list[str] = field(default_factory=list)


class Source(Protocol):
    """What sends."""

    @property
    def on_air(self) -> bool:
        """Whether it goes on sending."""

    def stop(self) -> None:
        """Go off the air."""


class Frames(threading.Thread):
    """A source of numbered frames. Raises Misbehaved at once where it is refused."""

    def __init__(self, target: Target) -> None:
        super().__init__(daemon=True)
        self._link = encoder.log_in(target)
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        """Send until stopped."""
        due = numbered()
        with contextlib.suppress(OSError):
            while not self._over.wait(0.05):
                self._link.sendall(due())
        self._link.close()

    @property
    def on_air(self) -> bool:
        """Whether it goes on sending."""
        return self.is_alive()

    def stop(self) -> None:
        """Go off the air."""
        self._over.set()
        self.join(15)


class Audience(threading.Thread, abc.ABC):
    """A listener that counts, until stopped; ``playing`` is set once it gets the stream."""

    longest_gap = LONGEST_GAP

    def __init__(self, route: Route, url: str) -> None:
        super().__init__(daemon=True)
        self._route, self._url = route, url
        self._over = threading.Event()
        self._last = 0.0
        self.playing = threading.Event()
        self.count = Count()

    def run(self) -> None:
        """Listen until stopped; the end of the stream is a fault."""
        try:
            self._listen()
        except (*player.BROKEN, Misbehaved) as error:
            self._fault(f"{type(error).__name__}: {error}")

    @abc.abstractmethod
    def _listen(self) -> None:
        """Until it is over. Raises Misbehaved, and what goes wrong between a player and a server."""

    def _fault(self, text: str) -> None:
        if not self._over.is_set():
            self.count.faults.append(text)

    def _piece(self) -> None:
        now = time.monotonic()
        if self.count.pieces:
            self.count.gap = max(self.count.gap, now - self._last)
        self._last = now
        self.count.pieces += 1

    def stop(self) -> Count:
        """Stop listening and return what was got; what has been missing until now is a gap, too."""
        if self.count.pieces:
            self.count.gap = max(self.count.gap, time.monotonic() - self._last)
        self._over.set()
        self.join(30)
        return self.count


class Listener(Audience):
    """Listens to numbered frames over one connection."""

    def _listen(self) -> None:
        with self._route.get(self._url) as answer:
            if answer.status != 200:
                raise Misbehaved(f"{self._url} answers {answer.status}")
            data, expected = b"", -1
            while not self._over.is_set():
                piece = answer.read1(player.PIECE)
                if not piece:
                    raise http.client.IncompleteRead(data[-16:])
                data, expected = self._frames(data + piece, expected)

    def _frames(self, data: bytes, expected: int) -> tuple[bytes, int]:
        while len(data) >= FRAME + 16:
            at = data.find(HEADER + b"#")
            if at < 0 or at + FRAME > len(data):
                break
            found = NUMBER.match(data, at + len(HEADER))
            if found is None:
                raise Misbehaved("a frame came with another's inside")
            number = int(found[1])
            if expected >= 0:
                self.count.lost += abs(number - expected) + (at > 0)
            data, expected = data[at + FRAME :], number + 1
            self._piece()
            if self.count.pieces > 5:
                self.playing.set()
        return data, expected


class Viewer(Audience):
    """Reads one viewer's list of HLS again and again."""

    #: Three segments of the usual length: what players have buffered.
    longest_gap = 3 * LONGEST_GAP

    def _listen(self) -> None:
        where, highest = player.media_list(self._route, self._url), -1
        names: dict[int, str] = {}
        while not self._over.is_set():
            answer = player.fetch(self._route, where)
            if answer.status != 200:
                raise Misbehaved(f"{where} answers {answer}")
            found = player.list_of(answer.body.decode("utf-8", "replace"))
            if found.ended:
                raise Misbehaved("the list says that the stream has ended")
            for number, name in enumerate(found.segments, found.first):
                if names.setdefault(number, name) != name:
                    raise Misbehaved(f"segment {number} was {names[number]}, and is {name} now")
            newest = found.first + len(found.segments) - 1
            if newest < highest:
                raise Misbehaved(f"the list went back, from segment {highest} to {newest}")
            if highest >= 0 and newest > highest:
                self.count.lost += max(0, found.first - highest - 1)
            for _number in range(highest if highest >= 0 else newest - 1, newest):
                self._piece()
            highest = max(highest, newest)
            self.playing.set()
            self._over.wait(0.7)


@contextlib.contextmanager
def neighbour(route: Route, target: Target, kind: str, url: str) -> Iterator[Audience]:
    """A source and one who listens to it; at the end neither has lost anything. Raises Misbehaved."""
    hls = player.is_hls(url)
    source: Source = encoder.Encoder(target, kind, TONE) if hls or target.scheme == "rtmp" else Frames(target)
    try:
        audience = _begun(route, url, hls, source)
        yield audience
        before = audience.count.pieces
        deadline = time.monotonic() + audience.longest_gap
        while audience.count.pieces == before and audience.is_alive() and time.monotonic() < deadline:
            time.sleep(0.2)
        sending, count = source.on_air, audience.stop()
        if not sending:
            count.faults.append("its encoder was sent away")
        if count.faults or count.lost or count.gap > audience.longest_gap:
            told = f"{count.lost} lost, {count.gap:.1f} s at the longest without any"
            raise Misbehaved("; ".join([f"of {count.pieces} frames or segments {told}", *count.faults]))
    finally:
        source.stop()


def _begun(route: Route, url: str, hls: bool, source: Source) -> Listener | Viewer:
    """A listener that is playing: right after the source has begun there may be nothing yet."""
    deadline = time.monotonic() + BEGIN_WITHIN
    while True:
        audience: Listener | Viewer = Viewer(route, url) if hls else Listener(route, url)
        audience.start()
        while audience.is_alive() and not audience.playing.wait(0.2) and time.monotonic() < deadline:
            pass
        if audience.playing.is_set():
            return audience
        count = audience.stop()
        if time.monotonic() > deadline or not source.on_air:
            raise Misbehaved(f"{url} is not heard: {'; '.join(count.faults) or 'nothing came'}")
        time.sleep(0.5)
