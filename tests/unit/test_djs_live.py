"""The DJs' way in over real sockets, in front of a stand-in for Liquidsoap's inputs."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.parse
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from streamfleet_autodj import live, slots, wire
from streamfleet_autodj.roster import Roster

from tests.doubles.panel import dj
from tests.ports import free_port
from tests.unit.jails import accused

SOUND = b"\xff\xfb" * 2000


class Inputs:
    """Liquidsoap's harbor: takes sources on its slots and titles for them, and hears the best that sends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sent: dict[int, bytes] = {}
        self.open: set[int] = set()
        self.titles: list[tuple[int, str]] = []
        self.kinds: dict[int, str] = {}
        self.port = 0
        #: Slots that take nothing in, and one that ends as soon as it has something.
        self.stuck: set[int] = set()
        self.broken = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        login = base64.b64encode(b"source:slots-secret").decode()
        assert f"Authorization: Basic {login}\r\n" in head
        method, target, _ = head.split(" ", 2)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        if method == "GET":
            query = urllib.parse.parse_qs(target.partition("?")[2])
            self.titles.append((int(query["mount"][0].removeprefix("/slot")), query["song"][0]))
        else:
            number = int(target.removeprefix("/slot"))
            self.kinds[number] = head.partition("Content-Type: ")[2].partition("\r\n")[0]
            self.open.add(number)
            while number in self.stuck:
                await asyncio.sleep(0.05)
            while self.broken != number and (data := await reader.read(4096)):
                self.sent[number] = self.sent.get(number, b"") + data
                self.listen()
            self.open.discard(number)
            self.listen()
        writer.close()

    def listen(self) -> None:
        ranked = [int(word) for word in (self.folder / "air").read_text().split()]
        best = next((number for number in ranked if number in self.open and self.sent.get(number)), 0)
        (self.folder / "heard").write_text(str(best))


class Station:
    """A gateway with its folders."""

    def __init__(self, folder: Path) -> None:
        self.data, self.played, self.settings = folder / "live", folder / "played", folder / "djs.json"
        self.data.mkdir()
        self.played.mkdir()
        self.inputs = Inputs(self.data)
        self.port = 0

    def have(self, *djs: dict[str, Any], timezone: str = "UTC") -> None:
        new = self.settings.with_suffix(".new")
        new.write_text(json.dumps({"timezone": timezone, "djs": list(djs)}))
        new.replace(self.settings)

    async def ask(self, text: str | bytes) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        """Send this; the first line of the answer, and the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(text.encode() if isinstance(text, str) else text)
        return await asyncio.wait_for(reader.readline(), 5), reader, writer

    async def source(self, username: str, **changes: str) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        return await self.ask(source(username, **changes))

    def state(self) -> dict[str, Any]:
        self.inputs.listen()
        data: dict[str, Any] = json.loads((self.data / "live.json").read_text())
        return data

    def history(self) -> list[tuple[str, str]]:
        path = self.played / "history.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        assert all(line["playlist"] == "live" for line in lines)
        return [(line["dj"], line["title"]) for line in lines]

    def air(self) -> list[int]:
        self.inputs.listen()
        return [int(word) for word in (self.data / "air").read_text().split()]


def source(username: str, password: str = "", mount: str = "", kind: str = "audio/mpeg", extra: str = "") -> str:
    login = base64.b64encode(f"{username}:{password or 'secret-of-' + username}".encode()).decode()
    head = f"PUT {mount or '/' + username} HTTP/1.1\r\nAuthorization: Basic {login}\r\nContent-Type: {kind}\r\n"
    return f"{head}{extra}\r\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Station], Awaitable[None]]], None]:
    """Run a story on a station that serves."""
    monkeypatch.setattr(live, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(live, "TITLE_SECONDS", 0.05)

    def runs(story: Callable[[Station], Awaitable[None]]) -> None:
        async def all_of_it() -> None:
            station = Station(tmp_path)
            station.have(dj("low"), dj("high", priority=20))
            (station.data / "air").touch()
            inputs = await station.inputs.serve()
            ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            side = slots.Slots(station.data, station.inputs.port, "slots-secret")
            gateway = live.Gateway(Roster(station.settings), side, station.data, station.played)
            task = asyncio.ensure_future(gateway.serve(free_port(), ready.set_result))
            station.port = await asyncio.wait_for(ready, 5)
            try:
                await story(station)
                assert not task.done(), task.result()
            finally:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                inputs.close()

        asyncio.run(all_of_it())

    return runs


async def until(true: Callable[[], object]) -> None:
    """Wait until it is; not for ever."""
    for _ in range(300):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not become so in 3 seconds")


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side has ended the connection."""
    try:
        await asyncio.wait_for(reader.read(), 3)
    except (ConnectionResetError, BrokenPipeError):
        return True
    except TimeoutError:
        return False
    return True


def test_streams_are_passed_on_and_the_highest_is_heard(run: Any) -> None:
    async def story(station: Station) -> None:
        answer, _, low = await station.source("low")
        assert answer == b"HTTP/1.0 200 OK\r\n"
        low.write(SOUND)
        await until(lambda: station.inputs.sent.get(1) == SOUND)
        await until(lambda: station.air() == [1])
        answer, _, high = await station.source("high", kind="audio/ogg", extra="Expect: 100-continue\r\n")
        assert answer == b"HTTP/1.1 100 Continue\r\n"
        high.write(SOUND)
        await until(lambda: station.air() == [2, 1])
        assert station.inputs.kinds == {1: "audio/mpeg", 2: "application/ogg"}
        await until(lambda: station.state()["on_air"] == "high")
        assert [(item["username"], item["address"]) for item in station.state()["connected"]] == [
            ("high", "127.0.0.1"),
            ("low", "127.0.0.1"),
        ]
        high.close()
        await until(lambda: station.state()["on_air"] == "low")
        low.close()
        await until(lambda: station.state() == {"on_air": None, "connected": []})
        assert station.history() == [("low", "low"), ("high", "high"), ("low", "low")]

    run(story)


def test_a_shoutcast_source(run: Any) -> None:
    async def story(station: Station) -> None:
        answer, reader, writer = await station.ask("low:secret-of-low\r\n")
        assert answer == b"OK2\r\n"
        assert await reader.readline() == b"icy-caps:11\r\n"
        writer.write(b"icy-name:x\r\ncontent-type:audio/aacp\r\n\r\n" + SOUND)
        await until(lambda: station.inputs.sent.get(1) == SOUND)
        assert station.inputs.kinds == {1: "audio/aac"}
        answer, _, _ = await station.ask(
            "GET /admin.cgi?pass=low:secret-of-low&mode=updinfo&song=Hello HTTP/1.0\r\n\r\n"
        )
        assert answer == b"HTTP/1.0 200 OK\r\n"
        await until(lambda: (1, "Hello") in station.inputs.titles)
        writer.close()

    run(story)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (source("low", password="wrong-wrong"), b"HTTP/1.0 401 "),
        (source("nobody"), b"HTTP/1.0 401 "),
        (source("low", mount="/high"), b"HTTP/1.0 404 "),
        (source("low", kind="text/html"), b"HTTP/1.0 415 "),
        (source("off"), b"HTTP/1.0 403 "),
        (source("late"), b"HTTP/1.0 403 "),
        ("low:wrong\r\n", b"invalid password"),
        ("late:secret-of-late\r\n", b"It is not the time"),
        ("\r\n", b"invalid password"),
        ("PUT /low HTTP/1.1\r\nX: " + "a" * 9000, b"HTTP/1.0 431 "),
        ("PUT /low HTTP/1.1\r\n" + "X: a\r\n" * 1500 + "\r\n", b"HTTP/1.0 431 "),
        ("PUT /low HTTP/1.1\r\nno colon\r\n\r\n", b"HTTP/1.0 400 "),
        (
            "GET /admin/metadata?mode=updinfo&mount=/low&song=x HTTP/1.0\r\n" + source("low").partition("\r\n")[2],
            b"HTTP/1.0 404 ",
        ),
    ],
)
def test_who_is_refused(run: Any, capsys: pytest.CaptureFixture[str], asked: str, answer: bytes) -> None:
    async def story(station: Station) -> None:
        late = dj("late", scheduled_only=True, active=[])
        station.have(dj("low"), dj("off", enabled=False), late)
        said, reader, _ = await station.ask(asked)
        assert said.startswith(answer), said
        assert await reader.read() is not None
        assert station.inputs.open == set()

    run(story)
    output = capsys.readouterr().out
    assert "refused 127.0.0.1: " in output
    assert "secret" not in output
    assert "wrong" not in output
    # Fail2ban counts what the line says of a password that was wrong.
    wrong = answer in (b"HTTP/1.0 401 ", b"invalid password")
    assert counted(output) == (["127.0.0.1"] if wrong else [])


def counted(output: str) -> list[str]:
    """The addresses that fail2ban counts of what the gateway has said."""
    return [address for line in output.splitlines() if (address := accused("autodj", f"n1 live-fm[7]: {line}"))]


def test_an_address_has_ten_tries(run: Any) -> None:
    async def story(station: Station) -> None:
        for _ in range(10):
            answer, _, _ = await station.source("low", password="wrong-wrong")
            assert answer.startswith(b"HTTP/1.0 401 ")
        answer, _, _ = await station.source("low")
        assert answer.startswith(b"HTTP/1.0 429 ")

    run(story)


def test_what_a_page_can_have_its_visitors_ask_keeps_no_source_out(
    run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A picture's address may be one of these: no log-in, and one in the query."""

    async def story(station: Station) -> None:
        for number in range(12):
            for query in ("", "&pass=low:wrong"):
                await station.ask(f"GET /admin.cgi?mode=updinfo&song=x{number}{query} HTTP/1.0\r\n\r\n")
            await station.ask(f"GET /admin/metadata?mode=updinfo&mount=/low&song=x{number} HTTP/1.0\r\n\r\n")
        answer, _, _ = await station.source("low")
        assert answer.startswith(b"HTTP/1.0 200 "), answer

    run(story)
    output = capsys.readouterr().out
    assert "refused 127.0.0.1: 429" in output
    assert wire.NO_DJ not in output
    assert counted(output) == []


def test_no_more_than_the_slots_and_nobody_twice(run: Any) -> None:
    async def story(station: Station) -> None:
        station.have(*(dj(f"dj{number}") for number in range(9)))
        links = [(await station.source(f"dj{number}")) for number in range(8)]
        assert {answer for answer, _, _ in links} == {b"HTTP/1.0 200 OK\r\n"}
        answer, _, _ = await station.source("dj8")
        assert answer.startswith(b"HTTP/1.0 503 ")
        answer, _, _ = await station.source("dj0")
        assert answer.startswith(b"HTTP/1.0 403 ")
        links[3][2].close()
        await until(lambda: len(station.state()["connected"]) == 7)
        answer, _, _ = await station.source("dj8")
        assert answer == b"HTTP/1.0 200 OK\r\n"

    run(story)


def test_a_connection_that_hangs_gives_way_to_a_new_one(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STALE_SECONDS", 0.2)

    async def story(station: Station) -> None:
        _, old, writer = await station.source("low")
        writer.write(SOUND)
        await until(lambda: station.air() == [1])
        await asyncio.sleep(0.3)
        answer, _, new = await station.source("low")
        assert answer == b"HTTP/1.0 200 OK\r\n"
        assert await ended(old)
        new.write(SOUND)
        await until(lambda: station.air() == [2])

    run(story)


def test_who_sends_nothing_is_dropped(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUIET_SECONDS", 0.2)

    async def story(station: Station) -> None:
        _, reader, _ = await station.source("low")
        assert await ended(reader)
        await until(lambda: station.state()["connected"] == [])

    run(story)


def test_who_does_not_say_what_it_wants_is_dropped(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ASKING_SECONDS", 0.3)

    async def story(station: Station) -> None:
        links = [await asyncio.open_connection("127.0.0.1", station.port) for _ in range(live.MOST_ASKING_EACH)]
        await asyncio.sleep(0.05)
        reader, _ = await asyncio.open_connection("127.0.0.1", station.port)
        assert await asyncio.wait_for(ended(reader), 0.2)
        for reader, _ in links:
            assert await ended(reader)
        answer, _, _ = await station.source("low")
        assert answer == b"HTTP/1.0 200 OK\r\n"

    run(story)


@pytest.mark.parametrize(
    "change",
    [None, {"enabled": False}, {"kick": 1}, {"password": "another-secret"}, {"scheduled_only": True, "active": []}],
)
def test_changes_send_away_whom_they_are_about(run: Any, change: dict[str, Any] | None) -> None:
    async def story(station: Station) -> None:
        station.have(dj("low", grace_seconds=300), dj("high", priority=20))
        _, low, low_writer = await station.source("low")
        _, _high, high_writer = await station.source("high")
        low_writer.write(SOUND)
        high_writer.write(SOUND)
        await until(lambda: station.state()["on_air"] == "high")
        station.have(dj("low", name="Anna", priority=5), dj("high", priority=1), dj("new"))
        await until(lambda: station.air() == [1, 2])
        await until(lambda: station.state()["on_air"] == "low")
        station.have(*([] if change is None else [dj("low", **change)]), dj("high", priority=1))
        assert await ended(low)
        await until(lambda: station.air() == [2])
        high_writer.write(SOUND)
        await until(lambda: station.inputs.sent[2] == 2 * SOUND)

    run(story)


def test_a_return_goes_on_with_the_show(run: Any) -> None:
    async def story(station: Station) -> None:
        station.have(dj("low", grace_seconds=60, record=True), dj("peer"))
        _, _, writer = await station.source("low")
        writer.write(SOUND)
        await until(lambda: station.state()["on_air"] == "low")
        login = source("low").partition("\r\n")[2]
        await station.ask(f"GET /admin/metadata?mode=updinfo&mount=/low&song=One HTTP/1.0\r\n{login}")
        await until(lambda: station.history() == [("low", "low"), ("low", "One")])
        began = station.state()["connected"][0]["since"]
        _, _, peer = await station.source("peer")
        peer.write(SOUND)
        await until(lambda: station.air() == [1, 2])
        writer.close()
        await until(lambda: station.air() == [])
        _, _, writer = await station.source("low")
        writer.write(SOUND)
        await until(lambda: station.air() == [3, 2])
        await until(lambda: station.state()["on_air"] == "low")
        assert station.state()["connected"][0]["since"] == began
        assert station.history() == [("low", "low"), ("low", "One")]
        files = list(station.data.glob("low-*.mp3"))
        assert len(files) == 1
        await until(lambda: files[0].read_bytes() == 2 * SOUND)

    run(story)


def test_titles_are_told_again_when_one_is_heard(run: Any) -> None:
    async def story(station: Station) -> None:
        _, _, high = await station.source("high")
        high.write(SOUND)
        _, _, low = await station.source("low")
        low.write(SOUND)
        login = source("low").partition("\r\n")[2]
        await station.ask(f"GET /admin/metadata?mode=updinfo&mount=/low&song=First HTTP/1.0\r\n{login}")
        await until(lambda: (2, "First") in station.inputs.titles)
        assert ("low", "First") not in station.history()
        before = len(station.inputs.titles)
        high.close()
        await until(lambda: ("low", "First") in station.history())
        await until(lambda: (2, "First") in station.inputs.titles[before:])

    run(story)


def test_without_the_autodj_nobody_is_taken(run: Any) -> None:
    async def story(station: Station) -> None:
        side = slots.Slots(station.data, 1, "x")
        with pytest.raises(slots.Unready, match="not running"):
            await side.open(1, "audio/mpeg")

    run(story)


def test_a_slot_that_is_stuck_holds_up_nobody_else(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SLOT_SECONDS", 0.5)

    async def story(station: Station) -> None:
        station.inputs.stuck = {1}
        _, reader, low = await station.source("low")
        low.write(b"x" * 30_000_000)
        _, _, high = await station.source("high")
        high.write(SOUND)
        await until(lambda: station.inputs.sent.get(2) == SOUND)
        # Bounded: what it sends is not taken in beyond the buffers between both.
        assert low.transport.get_write_buffer_size() > 10_000_000
        assert await ended(reader)
        station.inputs.stuck = set()
        await until(lambda: station.air() == [2])

    run(story)


def test_who_sends_what_cannot_be_played_is_sent_away(run: Any) -> None:
    async def story(station: Station) -> None:
        station.inputs.broken = 1
        _, reader, writer = await station.source("low")
        for _ in range(50):
            writer.write(SOUND)
            await asyncio.sleep(0.01)
        assert await ended(reader)
        await until(lambda: station.state()["connected"] == [])

    run(story)
