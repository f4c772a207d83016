"""Encoders and listeners that connect again to the address that they know, as people's do, and what they get, counted.

What sends and what listens once are those of ``streamfleet.behaviour``. ``Returning`` keeps a source on the air,
``Staying`` keeps a listener there, and says for how long it has heard nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from streamfleet.behaviour import counted, player
from streamfleet.behaviour.counted import Audience, Source
from streamfleet.errors import Misbehaved

#: Seconds between two attempts, as players wait.
AGAIN = 1.0
#: Seconds in which everybody is on the air who begins, on a machine with other things to do.
BEGIN = 90.0
#: Seconds that a transfer keeps anybody off the air at most, on such a machine: a tenth of what a hold may last.
OFF_AIR = 90.0


class Sound(Audience):
    """Listens to whatever comes over one connection; a piece is what came at once."""

    def _listen(self) -> None:
        with self._route.get(self._url) as answer:
            if answer.status != 200:
                raise Misbehaved(f"{self._url} answers {answer.status}")
            while not self._over.is_set():
                if not answer.read1(player.PIECE):
                    raise Misbehaved("the stream has ended")
                self._piece()
                self.playing.set()


class Returning(threading.Thread):
    """A source that is made anew when it was sent away. ``times``: how often it was let in."""

    def __init__(self, make: Callable[[], Source]) -> None:
        super().__init__(daemon=True)
        self._make = make
        self._over = threading.Event()
        self._awake = threading.Event()
        self._awake.set()
        self._source: Source | None = None
        self.times = 0
        self.refused = "nobody has refused it"

    def run(self) -> None:
        """Send until stopped."""
        while not self._over.is_set():
            if not self._awake.wait(0.1):
                continue
            try:
                source = self._make()
            except (Misbehaved, OSError) as error:
                self.refused = str(error)
                self._over.wait(AGAIN)
                continue
            self._source = source
            self.times += 1
            while source.on_air and self._awake.is_set() and not self._over.wait(0.1):
                pass
            source.stop()
            self._over.wait(AGAIN)

    @property
    def on_air(self) -> bool:
        """Whether it sends at this moment."""
        return self._source is not None and self._source.on_air

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Off the air by itself until the block ends."""
        self._awake.clear()
        try:
            yield
        finally:
            self._awake.set()

    def stop(self) -> None:
        """Go off the air for good."""
        self._over.set()
        self.join(30)


class Staying(threading.Thread):
    """A listener that opens the same address again when the stream has ended. Raises nothing: faults are counted."""

    def __init__(self, make: Callable[[], Audience]) -> None:
        super().__init__(daemon=True)
        self._make = make
        self._over = threading.Event()
        self._heard = time.monotonic()
        self._gap = 0.0
        #: Those that have played, the latest last.
        self.connections: list[Audience] = []

    def run(self) -> None:
        """Listen until stopped."""
        while not self._over.is_set():
            audience = self._make()
            audience.start()
            pieces, known = 0, False
            while audience.is_alive() and not self._over.wait(0.05):
                if audience.count.pieces > pieces:
                    self._note()
                    pieces = audience.count.pieces
                if audience.playing.is_set() and not known:
                    known = True
                    self.connections.append(audience)
            audience.stop()
            self._over.wait(AGAIN)

    def _note(self) -> None:
        now = time.monotonic()
        self._gap = max(self._gap, now - self._heard)
        self._heard = now

    @property
    def playing(self) -> bool:
        """Whether something has come in the last seconds."""
        return time.monotonic() - self._heard < counted.LONGEST_GAP and bool(self.connections)

    def silence_from_here(self) -> None:
        """Forget for how long nothing has come so far."""
        self._gap = 0.0

    @property
    def silence(self) -> float:
        """The longest time without anything, in seconds, one that lasts included."""
        return max(self._gap, time.monotonic() - self._heard)

    def stop(self) -> None:
        """Stop listening for good."""
        self._over.set()
        self.join(30)


@contextlib.contextmanager
def on_air(sources: dict[str, Returning], listeners: dict[str, Staying]) -> Iterator[None]:
    """All of them from now on; all are on the air when this begins."""
    started: list[Returning | Staying] = []
    try:
        everybody: list[Returning | Staying] = [*sources.values(), *listeners.values()]
        for one in everybody:
            started.append(one)
            one.start()
        await_all(sources, listeners)
        yield
    finally:
        for one in reversed(started):
            one.stop()


def await_all(sources: dict[str, Returning], listeners: dict[str, Staying]) -> None:
    """Wait until all of them are on the air."""
    deadline = time.monotonic() + BEGIN
    while True:
        missing = [name for name, source in sources.items() if not source.on_air]
        missing += [name for name, listener in listeners.items() if not listener.playing]
        if not missing:
            return
        why = {name: sources[name].refused for name in missing if name in sources}
        assert time.monotonic() < deadline, f"not on the air: {missing}; {why}"
        time.sleep(0.2)
