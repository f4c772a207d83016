"""What viewers get: one stream whose time goes on, whatever it is made of."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import flv, rtmp

#: Seconds that are sent ahead of time. Where a source comes later than LATE, time itself is late from then on.
AHEAD, LATE = 1.0, 0.5
#: Milliseconds by which a source's time may jump, and that a piece lasts of which nothing else is known.
JUMP, PIECE = 5000, 20
#: Milliseconds without a key frame after which a source is of no use: a segment of HLS lasts until the next.
UNKEYED = 20_000
#: Bytes a second at most, of what says that all of it is now: Wowza holds a segment in memory that all channels share.
MOST_RATE = 6_250_000
#: Milliseconds after which it begins anew with another source: RTMP has 31 bits for them that all agree about.
LONGEST = 24 * 86400 * 1000


class Unfit(Exception):
    """Viewers cannot be shown the source. Its text says why."""


class Air:
    """The channel's stream, as the files of ``settings`` say where it goes."""

    def __init__(
        self,
        settings: Path,
        connect: Callable[..., Any] = rtmp.Publisher,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._connect, self._clock, self._sleep = settings, connect, clock, sleep
        self._publisher: Any = None
        #: How to decode what comes: it is told again to a server that has begun anew, which then needs a key frame.
        self._heads: dict[int, bytes] = {}
        self._fresh = True
        #: Milliseconds of the stream: up to where it was sent, and where the source's time begins in it.
        self._end = 0
        self._last: dict[int, int] = {}
        self._shift: int | None = None
        #: When its beginning was, in seconds of the clock.
        self._epoch: float | None = None
        self._keyed = 0
        #: Until when, in seconds of the clock, what was sent would have taken at that rate.
        self._busy = 0.0

    def begin(self) -> None:
        """Another source follows: its time goes on where the one before has ended."""
        self._shift = None
        if self._end > LONGEST:
            self.close()
            self._end, self._epoch = 0, None
        self._last, self._keyed = {}, self._end

    def send(self, tag: flv.Tag) -> bool:
        """Send it at its time; False where nothing of it is seen. Raises rtmp.Gone, Unfit, OSError, ValueError."""
        if tag.is_head:
            self._heads[tag.kind] = tag.body
            if not self._fresh:
                self._out(tag.kind, self._end, tag.body)
            return False
        if self._publisher is None:
            self._open()
        if self._fresh:
            if not tag.is_key:
                return False
            self._shift = None
            for kind, head in sorted(self._heads.items(), reverse=True):
                self._out(kind, self._end, head)
            self._fresh = False
        moment = self._moment(tag)
        if tag.is_key:
            self._keyed = moment
        elif moment - self._keyed > UNKEYED:
            raise Unfit(f"it has no key frame for {UNKEYED // 1000} seconds")
        self._wait(moment)
        self._hold(len(tag.body))
        self._out(tag.kind, moment, tag.body)
        step = min(max(moment - self._last.get(tag.kind, moment - PIECE), 1), 100)
        self._last[tag.kind] = moment
        self._end = max(self._end, moment + step)
        return True

    def close(self) -> None:
        """End the stream, as far as there is one."""
        publisher, self._publisher, self._fresh = self._publisher, None, True
        if publisher is not None:
            publisher.close()

    def _open(self) -> None:
        wanted = json.loads((self._settings / "settings.json").read_bytes())
        secret = json.loads((self._settings / "publish.json").read_bytes())
        self._publisher = self._connect(wanted["port"], wanted["application"], wanted["stream"], secret["password"])
        self._fresh = True
        print("on the air", flush=True)

    def _out(self, kind: int, moment: int, body: bytes) -> None:
        try:
            self._publisher.send(kind, moment, body)
        except rtmp.Gone:
            self.close()
            raise

    def _moment(self, tag: flv.Tag) -> int:
        if self._shift is None:
            self._shift = self._end - tag.moment
        moment = tag.moment + self._shift
        if abs(moment - self._end) > JUMP:
            # No viewer waits for what a broken file says.
            self._shift += self._end - moment
            moment = self._end
        return max(moment, 0)

    def _wait(self, moment: int) -> None:
        now = self._clock()
        if self._epoch is None:
            self._epoch = now - moment / 1000
        late = now - (self._epoch + moment / 1000)
        if late > LATE:
            self._epoch += late
        elif -late > AHEAD:
            self._sleep(-late - AHEAD)

    def _hold(self, size: int) -> None:
        now = self._clock()
        self._busy = max(self._busy, now - 1) + size / MOST_RATE
        if self._busy > now:
            self._sleep(self._busy - now)
