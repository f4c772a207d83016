"""The double of sc_serv: it starts with what the renderer writes and with nothing else, and behaves as documented."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from streamfleet.engine import load_renderer

from tests.doubles.panel import shoutcast_station
from tests.doubles.shoutcast2 import PROGRAM
from tests.live.shoutcast import Audience, LegacySource, frame, on_air
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
render = load_renderer(ROOT, "shoutcast2")
NODE = {"node": "n1", "stream_host": "stream.example.net"}
SOURCE, ADMIN = "source-rock-fm-secret", "admin-rock-fm-secret"


def configuration(folder: Path, port: int, **changes: Any) -> Path:
    """What the renderer writes for a station, with its data in ``folder``."""
    content = render(shoutcast_station("rock-fm", 200001, port, **changes), NODE).files[0].content
    path = folder / "sc_serv.conf"
    path.write_text(content.replace("/var/lib/streamfleet/services/rock-fm", str(folder)))
    return path


def refusal(path: Path) -> str:
    """What the double says to a configuration that it does not start with."""
    done = subprocess.run([PROGRAM, path], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1, done.stdout
    assert done.stderr == ""
    return done.stdout


@contextlib.contextmanager
def running(path: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The double, from the moment it listens; it ends well when it is asked to."""
    with subprocess.Popen([PROGRAM, path], cwd=path.parent, stdout=subprocess.PIPE, text=True) as double:
        try:
            deadline = time.monotonic() + 20
            for number in (port, port + 1):
                while True:
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", number), 1):
                        break
                    assert double.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield double
        finally:
            double.terminate()
            try:
                assert double.wait(10) == 0
            finally:
                double.kill()


@pytest.fixture
def station(tmp_path: Path) -> Iterator[int]:
    """A station with two streams and room for three, on the port that is given."""
    port = free_ports(2)[0]
    streams = [{"id": 1, "name": "/stream"}, {"id": 4, "name": "/low", "max_listeners": 1}]
    path = configuration(tmp_path, port, settings={"streams": streams}, limits={"max_listeners": 3})
    with running(path, port):
        yield port


def ask(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and body of one answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def listening(port: int, path: str, **options: Any) -> Audience:
    """A listener who has been answered."""
    audience = Audience("127.0.0.1", port, "127.0.0.1", path, **options)
    audience.start()
    assert audience.answered.wait(10)
    return audience


# Strictness


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nosuchkey=1", "Invalid item on line 26 of"),
        ("include=/etc/passwd", "`include'"),
        ("maxuser", "`maxuser'"),
        ("metainterval=many", "must be a whole number"),
        ("maxuser=20", "is there twice"),
        ("MaxUser=20", "is there twice"),
        ("autodumptime=-1", "must be a whole number"),
        ("streampublicserver_1=yes", "is there twice"),
        ("streampublicserver_2=yes", "must be one of"),
        ("streampath_2=/b", "streamid_2 is missing"),
        ("streamid_2=1", "two streams have one streamid"),
        ("streamid_2=2\nstreampath_2=/stream", "two streams have one streampath"),
        ("streamid_2=2\nstreampublicserver_2=always", "EMPTY_AUTHHASH"),
        ("streamid_0=2", "`streamid_0'"),
        ("userid=abc", "belong together"),
        ("w3clog=/no/such/folder/x.log", "does not exist"),
        ("songhistory=20\r", "`songhistory'"),
        ("userid=\x85", "Cannot read the configuration"),
    ],
)
def test_a_line_that_is_wrong_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = configuration(tmp_path, free_ports(2)[0])
    with path.open("a", encoding="utf-8", newline="\n") as conf:
        conf.write(f"{line}\n")
    assert said in refusal(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f"password={SOURCE}\nadmin", "admin", "No source passwords"),
        (f"adminpassword={ADMIN}\n", "", "No adminpassword"),
        (ADMIN, SOURCE, "cannot be the same"),
        (f"\npassword={SOURCE}", "\npassword=", "must not be empty"),
        (SOURCE, "with:colon", "nor hold a colon"),
    ],
)
def test_without_proper_passwords_it_does_not_start(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = configuration(tmp_path, free_ports(2)[0])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert said in refusal(path)


def test_a_missing_configuration_and_a_taken_port_are_refused(tmp_path: Path) -> None:
    assert "Cannot read" in refusal(tmp_path / "none.conf")
    port = free_ports(2)[0]
    with socket.create_server(("0.0.0.0", port + 1)):
        assert "Address already in use" in refusal(configuration(tmp_path, port))


# Behaviour


def test_all_that_the_renderer_can_write_is_taken(tmp_path: Path) -> None:
    port = free_ports(2)[0]
    streams = [
        {"id": 999, "name": "/a.b-c_d", "max_listeners": 1_000_000, "public": True, "default": True},
        {"id": 2, "name": "/b", "max_listeners": None, "public": False},
    ]
    others = {"authhash": "abcdef-123456", "premium_user_id": "user", "premium_licence_id": "licence"}
    limits = {"max_listeners": None, "max_bitrate_kbps": None}
    settings = {"streams": streams, "song_history": 0}
    with running(configuration(tmp_path, port, settings=settings, credentials=others, limits=limits), port):
        assert ask(port, "/stats?sid=999")[0] == 200


def test_a_source_a_listener_and_a_title(station: int) -> None:
    assert listening(station, "/stream").heard.status == 503
    with on_air(LegacySource("127.0.0.1", station, SOURCE)):
        with_titles, without = listening(station, "/stream"), listening(station, "/stream/1/", titles=False)
        assert with_titles.playing.wait(10)
        assert without.playing.wait(10)
        assert with_titles.heard.headers["content-type"] == "audio/mpeg"
        assert with_titles.heard.headers["icy-name"] == "Test station"
        assert "icy-metaint" not in without.heard.headers
        for secret, title in ((SOURCE, "One"), (ADMIN, "Two%20%26%20three")):
            assert ask(station, f"/admin.cgi?pass={secret}&mode=updinfo&song={title}")[0] == 200
            time.sleep(1.5)
        root = ET.fromstring(ask(station, "/stats?sid=1")[1])
        assert root.findtext("SONGTITLE") == "Two & three"
        assert root.findtext("CURRENTLISTENERS") == "2"
        heard, plain = with_titles.stop(), without.stop()
    assert heard.titles[-2:] == ["One", "Two & three"]
    assert min(heard.frames, plain.frames) > 60
    assert (heard.lost, plain.lost) == (0, 0)


def test_what_is_no_audio_is_left_out(station: int) -> None:
    count = iter(range(10**6))
    due = lambda: b"garbage!" + frame(next(count)) + b"\xff\x00more"  # noqa: E731 - as short as it is
    with on_air(LegacySource("127.0.0.1", station, SOURCE, due=due)):
        audience = listening(station, "/stream")
        assert audience.playing.wait(10)
        assert audience.stop().lost == 0


def test_streams_by_number_and_their_limits(station: int) -> None:
    with on_air(LegacySource("127.0.0.1", station, f"dj:{SOURCE}:#4")):
        assert listening(station, "/stream").heard.status == 503
        low = [listening(station, "/low") for _ in range(2)]
        assert [audience.heard.status for audience in low] == [200, 503]
        with on_air(LegacySource("127.0.0.1", station, SOURCE)):
            high = [listening(station, "/stream") for _ in range(3)]
            assert [audience.heard.status for audience in high] == [200, 200, 503]
            root = ET.fromstring(ask(station, "/statistics")[1])
            found = {s.get("id"): s.findtext("CURRENTLISTENERS") for s in root.findall("STREAMSTATS/STREAM")}
            assert found == {"1": "2", "4": "1"}
            assert root.findtext("STREAMSTATS/ACTIVESTREAMS") == "2"
            for audience in (*low, *high):
                audience.stop()


@pytest.mark.parametrize(
    ("secret", "headers", "said"),
    [
        ("wrong", {}, "invalid password"),
        (ADMIN, {}, "invalid password"),
        (f"{SOURCE}:#2", {}, "invalid password"),
        (f"{SOURCE}:#x", {}, "invalid password"),
        ("", {}, "invalid password"),
        (SOURCE, {"icy-br": "129"}, "hung up"),
        (SOURCE, {"icy-name": ""}, "hung up"),
        (SOURCE, {"content-type": "text/html"}, "hung up"),
    ],
)
def test_sources_that_are_refused(station: int, secret: str, headers: dict[str, str], said: str) -> None:
    source = LegacySource("127.0.0.1", station, secret, headers=headers)
    source.start()
    source.join(12)
    assert said in (source.error or "")
    assert not source.accepted.is_set()


def test_a_stream_has_one_source(station: int) -> None:
    with on_air(LegacySource("127.0.0.1", station, SOURCE)):
        second = LegacySource("127.0.0.1", station, SOURCE)
        second.start()
        second.join(12)
        assert "hung up" in (second.error or "")


def test_the_private_pages_ask_for_the_password(station: int) -> None:
    basic = {"Authorization": "Basic YWRtaW46YWRtaW4tcm9jay1mbS1zZWNyZXQ="}
    assert ask(station, "/admin.cgi")[0] == 401
    assert ask(station, f"/admin.cgi?pass={SOURCE}")[0] == 401
    assert ask(station, f"/admin.cgi?pass={ADMIN}")[0] == 200
    assert ask(station, "/admin.cgi?sid=4&mode=viewxml&page=3", basic)[0] == 200
    assert ask(station, "/admin.cgi?sid=9", basic)[0] == 401
    assert ask(station, "/other")[0] == 404


def test_bans_are_kept_and_true_addresses_are_known(tmp_path: Path) -> None:
    port = free_ports(2)[0]
    path = configuration(tmp_path, port)
    behind = {"X-Forwarded-For": "192.0.2.7"}
    with running(path, port):
        assert ask(port, f"/admin.cgi?pass={ADMIN}&mode=bandst&bandst=192.0.2.7&banmsk=255")[0] == 200
    assert (tmp_path / "sc_serv.ban").read_text() == "192.0.2.7\n"
    assert not list(tmp_path.glob("*.pid"))
    with running(path, port), on_air(LegacySource("127.0.0.1", port, SOURCE)):
        assert ask(port, "/stream", behind)[0] == 403
        assert listening(port, "/stream").heard.status == 200
