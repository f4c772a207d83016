"""What DJs connect to: one process a station.

It takes their streams in, passes each on to a slot of Liquidsoap, and says which of them is heard. ``wire`` reads what
they say, ``roster`` knows them, ``air`` decides.

Folders come from the environment: settings in STREAMFLEET_LIVE_SETTINGS, own data in STREAMFLEET_LIVE_DATA, the history
in STREAMFLEET_AUTODJ_DATA.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from . import history, library, slots, wire
from .air import Air
from .attempts import Attempts
from .recording import Full, Recording, Shelf
from .roster import DJ, Roster

T = TypeVar("T")

#: Seconds that a client has for its first line and its headers.
ASKING_SECONDS = 10.0
#: A DJ who sends nothing for so many seconds is gone.
QUIET_SECONDS = 15.0
#: One that has sent nothing for so many seconds may be replaced by a new connection of the same DJ.
STALE_SECONDS = 3.0
#: Seconds that a slot may take for a piece of a stream.
SLOT_SECONDS = 10.0
TICK_SECONDS = 0.2
#: Titles are passed on so often at most.
TITLE_SECONDS = 1.0
PIECE = 16384
#: Clients that have not said yet who they are: in all, and of one address.
MOST_ASKING, MOST_ASKING_EACH = 64, 8


class Client:
    """One connection, until it is known what it wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        peer = writer.get_extra_info("peername") or ("unknown",)
        self.address = str(peer[0]).removeprefix("::ffff:")
        self.shoutcast = False
        self._left = wire.MOST_HEADER

    async def line(self) -> bytes:
        """The next line; empty at the end. Raises Refused for more than a header may be."""
        try:
            line = await self.reader.readline()
        except ValueError:
            line = b"x" * (self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise wire.Refused(431, f"The header is longer than {wire.MOST_HEADER} bytes.")
        return line

    async def headers(self) -> dict[str, str]:
        """All headers. Raises Refused."""
        lines = []
        while (line := await self.line()).strip(b"\r\n"):
            lines.append(line)
        if not line:
            raise wire.Refused(400, "The header has no end.")
        return wire.headers_of(lines)

    def refuse(self, refused: wire.Refused) -> None:
        """Say why not, in the client's own protocol."""
        if not self.shoutcast:
            self.writer.write(wire.refusal(refused.status, refused.message))
        elif refused.status == 401:
            self.writer.write(b"invalid password\r\n")
        else:
            self.writer.write(f"{refused.message}\r\n".encode())


@dataclass
class Connected:
    """A DJ who sends. ``began``: seconds of the epoch; ``last``, ``told``: when a piece came, a title was told."""

    dj: DJ
    client: Client
    slot: int
    suffix: str
    began: float
    last: float
    title: str = ""
    shown: str | None = None
    told: float = 0.0
    recording: Recording | None = None
    on: bool = False
    ended: str = ""

    @property
    def username(self) -> str:
        """Whose it is."""
        return self.dj.username

    @property
    def headline(self) -> str:
        """What players show."""
        return self.title or self.dj.name or self.username


@dataclass(frozen=True)
class Kept:
    """What is kept of a show for the time of grace."""

    began: float
    recording: Path | None
    title: str


def say(text: str) -> None:
    """One line for the journal."""
    print(text, flush=True)


class Gateway:
    """One station's way in for DJs."""

    def __init__(self, roster: Roster, inputs: slots.Slots, data: Path, played: Path) -> None:
        self.roster = roster
        self._inputs = inputs
        self._data = data
        self._played = played
        self._air = Air()
        self._on: dict[str, Connected] = {}
        self._free = collections.deque(range(1, slots.COUNT + 1))
        # Apart: a page can have whoever looks at it ask for a title, and for nothing else.
        self._attempts, self._attempts_of_titles = Attempts(), Attempts()
        self._asking: collections.Counter[str] = collections.Counter()
        self._shelf = Shelf(data)
        self._kept: dict[str, Kept] = {}
        self._heard = ""
        self._noted: tuple[str, str] | None = None
        self._ranked: list[int] | None = None
        self._state = ""
        self._trouble = ""
        self._clients: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # One thread: a disk that is slow holds up the recordings, and nobody's sound but theirs.
        self._disk = ThreadPoolExecutor(1)

    async def serve(self, port: int, ready: Callable[[int], None] = lambda _port: None) -> None:
        """Take DJs until cancelled. Raises OSError where the port cannot be had. ``ready`` is told the port."""
        self.roster.refresh()
        self._inputs.rank([])
        server = await asyncio.start_server(self._client, None, port, limit=wire.MOST_HEADER)
        ready(server.sockets[0].getsockname()[1])
        try:
            while True:
                self._look()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            server.close()
            for connected in list(self._on.values()):
                self._end(connected, "the way in for DJs was stopped", back=False)
            for writer in self._clients.values():
                writer.transport.abort()
            if self._clients:
                await asyncio.wait(self._clients, timeout=SLOT_SECONDS)
            self._inputs.rank([])
            self._heard = ""
            self._with_care(self._tell_state)

    # Clients

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client, task = Client(reader, writer), asyncio.current_task()
        assert task is not None
        self._clients[task] = writer
        try:
            if self._asking.total() >= MOST_ASKING or self._asking[client.address] >= MOST_ASKING_EACH:
                return
            self._asking[client.address] += 1
            try:
                async with asyncio.timeout(ASKING_SECONDS):
                    asked, dj = await self._greet(client)
            finally:
                self._asking[client.address] -= 1
                self._asking = +self._asking
            if isinstance(asked, wire.Update):
                self._update(client, asked, dj)
            else:
                await self._show(client, asked, dj)
        except wire.Refused as refused:
            client.refuse(refused)
            say(f"refused {client.address}: {refused.status} {refused.message}")
        except TimeoutError:
            say(f"refused {client.address}: it did not say within {ASKING_SECONDS:g} seconds what it wants")
        except OSError:
            # Gone while it was asked.
            return
        finally:
            await self._close(writer)
            del self._clients[task]

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        try:
            async with asyncio.timeout(SLOT_SECONDS):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()

    async def _greet(self, client: Client) -> tuple[wire.Source | wire.Update, DJ]:
        """What a client wants, and whose log-in it has. Raises Refused."""
        line = await client.line()
        if not line:
            raise wire.Refused(400, "It said nothing.")
        if wire.is_request(line):
            asked = wire.request(line, await client.headers())
            dj = self._known(client, asked.login, title=isinstance(asked, wire.Update))
            if asked.mount is not None and asked.mount != f"/{dj.username}":
                raise wire.Refused(404, f"The mount of this DJ is /{dj.username}.")
            return asked, dj
        client.shoutcast = True
        login = wire.shoutcast_login(line)
        dj = self._known(client, login)
        self._may_send(dj)
        client.writer.write(b"OK2\r\nicy-caps:11\r\n\r\n")
        return wire.shoutcast_source(login, await client.headers()), dj

    def _known(self, client: Client, login: wire.Login, *, title: bool = False) -> DJ:
        """The DJ of a log-in. Raises Refused."""
        now, attempts = time.monotonic(), self._attempts_of_titles if title else self._attempts
        if attempts.blocked(client.address, now):
            raise wire.Refused(429, "Too many wrong passwords came from this address: wait a minute.")
        self._refresh()
        dj = self.roster.authenticated(login)
        if dj is None:
            attempts.wrong(client.address, now)
            raise wire.Refused(401, wire.NO_DJ_FOR_TITLE if title else wire.NO_DJ)
        return dj

    def _may_send(self, dj: DJ) -> None:
        """Raises Refused where this DJ cannot be taken now."""
        if not dj.enabled:
            raise wire.Refused(403, f"The DJ {dj.username} is disabled.")
        if not dj.in_time(self.roster.timezone, time.time()):
            raise wire.Refused(403, f"It is not the time of the DJ {dj.username}.")
        before = self._on.get(dj.username)
        if before is not None and time.monotonic() - before.last < STALE_SECONDS:
            raise wire.Refused(403, f"The DJ {dj.username} is connected already.")
        if not self._free:
            raise wire.Refused(503, f"There are {slots.COUNT} DJs already.")

    def _update(self, client: Client, update: wire.Update, dj: DJ) -> None:
        connected = self._on.get(dj.username)
        if connected is None:
            raise wire.Refused(404, f"The DJ {dj.username} is not connected.")
        connected.title = update.title
        client.writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nok\n")

    # Shows

    async def _show(self, client: Client, source: wire.Source, dj: DJ) -> None:
        """One DJ, from the first byte to the last. Raises Refused."""
        self._may_send(dj)
        before = self._on.get(dj.username)
        if before is not None:
            self._end(before, "it has connected anew", back=True)
        slot = self._free.popleft()
        connected = Connected(dj, client, slot, source.suffix, time.time(), time.monotonic())
        self._on[dj.username] = connected
        link = None
        try:
            try:
                link = await self._inputs.open(slot, source.format)
            except slots.Unready as error:
                raise wire.Refused(503, f"The DJ {dj.username} cannot be taken: {error}.") from None
            if connected.ended:
                return
            await self._begin(connected)
            if not client.shoutcast:
                client.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" if source.waits else b"HTTP/1.0 200 OK\r\n\r\n")
            self._end(connected, await self._pass_on(connected, link), back=True)
        finally:
            self._end(connected, "it was not taken", back=False)
            if link is not None:
                link.transport.abort()
            self._free.append(slot)
            if connected.recording is not None:
                await self._on_disk(connected.recording.close)

    async def _begin(self, connected: Connected) -> None:
        dj, kept = connected.dj, self._kept.pop(connected.username, None)
        returned = self._air.join(dj.username, connected.slot, time.monotonic())
        if returned and kept is not None:
            connected.began, connected.title = kept.began, kept.title
        elif self._noted is not None and self._noted[0] == dj.username:
            self._noted = None
        connected.on = True
        say(f"{dj.username} is connected from {connected.client.address}{', within its time of grace' * returned}")
        if dj.record:
            path = kept.recording if returned and kept is not None else None
            resumed = path is not None and path.suffix == f".{connected.suffix}"
            try:
                if path is not None and resumed:
                    connected.recording = await self._on_disk(lambda: self._shelf.resume(path))
                else:
                    begin = self._shelf.begin
                    connected.recording = await self._on_disk(
                        lambda: begin(dj.username, connected.suffix, connected.began)
                    )
            except OSError as error:
                say(f"{dj.username} is not recorded: {error.strerror}")

    async def _pass_on(self, connected: Connected, link: asyncio.StreamWriter) -> str:
        """Pass a DJ's stream on until one side ends; why it ended."""
        reader = connected.client.reader
        while True:
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    data = await reader.read(PIECE)
            except TimeoutError:
                return f"it has sent nothing for {QUIET_SECONDS:g} seconds"
            except OSError:
                return "its connection broke"
            if not data:
                return "it has ended"
            connected.last = time.monotonic()
            try:
                link.write(data)
                async with asyncio.timeout(SLOT_SECONDS):
                    await link.drain()
            except (OSError, TimeoutError):
                return "the AutoDJ cannot play what it sends, or was restarted"
            await self._record(connected, data)

    async def _record(self, connected: Connected, data: bytes) -> None:
        recording = connected.recording
        if recording is None:
            return
        try:
            await self._on_disk(lambda: recording.write(data))
        except Full:
            self._stop_recording(connected, "all recordings together have reached their limit")
        except OSError as error:
            self._stop_recording(connected, error.strerror or "the disk failed")

    def _stop_recording(self, connected: Connected, why: str) -> None:
        say(f"{connected.username} is recorded no more: {why}")
        recording, connected.recording = connected.recording, None
        if recording is not None:
            recording.close()

    async def _on_disk(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, job)

    def _end(self, connected: Connected, why: str, back: bool) -> None:
        """A show ends, for the listeners at once. ``back``: the DJ may come back in its time of grace."""
        if connected.ended:
            return
        connected.ended = why
        username, grace = connected.username, connected.dj.grace_seconds
        if self._on.get(username) is connected:
            del self._on[username]
        if connected.on:
            waits = back and self._heard == username and grace > 0
            if waits:
                path = None if connected.recording is None else connected.recording.path
                self._kept[username] = Kept(connected.began, path, connected.title)
            self._air.leave(username, connected.dj.priority, time.monotonic() + grace if waits else None)
            # Before Liquidsoap sees the end of the stream: it must not go on with one whose equal is waited for.
            self._with_care(self._rank)
            say(f"{username} is gone: {why}")
            connected.client.writer.transport.abort()

    # What happens by itself

    def _look(self) -> None:
        """Everything that time, the panel or Liquidsoap may have changed."""
        self._refresh()
        self._out_of_time()
        for job in (self._rank, self._listen, self._titles, self._tell_state):
            self._with_care(job)

    def _with_care(self, job: Callable[[], None]) -> None:
        """A full disk must not take anybody off the air. Said once, not five times a second."""
        try:
            job()
        except OSError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                say(f"cannot write: {error}")

    def _refresh(self) -> None:
        """Read the DJs again where they have changed, and send away who may not stay."""
        if not self.roster.refresh():
            return
        for username in self._kept.keys() - self.roster.djs.keys():
            del self._kept[username]
            self._air.forget(username)
        for connected in list(self._on.values()):
            new = self.roster.djs.get(connected.username)
            if new is None:
                self._end(connected, "the DJ was deleted", back=False)
            elif not new.enabled:
                self._end(connected, "the DJ was disabled", back=False)
            elif new.password != connected.dj.password:
                self._end(connected, "its password has changed", back=False)
            elif new.kick != connected.dj.kick:
                self._end(connected, "it was disconnected by the station", back=False)
            else:
                connected.dj = new

    def _out_of_time(self) -> None:
        now = time.time()
        for connected in list(self._on.values()):
            if not connected.dj.in_time(self.roster.timezone, now):
                self._end(connected, "its time is over", back=False)

    def _rank(self) -> None:
        priorities = {name: connected.dj.priority for name, connected in self._on.items() if connected.on}
        ranked = [show.slot for show in self._air.ranking(priorities, time.monotonic())]
        if ranked != self._ranked:
            self._inputs.rank(ranked)
            self._ranked = ranked

    def _listen(self) -> None:
        """Who is heard by now."""
        slot = self._inputs.heard()
        now_heard = next((item for item in self._on.values() if item.on and item.slot == slot), None)
        username = now_heard.username if now_heard is not None else ""
        self._air.forget(username)
        if username != self._heard:
            self._heard = username
            say(f"{username} is on the air" if username else "no DJ is on the air")
            if now_heard is not None:
                # What was told before it was heard may be lost.
                now_heard.shown = None

    def _titles(self) -> None:
        now = time.monotonic()
        for connected in self._on.values():
            if not connected.on or connected.shown == connected.headline or now - connected.told < TITLE_SECONDS:
                continue
            connected.shown, connected.told = connected.headline, now
            if connected.title or connected.suffix != "ogg":
                # Ogg streams bring their titles themselves.
                task = asyncio.get_running_loop().create_task(self._tell(connected.slot, connected.headline))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        heard = self._on.get(self._heard)
        if heard is not None and self._noted != (heard.username, heard.headline):
            self._noted = heard.username, heard.headline
            line = {"playlist": "live", "path": None, "title": heard.headline, "artist": None, "dj": heard.username}
            history.add(self._played, time.time(), line)

    async def _tell(self, slot: int, title: str) -> None:
        try:
            await self._inputs.tell(slot, title)
        except slots.Unready as error:
            say(f"a title was not passed on: {error}")

    def _tell_state(self) -> None:
        connected = [
            {
                "username": item.username,
                "since": datetime.fromtimestamp(item.began, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "address": item.client.address,
                "protocol": "shoutcast" if item.client.shoutcast else "icecast",
                "format": item.suffix,
                "title": item.title,
                "recorded": item.recording is not None,
            }
            for item in sorted(self._on.values(), key=lambda item: item.username)
            if item.on
        ]
        state = json.dumps({"on_air": self._heard or None, "connected": connected}, indent=1) + "\n"
        if state != self._state:
            library.replace(self._data / "live.json", state.encode())
            self._state = state


def main() -> int:
    """Run until stopped; exit status."""
    settings_folder, data, played = (
        Path(os.environ[f"STREAMFLEET_{name}"]) for name in ("LIVE_SETTINGS", "LIVE_DATA", "AUTODJ_DATA")
    )
    settings: dict[str, Any] = json.loads((settings_folder / "settings.json").read_bytes())
    inputs = slots.Slots(data, settings["slots"]["port"], settings["slots"]["password"])
    gateway = Gateway(Roster(settings_folder / "djs.json"), inputs, data, played)
    return asyncio.run(_until_stopped(gateway, settings["port"]))


async def _until_stopped(gateway: Gateway, port: int) -> int:
    task = asyncio.ensure_future(gateway.serve(port, lambda port: say(f"DJs can connect to port {port}")))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return 0
    except OSError as error:
        say(f"cannot take DJs on port {port}: {error.strerror}")
        return 1
    return 0
