"""The relays of one station, each by itself: one that is slow, wrong or changed is no matter of the others."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

from . import guard, wire
from .carry import StepsAside, carry
from .roster import Relay, Roster
from .state import Board, Passage

#: The first wait after a failure; each is twice the one before, up to the relay's own longest.
FIRST_WAIT = 1.0
#: Whoever was connected for so long begins anew with the first wait.
GOOD_SECONDS = 30.0
#: How often it looks whether a DJ is gone, and whether relays have changed.
LOOK_SECONDS = 0.5


def say(text: str) -> None:
    """One line for the journal."""
    print(text, flush=True)


class Station:
    """Runs the relays of ``roster``; ``port`` and ``password`` are of the station that they belong to."""

    def __init__(self, roster: Roster, outside: wire.Guarded, board: Board, port: int, password: str) -> None:
        self._roster = roster
        self._outside = outside
        self._board = board
        self._port = port
        self._password = password
        self._relays: dict[str, Relay] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                wanted = self._roster.changed()
                if wanted is not None:
                    await self._change(wanted)
                self._write()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._stop(list(self._tasks))
            self._write()

    def _write(self) -> None:
        try:
            self._board.write()
        except OSError as error:
            # A disk that is full stops nobody's sound.
            say(f"the state cannot be written: {error.strerror}")

    async def _change(self, wanted: dict[str, Relay]) -> None:
        await self._stop([name for name, relay in self._relays.items() if wanted.get(name) != relay])
        for name, relay in wanted.items():
            if name not in self._tasks:
                self._relays[name] = relay
                passage = self._board.passages[name] = Passage(name, relay.direction)
                self._tasks[name] = asyncio.create_task(self._keep(relay, passage))

    async def _stop(self, names: list[str]) -> None:
        tasks = [self._tasks.pop(name) for name in names]
        for task in tasks:
            task.cancel()
        for name in names:
            del self._relays[name], self._board.passages[name]
        if tasks:
            await asyncio.wait(tasks)

    async def _keep(self, relay: Relay, passage: Passage) -> None:
        """One relay, again and again."""
        wait, aside = FIRST_WAIT, False
        while True:
            begun, why, detail = time.monotonic(), "it has ended", ""
            try:
                await carry(relay, self._outside, self._port, self._password, passage)
            except StepsAside:
                if not aside:
                    say(f"{relay.name}: steps aside for a DJ")
                aside, wait = True, FIRST_WAIT
                passage.waits("aside", None)
                await asyncio.sleep(LOOK_SECONDS)
                continue
            except guard.Refused as refused:
                why, detail = refused.message, refused.detail
            except wire.Lost as lost:
                why = str(lost)
            except OSError as error:
                why = error.strerror or "the connection broke"
            except Exception as error:
                # A fault of this program holds up this relay alone. Its text may hold what others have sent.
                why = f"it cannot be relayed ({type(error).__name__})"
            aside = False
            if time.monotonic() - begun >= GOOD_SECONDS:
                wait = FIRST_WAIT
            passage.waits("waiting", why)
            pause = min(wait, relay.reconnect_seconds)
            # The state is the tenant's to read, the journal is not.
            say(f"{relay.name}: {detail or why}; next attempt in about {pause:g} seconds")
            # Not all of a server's relays at once, when it comes back.
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            wait = min(wait * 2, relay.reconnect_seconds)
            passage.waits("connecting", None)


async def serve(station: Station, stop: asyncio.Event) -> None:
    """Run until told to stop."""
    running = asyncio.create_task(station.run())
    told = asyncio.create_task(stop.wait())
    await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
