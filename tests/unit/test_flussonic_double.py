"""The double of Flussonic serves with what role and renderer write and with nothing else, and behaves as documented."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet.engine import load_renderer

from demo.media import video_publisher
from tests.doubles.flussonic import LICENCE
from tests.doubles.flussonic.configuration import STREAM, Server, Wrong, merged, server
from tests.doubles.panel import flussonic_channel as channel
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "roles/flussonic/files"
render = load_renderer(ROOT, "flussonic")
NODE = {"node": "n1", "stream_host": "stream.example.net"}
CONF = """\
http 127.0.0.1:{http};
rtmp 127.0.0.1:{rtmp};
loglevel info;
pulsedb /var/lib/flussonic;
session_log /var/lib/flussonic;
edit_auth streamfleet api-secret;
"""


class Program:
    """The double with what it reads; its ports are free ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http, self.rtmp, self.gate = free_ports(3)
        (folder / "license.txt").write_text(f"{LICENCE}\n")
        self.conf = folder / "flussonic.conf"
        self.conf.write_text(CONF.format(http=self.http, rtmp=self.rtmp))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """From the moment that it answers."""
        command = [sys.executable, "-m", "tests.doubles.flussonic.server", str(self.folder)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as double:
            try:
                self.wait(self.http, double)
                yield
            finally:
                double.terminate()

    @contextlib.contextmanager
    def gated(self) -> Iterator[None]:
        """With the gate that answers how many may watch."""
        with subprocess.Popen([sys.executable, "-P", "-s", str(FILES / "gate.py"), str(self.gate)]) as gate:
            try:
                self.wait(self.gate, gate)
                yield
            finally:
                gate.terminate()

    @staticmethod
    def wait(port: int, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1):
                return
            with contextlib.suppress(urllib.error.HTTPError, OSError):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
                except urllib.error.HTTPError:
                    return
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)

    def ask(self, path: str, method: str = "GET", body: Any = None, password: str = "api-secret") -> tuple[int, Any]:
        """Status and body of a request to the API."""
        login = base64.b64encode(f"streamfleet:{password}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/streamer/api/v3{path}",
            headers={"Authorization": f"Basic {login}"},
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def give(self, **changes: Any) -> tuple[int, Any]:
        """A channel as its file says."""
        instance = render(channel("rock-tv", 200001, **changes), NODE)
        assert instance is not None
        body = json.loads(instance.files[0].content)
        if body.get("on_play"):
            body["on_play"]["url"] = body["on_play"]["url"].replace(":1940/", f":{self.gate}/")
        if body.get("dvr"):
            body["dvr"]["root"] = str(self.folder / "dvr")
        return self.ask("/streams/rock-tv", "PUT", body)

    def play(self, item: str, token: str = "abc") -> tuple[int, str]:
        """Status and body of a request for HLS."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.http}/rock-tv/{item}?token={token}", timeout=10
            ) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, ""

    @contextlib.contextmanager
    def publishing(self, key: str = "rock-tv?password=publish-rock-tv-secret") -> Iterator[subprocess.Popen[bytes]]:
        """An encoder whose stream can be watched."""
        url = f"rtmp://127.0.0.1:{self.rtmp}/static/{key}"
        with subprocess.Popen(video_publisher(url, 60), stdin=subprocess.DEVNULL) as encoder:
            try:
                end = time.monotonic() + 30
                while self.play("tracks-v1a1/mono.m3u8", "first")[0] != 200:
                    assert time.monotonic() < end
                    assert encoder.poll() is None
                    time.sleep(0.2)
                yield encoder
            finally:
                encoder.kill()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("htp 80;", "line 1: htp: unknown directive"),
        ("http;", "line 1: http: bad value"),
        ("http 70000;", "line 1: http: bad value"),
        ("http here:80;", "line 1: http: bad value"),
        ("http 80", "ends within a directive"),
        ("edit_auth streamfleet;", "needs a user and a password"),
        ("rtmp 1935 { }", "has no block"),
        ("input publish://;", "input: unknown directive"),
        ("stream x { input publish://;", "ends within a directive"),
        ("stream x;", "needs a name that no other has, and a block"),
        ("stream x { } stream x { }", "needs a name that no other has, and a block"),
        ("stream x { http 80; }", "http: unknown directive"),
        ("stream x { input ftp://x; }", "inputs: 0: url: bad value"),
        ("stream x { dvr /d 1w; }", "dvr: bad value 1w"),
        ("stream x { password a b; }", "password: unknown directive, or a bad value"),
        ("stream x { transcoder size=1x1:fit; }", "transcoder: bad value size"),
        ("}", "where none is expected"),
        (";", "; without a directive"),
        ('title "x', "a text without an end"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused(text: str, said: str) -> None:
    with pytest.raises(Wrong, match=said.replace("(", r"\(")):
        server(text, Server())


def test_a_configuration_that_is_right_is_taken() -> None:
    found = Server()
    server(
        '# of ours\nhttp 127.0.0.1:1939;\nrtmp 1935;\nstream a { input publish://; title "A; {b}"; disabled; }\n', found
    )
    assert (found.http, found.rtmp) == ([("127.0.0.1", 1939)], [("", 1935)])
    assert found.streams == {"a": {"name": "a", "inputs": [{"url": "publish://"}], "title": "A; {b}", "disabled": True}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "not an object"),
        ({"name": "other"}, "is another than in the address"),
        ({"viewers": 5}, "viewers: unknown key"),
        ({"inputs": "publish://"}, "inputs: not a list"),
        ({"inputs": [{"uri": "publish://"}]}, "inputs: 0: uri: unknown key"),
        ({"inputs": [{}]}, "inputs: 0: url: missing"),
        ({"password": "a b"}, "password: bad value"),
        ({"password": "a;b"}, "password: bad value"),
        ({"segment_duration": "4"}, "segment_duration: bad value"),
        ({"segment_duration": 4}, "segment_duration: bad value"),
        ({"protocols": {"hsl": True}}, "protocols: hsl: unknown key"),
        ({"on_play": {"url": "ftp://x/"}}, "on_play: url: bad value"),
        ({"dvr": {"expiration": 1}}, "dvr: root: missing"),
        ({"transcoder": {"video": [{"bitrate": 5}]}}, "transcoder: video: 0: bitrate: bad value"),
        ({"transcoder": {"video": [{}]}}, "transcoder: video: 0: track: missing"),
    ],
)
def test_a_stream_that_is_wrong_is_refused(given: Any, said: str) -> None:
    with pytest.raises(Wrong, match=said):
        merged({}, given, "rock-tv")


def test_null_takes_a_setting_away_and_what_is_not_named_stays() -> None:
    assert merged({"password": "old", "title": "x"}, {"title": None}, "a") == {"name": "a", "password": "old"}
    assert set(STREAM) >= {"password", "title"}


@pytest.mark.parametrize(
    ("name", "text", "status", "alert"),
    [
        ("license.txt", None, "no_license", ""),
        ("license.txt", "l4|STOLEN", "license_failure", ""),
        ("flussonic.conf", "extra 1;", "broken_config", "line 7: extra: unknown directive"),
    ],
)
def test_in_its_crash_mode_it_only_says_why(
    program: Program, name: str, text: str | None, status: str, alert: str
) -> None:
    path = program.folder / name
    if text is None:
        path.unlink()
    else:
        path.write_text((path.read_text() if name == "flussonic.conf" else "") + text)
    with program.running():
        code, said = program.ask("/config/stats")
        assert (code, said["streamer_status"]) == (200, status)
        assert alert in str(said["text_alerts"])
        assert program.ask("/streams")[0] == 503
        assert program.give()[0] == 503
        assert program.play("index.m3u8")[0] == 404


def test_the_api(program: Program) -> None:
    with program.running():
        assert program.ask("/streams", password="wrong")[0] == 401
        assert program.ask("/nothing")[0] == 404
        assert program.ask("/streams/rock-tv")[0] == 404
        assert program.give()[0] == 200
        status, told = program.ask("/streams/rock-tv")
        assert (status, told["password"], told["stats"]["alive"]) == (200, "publish-rock-tv-secret", False)
        assert program.ask("/streams/rock-tv", "PUT", {"viewers": 5}) == (
            400,
            {"error": "invalid", "detail": "viewers: unknown key"},
        )
        assert "stream rock-tv {" in program.conf.read_text()
        assert program.ask("/streams/rock-tv", "DELETE")[0] == 204
        assert program.ask("/streams/rock-tv", "DELETE")[0] == 404
        assert program.conf.read_text() == CONF.format(http=program.http, rtmp=program.rtmp)
        assert program.give()[0] == 200
    # What it has saved, it starts with.
    with program.running():
        assert program.ask("/streams/rock-tv")[1]["protocols"] == {"whitelist": True, "hls": True}


@pytest.mark.slow
def test_publishing_needs_the_password_and_ends_with_the_channel(program: Program) -> None:
    with program.running():
        program.give()
        for key in ("rock-tv", "rock-tv?password=wrong", "jazz-tv?password=publish-rock-tv-secret"):
            url = f"rtmp://127.0.0.1:{program.rtmp}/static/{key}"
            done = subprocess.run(
                video_publisher(url, 5), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30
            )
            assert done.returncode != 0, key
        with program.publishing() as encoder:
            # Neither the same again nor another password disturbs it.
            assert program.give()[0] == 200
            assert program.give(credentials={"publish_password": "another-secret"})[0] == 200
            assert program.play("tracks-v1a1/mono.m3u8")[0] == 200
            assert encoder.poll() is None
            assert program.give(settings={"segment_seconds": 5})[0] == 200
            assert encoder.wait(10) != 0
        program.give()
        with program.publishing() as encoder:
            assert program.give(state="suspended")[0] == 200
            assert encoder.wait(10) != 0
            assert program.play("index.m3u8")[0] == 404


def test_lists_carry_the_viewers_token(program: Program) -> None:
    with program.running():
        program.give()
        with program.publishing():
            status, text = program.play("index.m3u8", "viewer1")
            assert (status, text.splitlines()[-1]) == (200, "tracks-v1a1/mono.m3u8?token=viewer1")
            name = program.play("tracks-v1a1/mono.m3u8", "viewer1")[1].splitlines()[-1]
            assert name.endswith(".ts?token=viewer1")
            path = name.partition("?")[0]
            assert path.count("/") == 5
            assert program.play(f"tracks-v1a1/{path}", "viewer1")[0] == 200
            # Without one it gives one.
            moved = urllib.request.urlopen(f"http://127.0.0.1:{program.http}/rock-tv/index.m3u8", timeout=10)
            assert "token=" in urllib.parse.urlsplit(moved.url).query


def test_the_gate_holds_the_limit(program: Program) -> None:
    with program.running(), program.gated():
        program.give(limits={"max_listeners": 2})
        with program.publishing():  # which is the first
            assert program.play("index.m3u8", "second")[0] == 200
            assert program.play("index.m3u8", "third")[0] == 403
            assert program.play("index.m3u8", "second")[0] == 200
            program.give(limits={"max_listeners": 3})
            assert program.play("index.m3u8", "third")[0] == 200


@pytest.mark.slow
def test_what_was_sent_is_kept_as_long_as_it_should(program: Program) -> None:
    with program.running():
        program.give(settings={"dvr_hours": 1}, limits={"disk_quota_mb": 500})
        with program.publishing():
            time.sleep(3)
        text = program.play("rewind-600.m3u8")[1]
        names = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert names
        assert program.play(names[0].partition("?")[0])[0] == 200
        old = max((program.folder / "dvr/rock-tv").rglob("*.ts"))
        os.utime(old, (1, 1))
        with program.publishing():
            assert not old.exists()


# What the role brings: channel.py and gate.py


@pytest.mark.parametrize(
    ("target", "may"),
    [
        ("/play/2?request_type=new_session&stream_clients=1", True),
        ("/play/2?request_type=new_session&stream_clients=2", False),
        ("/play/2?request_type=update_session&stream_clients=9", True),
        ("/play/0?request_type=new_session&stream_clients=0", False),
        ("/play/2?request_type=new_session", False),
        ("/play/2?request_type=new_session&stream_clients=x", False),
        ("/play/2?request_type=new_session&stream_clients=-1", False),
        ("/play/x?request_type=new_session&stream_clients=0", False),
        ("/play/99999999999?stream_clients=0", False),
        ("/", False),
        ("/play/2/../3", False),
    ],
)
def test_what_the_gate_answers(target: str, may: bool) -> None:
    spec = {"__name__": "gate", "__file__": str(FILES / "gate.py")}
    exec(compile((FILES / "gate.py").read_text(), "gate.py", "exec"), spec)
    assert spec["allowed"](target) is may  # type: ignore[operator]


def test_the_gate_keeps_nobody_waiting_for_those_who_ask_nothing() -> None:
    """More connections than it has threads, on which nothing comes: they end, and the next question is answered."""
    spec = importlib.util.spec_from_file_location("gate", FILES / "gate.py")
    assert spec is not None
    assert spec.loader is not None
    gate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gate)
    gate.Gate.timeout = 0.3
    with gate.Server(0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = server.server_address
        before = threading.active_count()
        silent = [socket.create_connection(address, timeout=10) for _number in range(3 * gate.AT_ONCE)]
        with urllib.request.urlopen(f"http://127.0.0.1:{address[1]}/play/2?stream_clients=1", timeout=10) as answer:
            assert answer.status == 200
        assert threading.active_count() - before <= gate.AT_ONCE
        assert {link.recv(1) for link in silent} == {b""}
        server.shutdown()
        for link in silent:
            link.close()


class Helper:
    """channel.py in folders of the test."""

    def __init__(self, program: Program) -> None:
        self.place, self.instances, self.kept = (program.folder / name for name in ("place", "instances", "dvr"))
        for folder in (self.place, self.instances):
            folder.mkdir()
        (self.place / "flussonic.conf").write_text(program.conf.read_text())
        (self.place / "api-password").write_text("api-secret\n")

    def put(self, slug: str, **changes: Any) -> None:
        instance = render(channel(slug, 200001, **changes), NODE)
        assert instance is not None
        (self.instances / slug).mkdir(exist_ok=True)
        (self.instances / slug / "stream.json").write_text(instance.files[0].content)

    def run(self, *arguments: str) -> tuple[int, str]:
        text = (FILES / "channel.py").read_text()
        for name, path in (("PLACE", self.place), ("INSTANCES", self.instances), ("KEPT", self.kept)):
            start = text.index(f"\n{name} = ") + 1
            text = text[:start] + f"{name} = Path({str(path)!r})" + text[text.index("\n", start) :]
        text = text.replace("PATIENCE = 80", "PATIENCE = 3")
        done = subprocess.run(
            [sys.executable, "-P", "-s", "-c", text, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stderr


@pytest.fixture
def helper(program: Program) -> Helper:
    return Helper(program)


@pytest.mark.slow
def test_a_channel_is_given_and_taken_away(program: Program, helper: Helper) -> None:
    helper.put("rock-tv")
    with program.running():
        assert helper.run("on", "rock-tv") == (0, "")
        assert program.ask("/streams/rock-tv")[0] == 200
        assert helper.run("off", "rock-tv") == (0, "")
        assert helper.run("off", "rock-tv") == (0, "")
        assert program.ask("/streams/rock-tv")[0] == 404


def test_a_channel_that_flussonic_refuses_fails_with_its_words(program: Program, helper: Helper) -> None:
    helper.put("rock-tv")
    helper.put("jazz-tv")
    helper.put("off-tv", state="suspended")
    path = helper.instances / "rock-tv/stream.json"
    path.write_text(path.read_text().replace('"segment_duration"', '"segment_length"'))
    with program.running():
        assert helper.run("on", "rock-tv") == (1, "Flussonic answers 400: invalid: segment_length: unknown key\n")
        # At a start it is no reason for the others to be off, and not for Flussonic.
        assert helper.run("all") == (0, "rock-tv: Flussonic answers 400: invalid: segment_length: unknown key\n")
        assert [stream["name"] for stream in program.ask("/streams")[1]["streams"]] == ["jazz-tv"]


def test_what_keeps_flussonic_from_serving_is_named(program: Program, helper: Helper) -> None:
    helper.put("rock-tv")
    code, said = helper.run("on", "rock-tv")
    assert (code, "refused" in said) == (1, True)
    assert helper.run("off", "rock-tv") == (0, "")
    (program.folder / "license.txt").write_text("x")
    with program.running():
        code, said = helper.run("on", "rock-tv")
        assert (code, "it does not accept the licence key: check streamfleet_flussonic_licence_key" in said) == (
            1,
            True,
        )
        assert helper.run("all")[0] == 0
    (helper.place / "api-password").write_text("other")
    with program.running():
        assert "does not take the password of its API" in helper.run("on", "rock-tv")[1]


def test_what_is_kept_of_channels_that_are_gone_goes(program: Program, helper: Helper) -> None:
    helper.put("rock-tv")
    for name in ("rock-tv", "gone-tv", "Not_a_slug"):
        (helper.kept / name).mkdir(parents=True)
    with program.running():
        assert helper.run("on", "rock-tv") == (0, "")
    assert {path.name for path in helper.kept.iterdir()} == {"rock-tv", "Not_a_slug"}


def test_no_link_is_followed_by_what_cleans_up(program: Program, helper: Helper) -> None:
    helper.put("rock-tv")
    elsewhere = program.folder / "elsewhere"
    (elsewhere / "gone-tv").mkdir(parents=True)
    helper.kept.mkdir(exist_ok=True)
    (helper.kept / "gone-tv").symlink_to(elsewhere)
    with program.running():
        assert helper.run("on", "rock-tv") == (0, "")
        assert (elsewhere / "gone-tv").is_dir()
        (helper.kept / "gone-tv").unlink()
        helper.kept.rmdir()
        helper.kept.symlink_to(elsewhere)
        assert helper.run("on", "rock-tv") == (0, "")
    assert (elsewhere / "gone-tv").is_dir()


@pytest.mark.parametrize("arguments", [(), ("on",), ("on", "../x"), ("up", "rock-tv"), ("all", "rock-tv"), ("on", "A")])
def test_what_the_helper_does_not_know_it_does_not_do(helper: Helper, arguments: tuple[str, ...]) -> None:
    assert helper.run(*arguments)[0] == 2
