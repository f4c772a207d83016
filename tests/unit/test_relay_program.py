"""The program of the relays: real sockets on loopback, somebody else's radio, an Icecast that refuses as it does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from streamfleet_relay import wire
from streamfleet_relay.roster import Roster, relays_of
from streamfleet_relay.state import Board, Passage
from streamfleet_relay.station import Station, serve
from streamfleet_relay.titles import Splitter, title_of

from tests.doubles.remote_radio import INTERVAL, Radio

SOUND = b"".join(b"%07d\n" % number for number in range(4000))
SOON = 15.0


class Icecast:
    """An Icecast, as far as sources and titles go: refuses what Icecast refuses. ``got``: bytes by mount."""

    def __init__(self, password: str) -> None:
        self.got: dict[str, bytes] = {}
        self.sources: list[tuple[str, dict[str, str]]] = []
        self.titles: list[str] = []
        self.on: set[str] = set()
        self._login = base64.b64encode(f"source:{password}".encode()).decode()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = link.recv(4096)
                if not piece:
                    return
                head += piece
            first, *lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            method, path, _ = first.split()
            if headers.get("authorization") != f"Basic {self._login}":
                link.sendall(b"HTTP/1.0 401 Authentication Required\r\n\r\n")
            elif method == "GET" and path.startswith("/admin/metadata?"):
                self.titles.append(path.partition("song=")[2])
                link.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            elif method != "PUT" or not headers.get("content-type") or path in self.on:
                link.sendall(b"HTTP/1.0 403 Forbidden\r\n\r\n")
            else:
                self._source(link, path, headers)

    def _source(self, link: socket.socket, path: str, headers: dict[str, str]) -> None:
        self.on.add(path)
        self.sources.append((path, headers))
        self.got[path] = b""
        link.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            while piece := link.recv(16384):
                self.got[path] += piece
        finally:
            self.on.discard(path)


class Running:
    """The program with some relays, in a thread; what it has said of them is in ``state()``."""

    def __init__(self, folder: Path, port: int, opened: list[str]) -> None:
        self.folder = folder
        (folder / "networks.json").write_text(json.dumps(opened))
        self.want()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        outside = wire.Guarded(folder / "networks.json")
        board = Board(folder / "state.json")
        station = Station(Roster(folder / "relays.json"), outside, board, port, "own-secret")
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(serve(station, self._stop),))
        self._thread.start()

    def want(self, *relays: dict[str, Any]) -> None:
        """Write the file as converge does."""
        new = self.folder / "new"
        new.write_text(json.dumps(list(relays)))
        new.rename(self.folder / "relays.json")

    def state(self, name: str = "a") -> dict[str, Any]:
        """What is said of a relay; as of a new one, where nothing is said yet."""
        path = self.folder / "state.json"
        said = json.loads(path.read_text())["relays"] if path.exists() else []
        return next((dict(item) for item in said if item["name"] == name), asdict(Passage(name, "in")))

    def until(self, told: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SOON
        while not told():
            assert time.monotonic() < deadline, str(self.state())
            time.sleep(0.05)

    def fails(self, words: str) -> None:
        """Wait until this is what went wrong last."""
        self.until(lambda: words in (self.state().get("last_error") or ""))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._loop.close()


def relay(port: int, **changes: Any) -> dict[str, Any]:
    """A relay as its file has it."""
    return {
        "name": "a",
        "direction": "in",
        "address": f"http://localhost.example:{port}/live",
        "mount": "/_relay-stream",
        "format": "mp3",
        "title": "Rock FM",
        "username": None,
        "password": None,
        "listener_password": None,
        "live": None,
        "enabled": True,
        "silence_seconds": 1,
        "reconnect_seconds": 1,
        **changes,
    }


NAMES: dict[str, list[str]] = {
    "localhost.example": ["127.0.0.1"],
    "mixed.example": ["8.8.8.8", "10.0.0.5"],
    "inside.example": ["169.254.169.254"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that knows a few names."""

    async def look_up(_loop: object, host: str, port: int, **_options: Any) -> list[Any]:
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in NAMES[host]]

    real = asyncio.BaseEventLoop.getaddrinfo

    async def either(loop: asyncio.BaseEventLoop, host: Any, port: Any, **options: Any) -> Any:
        if host in NAMES or str(host).endswith(".example"):
            return await look_up(loop, host, port)
        return await real(loop, host, port, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", either)


@pytest.fixture
def radio() -> Iterator[Radio]:
    with Radio(SOUND).serving() as it:
        yield it


@pytest.fixture
def icecast() -> Iterator[Icecast]:
    it = Icecast("own-secret")
    yield it
    it.close()


@pytest.fixture
def running(tmp_path: Path, icecast: Icecast) -> Iterator[Running]:
    it = Running(tmp_path, icecast.port, ["127.0.0.0/8"])
    yield it
    it.close()


def test_the_sound_arrives_whole_and_the_title_beside_it(running: Running, icecast: Icecast, radio: Radio) -> None:
    radio.title = "Café ♫ a 'quoted' one"
    running.want(relay(radio.port))
    running.until(lambda: len(icecast.got.get("/_relay-stream", b"")) > 3 * INTERVAL)
    assert SOUND.startswith(icecast.got["/_relay-stream"][: 3 * INTERVAL])
    running.until(lambda: running.state()["state"] == "connected" and len(icecast.titles) == 1)
    assert icecast.titles == ["Caf%C3%A9+%E2%99%AB+a+%27quoted%27+one"]
    path, headers = icecast.sources[0]
    assert (path, headers["content-type"], headers["ice-name"]) == ("/_relay-stream", "audio/mpeg", "Rock FM")
    assert "authorization" not in radio.requests[0]


def test_it_comes_back_after_the_end_and_after_silence(running: Running, icecast: Icecast, radio: Radio) -> None:
    running.want(relay(radio.port))
    running.until(lambda: radio.heard == 1 and bool(icecast.on))
    radio.off()
    running.until(lambda: not icecast.on)
    running.until(lambda: bool(running.state()["last_error"]))
    radio.on()
    running.until(lambda: radio.heard == 2 and bool(icecast.on))
    radio.silent = True
    running.fails("nothing has come for 1 seconds")
    radio.silent = False
    running.until(lambda: running.state()["state"] == "connected")
    assert running.state()["reconnects"] >= 2


def test_only_what_changes_connects_anew(running: Running, icecast: Icecast, radio: Radio) -> None:
    other = relay(radio.port, name="b", mount="/_relay-low")
    running.want(relay(radio.port), other)
    running.until(lambda: icecast.on == {"/_relay-stream", "/_relay-low"})
    running.want(relay(radio.port), {**other, "silence_seconds": 2})
    running.until(lambda: [path for path, _ in icecast.sources].count("/_relay-low") == 2)
    running.want(relay(radio.port))
    running.until(lambda: icecast.on == {"/_relay-stream"})
    assert [path for path, _ in icecast.sources].count("/_relay-stream") == 1
    running.want(relay(radio.port, enabled=False))
    running.until(lambda: not icecast.on)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("mixed.example", "leads to an address that is not public"),
        ("inside.example", "leads to an address that is not public"),
        ("nowhere.example", "nowhere.example is not found"),
    ],
)
def test_what_a_name_leads_to_is_judged_when_it_connects(
    running: Running, icecast: Icecast, radio: Radio, host: str, words: str
) -> None:
    running.want(relay(radio.port, address=f"http://{host}:{radio.port}/live"))
    running.fails(words)
    # And where others send it.
    running.want(relay(radio.port))
    radio.redirect = f"http://{host}:{radio.port}/live"
    running.want(relay(radio.port, title="anew"))
    running.fails(words)
    assert not icecast.on


def test_a_tenant_is_told_no_address_of_the_inside_and_the_journal_is(
    running: Running, radio: Radio, capsys: pytest.CaptureFixture[str]
) -> None:
    running.want(relay(radio.port, address="http://inside.example/live"))
    running.fails("leads to an address that is not public")
    assert "169.254" not in (running.folder / "state.json").read_text()
    assert "a: leads to 169.254.169.254, which is not on the public Internet; next" in capsys.readouterr().out


def test_what_is_on_the_same_server_is_not_relayed(
    running: Running, radio: Radio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name leads to a public address, which is this host's: a station would relay itself."""
    assert not wire.is_own("127.0.0.1")  # the guard's to judge
    assert not wire.is_own("192.0.2.1")
    assert not wire.is_own("2001:db8::1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address = probe.getsockname()[0]
    assert wire.is_own(address)
    monkeypatch.setattr(wire, "is_own", lambda _address: True)
    running.want(relay(radio.port))
    running.fails("leads to the server that the station is on")
    assert radio.requests == []


def test_loopback_is_closed_unless_the_operator_has_opened_it(tmp_path: Path, icecast: Icecast, radio: Radio) -> None:
    closed = Running(tmp_path, icecast.port, [])
    try:
        closed.want(relay(radio.port))
        closed.fails("leads to an address that is not public")
        assert radio.requests == []
    finally:
        closed.close()


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "http://127.0.0.1:1/", "http://user:pw@localhost.example/", "icecast://a.example/", ""],
)
def test_redirects_lead_nowhere_else(running: Running, radio: Radio, target: str) -> None:
    radio.redirect = target
    running.want(relay(radio.port))
    running.fails("redirects")


def test_a_password_stays_with_its_server(running: Running, icecast: Icecast, radio: Radio) -> None:
    radio.login = ("fm", "secret")
    running.want(relay(radio.port, username="fm", password="wrong"))
    running.fails("it does not take the user name and password")
    with Radio(SOUND).serving() as other:
        radio.redirect = f"http://localhost.example:{other.port}/live"
        running.want(relay(radio.port, username="fm", password="secret"))
        running.until(lambda: bool(icecast.on))
        assert radio.requests[-1]["authorization"].startswith("Basic ")
        assert "authorization" not in other.requests[0]
    assert "secret" not in (running.folder / "state.json").read_text()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("audio/x-mpegurl", "it is a audio/x-mpegurl, not a stream"),
        ("text/html", "it is a text/html, not a stream"),
        ("audio/aac", "it is audio/aac, and the mount is mp3"),
    ],
)
def test_what_is_no_stream_of_the_mounts_format_is_not_passed_on(
    running: Running, icecast: Icecast, radio: Radio, kind: str, words: str
) -> None:
    radio.content_type = kind
    running.want(relay(radio.port))
    running.fails(words)
    assert icecast.sources == []


def test_it_steps_aside_while_a_dj_is_on_the_air(running: Running, icecast: Icecast, radio: Radio) -> None:
    live = running.folder / "live.json"
    running.want(relay(radio.port, live=str(live)))
    running.until(lambda: bool(icecast.on))
    live.write_text(json.dumps({"on_air": "anna", "connected": []}))
    running.until(lambda: not icecast.on and running.state()["state"] == "aside")
    assert running.state()["last_error"] is None
    live.write_text(json.dumps({"on_air": None, "connected": []}))
    running.until(lambda: bool(icecast.on))


def test_out(tmp_path: Path) -> None:
    """From the station's own mount to another server, logged in there."""
    other = Icecast("of-other")
    with Radio(SOUND, login=("listener", "let-me-in")).serving() as own:
        running = Running(tmp_path, own.port, ["127.0.0.0/8"])
        try:
            ends = {"direction": "out", "address": f"icecast://localhost.example:{other.port}/copy", "mount": "/live"}
            wanted = relay(own.port, **ends, listener_password="let-me-in", password="wrong")
            running.want(wanted)
            running.fails("it does not take the user name and password")
            running.want({**wanted, "password": "of-other"})
            running.until(lambda: len(other.got.get("/copy", b"")) > INTERVAL)
            assert SOUND.startswith(other.got["/copy"][:INTERVAL])
            running.want({**wanted, "password": "of-other", "mount": "/gone"})
            running.fails("the station's own /gone: there is no such stream (404)")
        finally:
            running.close()
            other.close()


def test_titles_are_taken_out_wherever_the_bytes_are_cut() -> None:
    said = b"StreamTitle='One';StreamUrl='';"
    block = bytes([-(-len(said) // 16)]) + said.ljust(-(-len(said) // 16) * 16, b"\0")
    stream = SOUND[:100] + block + SOUND[100:200] + b"\0" + SOUND[200:300] + b"\0"
    for size in (1, 7, 16, 100, 101, 1000):
        splitter, sound, titles = Splitter(100), b"", []
        for start in range(0, len(stream), size):
            piece, title = splitter.feed(stream[start : start + size])
            sound += piece
            titles.append(title)
        assert sound == SOUND[:300], size
        assert [title for title in titles if title is not None] == ["One"], size
    assert Splitter(0).feed(stream) == (stream, None)


def test_titles_hold_no_control_characters_and_end_somewhere() -> None:
    assert title_of(b"StreamTitle='a\r\nb';") == "a  b"
    assert title_of(b"StreamTitle='Caf\xe9';") == "Café"
    assert len(title_of(b"StreamTitle='" + b"x" * 4000 + b"';") or "") == 250
    assert title_of(b"StreamUrl='x';") is None


def test_heads_of_answers() -> None:
    assert wire.head_of(b"ICY 200 OK\r\nicy-metaint: 8000\r\n\r\n") == (200, {"icy-metaint": "8000"})
    assert wire.head_of(b"HTTP/1.1 404 Not Found\r\nA: b: c\r\n\r\n") == (404, {"a": "b: c"})
    for raw in (b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"\r\n\r\n"):
        with pytest.raises(wire.Lost, match="does not speak HTTP"):
            wire.head_of(raw)


def test_a_file_that_is_being_written_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "relays.json"
    roster = Roster(path)
    assert roster.changed() is None
    path.write_text("[{")
    assert roster.changed() is None
    path.write_text(json.dumps([relay(1), relay(1, name="b", enabled=False)]))
    assert roster.changed() == relays_of([relay(1)])
    assert roster.changed() is None
