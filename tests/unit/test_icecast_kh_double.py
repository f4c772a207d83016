"""The double of Icecast-KH, and where there is a build of it the program too: what Streamfleet takes for granted of it.

``STREAMFLEET_LIVE_ICECAST_KH`` is the path of an archive with a build, for which all but the double's own strictness is
run as well, where this machine has its libraries.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet.engine import load_renderer
from streamfleet_sessions.lines import of_icecast

from tests.doubles.icecast_kh import pack
from tests.doubles.panel import kh_station, relay
from tests.doubles.remote_radio import Radio
from tests.ports import free_port
from tests.unit.test_relay_program import Running, names
from tests.unit.test_relay_program import relay as relay_line

__all__ = ["names"]

ROOT = Path(__file__).resolve().parents[2]
REAL = os.environ.get("STREAMFLEET_LIVE_ICECAST_KH")
render = load_renderer(ROOT, "icecast_kh")
NODE = {"node": "n1", "stream_host": "stream.example.net"}
UID = 200001
SECRET = "source-rock-fm-secret"
FRAME = b"\xff\xfb\x90\x64" + bytes(413)
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_0) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15"
)


def until(check: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
    return found


def unpack(archive: Path, folder: Path) -> None:
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", folder], check=True)


class Refused(Exception):
    """A source was turned away; the status."""


class Sender(threading.Thread):
    """A source that sends frames in time until it is stopped or hung up on. Raises Refused.

    Who it is is looked at only after 100: the answer that counts follows.
    """

    def __init__(self, port: int, mount: str, word: str) -> None:
        super().__init__(daemon=True)
        login = base64.b64encode(f"source:{word}".encode()).decode()
        head = f"PUT {mount} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\nContent-Type: audio/mpeg\r\n"
        self.link = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.link.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        answer = b""
        while not (
            statuses := [status for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer) if status != b"100"]
        ):
            piece = self.link.recv(1024)
            assert piece, answer
            answer += piece
        if statuses != [b"200"]:
            self.link.close()
            raise Refused(statuses[0].decode())
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while not self._over.wait(0.026):
                self.link.sendall(FRAME)

    def stop(self) -> None:
        self._over.set()
        self.join(5)
        self.link.close()


class Station:
    """One program with one configuration."""

    def __init__(self, program: Path, share: Path, folder: Path) -> None:
        self.program, self.share, self.folder = program, share, folder
        self.port = free_port()
        self.path = folder / "icecast.xml"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._senders: list[Sender] = []

    def write(self, text: str | None = None, **changes: Any) -> None:
        """The configuration of a station; ``text``: this one instead."""
        instance = render(kh_station("rock-fm", UID, self.port, **changes), NODE)
        for file in instance.files:
            if file.kind == "key":
                (self.folder / "listeners.htpasswd").write_text(file.content)
        config = instance.files[0].content if text is None else text
        config = config.replace("/opt/streamfleet/icecast_kh/current/share/icecast", str(self.share))
        config = re.sub(
            r"/etc/streamfleet/instances/\S+/listeners.htpasswd", f"{self.folder}/listeners.htpasswd", config
        )
        for path in (self.path, self.folder / "listeners.htpasswd"):
            if path == self.path:
                path.write_text(config)
            if path.exists():
                path.chmod(0o644)

    def start(self, **changes: Any) -> None:
        self.write(**changes)
        with self.log.open("wb") as log:
            user = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
            self.process = subprocess.Popen(
                [self.program, "-c", self.path],
                stderr=log,
                stdout=log,
                cwd="/",
                **user,  # type: ignore[call-overload]
            )
        until(self.answers)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def reload(self, **changes: Any) -> None:
        """Another configuration, read on SIGHUP; in effect after what the unit waits."""
        self.write(**changes)
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        for _ in range(3):
            time.sleep(0.7)
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
        time.sleep(0.3)

    def send(self, mount: str = "/stream", word: str = SECRET) -> Sender:
        sender = Sender(self.port, mount, word)
        self._senders.append(sender)
        until(lambda: f'mount="{mount}"' in self.stats())
        return sender

    def stats(self) -> str:
        found = self.get("/admin/stats", login="admin:admin-rock-fm-secret")
        body = found.read().decode()
        assert found.status == 200, body
        return body

    def get(self, path: str, method: str = "GET", login: str = "", **headers: str) -> http.client.HTTPResponse:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        if login:
            headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        link.request(method, path, headers=headers)
        return link.getresponse()

    def listen(self, path: str = "/stream", **headers: str) -> http.client.HTTPResponse:
        """A listener who has been let in, and hears."""
        found = self.get(path, **headers)
        assert found.status == 200, (found.status, found.headers.items())
        assert len(found.read(2000)) == 2000
        return found

    def status(self, path: str = "/stream", **more: Any) -> int:
        found = self.get(path, **more)
        found.close()
        return found.status

    def stop(self) -> str:
        for sender in self._senders:
            sender.stop()
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(15) == 0, self.log.read_text()
        return self.log.read_text()


@pytest.fixture(scope="module", params=["double", *(["program"] if REAL else [])])
def unpacked(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The folder of a build, or of the double, where a user without rights can run it: as root the program does not."""
    with tempfile.TemporaryDirectory(prefix="streamfleet-kh-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        archive = folder / "archive"
        if request.param == "double":
            pack(archive)
        else:
            archive.write_bytes(Path(REAL or "").read_bytes())
        unpack(archive, folder)
        yield folder


@pytest.fixture
def made(unpacked: Path) -> Iterator[Station]:
    """A station that is not started yet."""
    folder = unpacked / f"station-{time.monotonic_ns()}"
    folder.mkdir()
    folder.chmod(0o755)
    station = Station(unpacked / "bin" / "icecast", unpacked / "share" / "icecast", folder)
    yield station
    if station.process is not None:
        station.process.kill()
        station.process.wait()


@pytest.fixture
def station(made: Station) -> Station:
    """One that is on the air."""
    made.start()
    return made


def test_it_says_what_it_is(unpacked: Path) -> None:
    done = subprocess.run([unpacked / "bin" / "icecast", "-v"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Icecast 2.4.0-kh")


def test_it_hears_both_families_and_stops_well(station: Station) -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as link:
            link.settimeout(5)
            link.connect((address, station.port))
    assert "MountPoint,Connections,Stream Name" in station.get("/status2.xsl").read().decode()
    station.stop()


@pytest.mark.parametrize(
    ("mount", "word"), [("/stream", "wrong"), ("/stream", ""), ("/other", SECRET), ("/_relay-stream", SECRET)]
)
def test_sources_that_are_refused(station: Station, mount: str, word: str) -> None:
    with pytest.raises(Refused, match="401"):
        Sender(station.port, mount, word)
    station.send()
    with pytest.raises(Refused, match="403"):
        Sender(station.port, "/stream", SECRET)


def test_what_is_sent_is_heard_with_its_title_and_written_down(station: Station) -> None:
    station.send()
    assert station.status("/admin/metadata?mount=/stream&mode=updinfo&song=x", login="source:wrong") == 401
    path = "/admin/metadata?mount=/stream&mode=updinfo&charset=UTF-8&song=A%20s%C3%B6ng"
    assert station.status(path, login=f"source:{SECRET}") == 200
    found = station.get("/stream?_ic2=1", **{"Icy-MetaData": "1", "User-Agent": 'a "player" 1'})
    interval = int(found.headers["icy-metaint"])
    assert found.headers["content-type"] == "audio/mpeg"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-security-policy"].startswith("sandbox;")
    heard, title = found.read(interval), b""
    assert FRAME in heard
    # What was sent before has the title of before.
    while not title:
        title = found.read(16 * found.read(1)[0]).rstrip(b"\0").removeprefix(b"StreamTitle='';")
        heard = found.read(interval)
    assert title.decode() == "StreamTitle='A söng';"
    found.close()
    # What the recorder of sessions reads, as it reads it.
    lines = until(lambda: [line for line in station.log.read_text().splitlines() if "GET /stream?_ic2=1 " in line])
    request = of_icecast("streamfleet-icecast_kh@rock-fm.service", lines[0], "cursor", time.time())
    assert request is not None
    assert (request.slug, request.path, request.status, request.address) == ("rock-fm", "/stream", 200, "127.0.0.1")
    assert request.agent == 'a "player" 1'
    assert request.bytes >= interval


def test_whoever_claims_another_address_is_not_believed(station: Station) -> None:
    station.send()
    station.listen(**{"X-Forwarded-For": "198.51.100.66", "User-Agent": "liar"}).close()
    line = until(lambda: [line for line in station.log.read_text().splitlines() if '"liar"' in line])[0]
    assert line.startswith("127.0.0.1 - ")


def test_nothing_is_there_without_a_source_and_no_page_without_its_password(station: Station) -> None:
    assert station.status() == 404
    for path in ("/admin/stats", "/admin/listmounts.xsl", "/admin/killsource?mount=/stream", "/admin/streams"):
        assert station.status(path) == 401, path
    for path in ("/status-json.xsl", "/icecast.xml", "/../icecast.xml", "/_relay-stream"):
        assert station.status(path) in (400, 404), path


def test_the_service_limit_holds_over_all_mounts_and_that_of_a_mount_for_it(made: Station) -> None:
    entries = [{"name": "/stream"}, {"name": "/low", "max_listeners": 1}]
    made.start(settings={"mounts": entries}, limits={"max_listeners": 3})
    made.send("/stream")
    made.send("/low")
    one = made.listen("/low")
    assert made.status("/low") == 403
    others = [made.listen("/stream") for _ in range(2)]
    assert made.status("/stream") == 403
    others.pop().close()
    until(lambda: made.status("/stream") == 200)
    for found in (one, *others):
        found.close()


def test_a_limit_of_none_lets_nobody_in(made: Station) -> None:
    made.start(limits={"max_listeners": 0})
    made.send()
    assert made.status() == 403


def test_who_finds_a_mount_full_gets_what_it_falls_back_to(made: Station) -> None:
    full = {"name": "/stream", "max_listeners": 1, "fallback": "/low", "fallback_when_full": True}
    made.start(settings={"mounts": [full, {"name": "/low"}]}, limits={"max_listeners": 5})
    made.send("/stream")
    made.send("/low")
    kept = [made.listen(), made.listen()]
    counts = re.findall(r'mount="/(stream|low)">.*?<listeners>(\d+)<', made.stats(), re.DOTALL)
    assert dict(counts) == {"stream": "1", "low": "1"}
    # As many as the mount may have itself, and no more.
    assert made.status() == 403
    for found in kept:
        found.close()


def test_listeners_are_moved_to_the_fallback_and_back(made: Station) -> None:
    made.start(settings={"mounts": [{"name": "/stream", "fallback": "/low"}, {"name": "/low"}]})
    low = made.send("/low")
    first = made.send("/stream")
    listener = made.listen()

    def at() -> dict[str, str]:
        found = re.findall(r'mount="/(stream|low)">.*?<listeners>(\d+)<', made.stats(), re.DOTALL)
        return {name: number for name, number in found if number != "0"}

    first.stop()
    until(lambda: at() == {"low": "1"})
    assert len(listener.read(4000)) == 4000
    made.send("/stream")
    until(lambda: at() == {"stream": "1"})
    assert len(listener.read(4000)) == 4000
    assert low.is_alive()
    listener.close()


def test_what_is_relayed_in_is_behind_the_mount(made: Station) -> None:
    made.start(relays=[relay("network")])
    text = made.path.read_text()
    word = re.search(r"<mount-name>/_relay-stream</mount-name>\s*<username>source</username>\s*<password>(\w+)<", text)
    assert word is not None
    made.send("/_relay-stream", word[1])
    made.listen().close()
    assert "/_relay-stream" not in made.get("/status2.xsl").read().decode()


def test_the_relays_program_is_taken_as_a_source_and_its_title_shown(made: Station, tmp_path: Path) -> None:
    made.write()
    text = made.path.read_text()
    name = "<mount-name>/_relay-stream</mount-name>"
    head, tail = text.split(name)
    made.start(text=f"{head}{name}{re.sub(r'(?<=<password>)[0-9a-f]{64}', 'own-secret', tail, count=1)}")
    with Radio(FRAME * 500).serving() as radio:
        running = Running(tmp_path, made.port, ["127.0.0.0/8"])
        try:
            running.want(relay_line(radio.port))
            running.until(lambda: running.state()["state"] == "connected")
            until(lambda: made.status() == 200)
            made.listen().close()
            until(lambda: radio.title in made.stats())
        finally:
            running.close()


def test_a_change_is_read_again_and_nobody_on_the_air_notices(station: Station) -> None:
    sender = station.send()
    listener = station.listen()
    station.reload(credentials={"source_password": "another-secret"}, limits={"max_listeners": 2}, name="New name")
    assert sender.is_alive()
    assert len(listener.read(8000)) == 8000
    until(lambda: "New name" in station.get("/status2.xsl").read().decode())
    for word, answer in ((SECRET, "401"), ("another-secret", "403")):
        with pytest.raises(Refused, match=answer):
            Sender(station.port, "/stream", word)
    second = station.listen()
    assert station.status() == 403
    for found in (listener, second):
        found.close()


def test_a_configuration_that_is_none_changes_nothing(station: Station) -> None:
    sender = station.send()
    station.write("<icecast><limits>")
    assert station.process is not None
    station.process.send_signal(signal.SIGHUP)
    until(lambda: "not replacing existing config" in station.log.read_text())
    station.listen().close()
    assert sender.is_alive()


def test_safari_is_sent_away_once_unless_the_query_is_there(station: Station) -> None:
    station.send()
    found = station.get("/stream", **{"User-Agent": SAFARI})
    assert found.status == 302
    assert "/stream?_ic2=" in found.headers["location"]
    station.listen("/stream?_ic2=1", **{"User-Agent": SAFARI}).close()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<location>", "<locations>", "config"),
        ("<fileserve>0</fileserve>", "<file-serve>0</file-serve>", 'unknown node "file-serve" parsing "icecast"'),
        ("<hidden>1</hidden>", "<intro>/etc/passwd</intro>", 'unknown node "intro" parsing "mount"'),
        ("<port>", "<port>x", 'failed to read element "port"'),
        ("/stream</mount-name>", "/*</mount-name>", "hold nothing of a pattern"),
        ("<accesslog>-<", "<accesslog>access.log<", "must be -"),
        ("/_relay-stream</mount-name>", "/stream</mount-name>", "twice"),
    ],
)
def test_the_double_does_not_start_where_the_program_only_warns(tmp_path: Path, old: str, new: str, said: str) -> None:
    pack(tmp_path / "archive")
    unpack(tmp_path / "archive", tmp_path)
    station = Station(tmp_path / "bin" / "icecast", tmp_path / "share" / "icecast", tmp_path)
    station.write()
    text = station.path.read_text()
    assert old in text
    station.path.write_text(text.replace(old, new, 1))
    command = [station.program, "-c", station.path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, said in done.stderr) == (255, True), done.stderr
