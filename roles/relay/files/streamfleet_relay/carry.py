"""One passage of a relay: from the first byte until an end fails, by whichever end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from . import guard, wire
from .roster import Relay, dj_on_air
from .state import Passage
from .titles import Splitter

PIECE = 16384
#: Seconds that the receiving end may take for a piece.
TAKE_SECONDS = 10.0
#: No mount has more than 2,000 kbit/s: what comes faster is no live stream, and waits. So much is taken at once.
MOST_BYTES_A_SECOND, AT_ONCE = 256 * 1024, 1024 * 1024
TITLE_SECONDS = 1.0
LOOK_SECONDS = 0.5


class StepsAside(Exception):
    """A DJ is on the air."""


async def carry(relay: Relay, outside: wire.Guarded, port: int, password: str, passage: Passage) -> None:
    """Pass a stream on; never returns. Raises Refused, Lost, or StepsAside."""
    if dj_on_air(relay.live):
        raise StepsAside
    source = await _source(relay, outside, port)
    try:
        interval = wire.check_stream(source, relay.format)
        sink, tell = await _sink(relay, outside, port, password)
        try:
            passage.connected()
            titles: asyncio.Queue[str] = asyncio.Queue(1)
            splitter = Splitter(interval)
            work = [_tell(titles, tell), _pass_on(relay, source, sink, splitter, passage, titles)]
            await _until_one_ends([*work, _look_for_djs(relay)] if relay.live is not None else work)
        finally:
            sink.close()
    finally:
        source.close()


async def _until_one_ends(work: list[Coroutine[Any, Any, None]]) -> None:
    """All at once, until one fails. Raises what that one has raised, or that this task is cancelled.

    A TaskGroup of Python 3.11 forgets the latter when both happen at once.
    """
    tasks = [asyncio.create_task(item) for item in work]
    try:
        done, _pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _source(relay: Relay, outside: wire.Guarded, port: int) -> wire.Link:
    if relay.incoming:
        login = None if relay.username is None else wire.Login(relay.username, relay.password or "")
        return await wire.listen(outside, guard.place_of(relay.address, ("http", "https")), login)
    link = await wire.own(port)
    try:
        login = None if relay.listener_password is None else wire.Login("listener", relay.listener_password)
        await wire.ask(link, "GET", relay.mount, "localhost", login, "Icy-MetaData: 1\r\n")
        if link.status != 200:
            raise wire.Lost(f"the station's own {relay.mount}: {wire.refusal(link.status)}")
    except BaseException:
        link.close()
        raise
    return link


async def _sink(
    relay: Relay, outside: wire.Guarded, port: int, password: str
) -> tuple[wire.Link, Callable[[str], Awaitable[None]]]:
    """The receiving end, and how it is told titles."""
    if relay.incoming:
        place = guard.Place("http", "localhost", port, relay.mount)
        login = wire.Login("source", password)
    else:
        place = guard.place_of(relay.address, ("icecast", "icecasts"))
        login = wire.Login(relay.username or "source", relay.password or "")

    async def connect() -> wire.Link:
        return await (wire.own(port) if relay.incoming else outside.connect(place))

    async def told(title: str) -> None:
        with contextlib.suppress(wire.Lost, guard.Refused):
            await wire.tell_title(await connect(), place.path, place.authority, login, title)

    link = await connect()
    try:
        await wire.be_source(link, place.path, place.authority, login, relay.format, relay.title)
    except wire.Lost as lost:
        link.close()
        raise wire.Lost(f"the station itself: {lost}" if relay.incoming else str(lost)) from None
    except BaseException:
        link.close()
        raise
    return link, told


async def _pass_on(
    relay: Relay,
    source: wire.Link,
    sink: wire.Link,
    splitter: Splitter,
    passage: Passage,
    titles: asyncio.Queue[str],
) -> None:
    begun = time.monotonic()
    total = 0
    while True:
        try:
            async with asyncio.timeout(relay.silence_seconds):
                data = await source.reader.read(PIECE)
        except TimeoutError:
            raise wire.Lost(f"nothing has come for {relay.silence_seconds} seconds") from None
        except OSError:
            raise wire.Lost("the connection to where it comes from broke") from None
        if not data:
            raise wire.Lost("it has ended where it comes from")
        sound, title = splitter.feed(data)
        if title is not None and title != passage.title:
            passage.title = title
            if titles.full():
                titles.get_nowait()
            titles.put_nowait(title)
        try:
            sink.writer.write(sound)
            async with asyncio.timeout(TAKE_SECONDS):
                await sink.writer.drain()
        except (OSError, TimeoutError):
            raise wire.Lost("the connection to where it goes broke") from None
        # An end that hangs up is noticed by writing to it; what it says meanwhile is not for us.
        if sink.reader.at_eof():
            raise wire.Lost("it was hung up where it goes")
        passage.passed(len(sound))
        total += len(data)
        early = (total - AT_ONCE) / MOST_BYTES_A_SECOND - (time.monotonic() - begun)
        if early > 0:
            await asyncio.sleep(early)


async def _tell(titles: asyncio.Queue[str], tell: Callable[[str], Awaitable[None]]) -> None:
    while True:
        await tell(await titles.get())
        await asyncio.sleep(TITLE_SECONDS)


async def _look_for_djs(relay: Relay) -> None:
    while not dj_on_air(relay.live):
        await asyncio.sleep(LOOK_SECONDS)
    raise StepsAside
