"""What is measured of services on a node, and whom the limit of bitrate sends away."""

from __future__ import annotations

import base64
import http.server
import json
import os
import socket
import socketserver
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from streamfleet_sessions.sockets import Connection, Kernel
from streamfleet_usage import disk
from streamfleet_usage.__main__ import STALE, Measuring
from streamfleet_usage.disk import Disk
from streamfleet_usage.held import WATCHED, Held
from streamfleet_usage.meters import LARGEST_ANSWER, LARGEST_LIST, MOST_LISTENERS, Drop, Source, Use, load

from tests.live.shoutcast import LegacySource
from tests.ports import free_ports
from tests.unit.test_shoutcast2_double import ADMIN, SOURCE, configuration, running

ROOT = Path(__file__).parents[2]
#: Of what a node tells at most of a file of state (roles/common/files/collect.py).
LARGEST_STATE = 65536
NOW = 1795780800.0  # 2026-11-27
ENGINES = yaml.safe_load((ROOT / "engines.yml").read_text("utf-8"))["engines"]
LOGIN = "Basic " + base64.b64encode(b"admin:adminadmin").decode()
# As Icecast 2.4.4 answers, shortened.
SOURCES = """<?xml version="1.0"?>
<icestats><admin>postmaster@s.example</admin><listeners>7</listeners>{}</icestats>
"""
ONE = """<source mount="{mount}"><bitrate>128</bitrate><listener_peak>5</listener_peak>
<listeners>{listeners}</listeners><max_listeners>10</max_listeners><source_ip>203.0.113.7</source_ip>
{start}
<total_bytes_read>{bytes}</total_bytes_read></source>"""


#: As Icecast 2.4.4 and Icecast-KH 2.4.0-kh22 write it.
STARTS = {
    "icecast": "<stream_start_iso8601>2026-11-27T11:00:00+0000</stream_start_iso8601>",
    "icecast_kh": "<stream_start>27/Nov/2026:11:00:00 +0000</stream_start>",
}


def source(size: int, name: str = "/stream", kind: str = "encoder", since: float | None = 1.0) -> Source:
    return Source(name, name, kind, since, 128, size)


class Timed(Measuring):
    """Measures at the times that rounds are told: the clock stands still but for them."""

    def __init__(self, settings: dict[str, Any], root: Path) -> None:
        self.at = 0.0
        super().__init__(settings, root, lambda: self.at)

    def round(self, now: float) -> None:
        self.at = now - NOW
        super().round(now)


def meters(folder: Path) -> Path:
    """The meters of all engines, as the role puts them on a node."""
    folder.mkdir()
    for path in ROOT.glob("roles/*/engine/meter.py"):
        (folder / f"{path.parts[-3]}.py").write_text(path.read_text("utf-8"), "utf-8")
    return folder


class Host:
    """A node's files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "told").mkdir()
        (root / "etc/systemd/system").mkdir(parents=True)
        self.settings = {
            "folder": str(root / "told"), "watching": str(root / "watching.json"),
            "viewing": str(root / "viewing.json"), "meters": str(meters(root / "meters")),
        }  # fmt: skip

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    def service(self, slug: str, owner: int, engine: str, **route: Any) -> None:
        if engine != "nginx_rtmp":
            self.write(
                f"etc/systemd/system/streamfleet-{engine}@{slug}.service.d/10-user.conf", f"[Service]\nUser=sf{owner}\n"
            )
            (self.root / "etc/streamfleet/instances" / engine / slug).mkdir(parents=True, exist_ok=True)
        if route:
            self.write(f"etc/streamfleet/routes/{slug}.json", json.dumps(route))

    def told(self, slug: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "told" / slug / "usage.json").read_text())
        return found

    def running(self, slug: str) -> list[dict[str, Any]]:
        found: dict[str, Any] = json.loads((self.root / "told" / slug / "running.json").read_text())
        assert found["slug"] == slug
        sessions: list[dict[str, Any]] = found["sessions"]
        return sessions


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


class Icecast(http.server.ThreadingHTTPServer):
    """Answers as Icecast and its relatives do, to their administrator."""

    def __init__(self, engine: str = "icecast") -> None:
        super().__init__(("127.0.0.1", 0), IcecastHandler)
        self.sources: dict[str, tuple[int, int]] = {}
        self.listeners: dict[str, str] = defaultdict(str)
        self.killed: list[str] = []
        self.asked = 0
        self.port = self.server_address[1]
        self.start = STARTS[engine]


class IcecastHandler(http.server.BaseHTTPRequestHandler):
    server: Icecast

    def do_GET(self) -> None:
        self.server.asked += 1
        path, _, query = self.path.partition("?mount=")
        allowed = self.headers["Authorization"] == LOGIN
        text = SOURCES.format(
            "".join(
                ONE.format(mount=m, listeners=n, bytes=b, start=self.server.start)
                for m, (n, b) in self.server.sources.items()
            )
        )
        if path == "/admin/killsource" and allowed:
            self.server.killed.append(query)
            del self.server.sources[query]
        elif path == "/admin/listclients" and allowed:
            text = f'<icestats><source mount="{query}">{self.server.listeners[query]}</source></icestats>'
        elif path != "/admin/stats" or not allowed:
            self.send_error(401)
            return
        self.send_response(200)
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(text.encode())

    def log_message(self, *_words: object) -> None:
        pass


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(params=sorted(STARTS))
def icecast(host: Host, request: pytest.FixtureRequest) -> Iterator[Icecast]:
    engine = request.param
    server = Icecast(engine)
    host.service("rock", 200001, engine, port=server.port, mounts=["/stream", "/autodj-own"], max_bitrate_kbps=128)
    password = "<icecast><authentication><admin-password>adminadmin</admin-password></authentication></icecast>"
    host.write(f"etc/streamfleet/instances/{engine}/rock/icecast.xml", password)
    with serving(server):
        yield server


def test_an_engine_that_holds_the_bitrate_has_a_meter() -> None:
    for name in ENGINES:
        spec = yaml.safe_load((ROOT / "roles" / name / "engine/spec.yml").read_text("utf-8"))
        if "max_bitrate_kbps" in spec["limits"]:
            assert (ROOT / "roles" / name / "engine/meter.py").exists(), name


def test_a_station_is_told_as_icecast_tells_it(host: Host, icecast: Icecast) -> None:
    icecast.sources = {
        "/stream": (3, 1000),
        "/_relay-stream": (1, 2000),
        "/autodj-mp3-128": (2, 1),
        "/autodj-own": (0, 9),
    }
    measuring = Timed(host.settings, host.root)
    measuring.round(NOW)
    icecast.sources = {
        "/stream": (2, 241_000), "/_relay-stream": (0, 2000), "/autodj-mp3-128": (0, 9_000_000), "/autodj-own": (0, 9),
    }  # fmt: skip
    measuring.round(NOW + 15)
    told = host.told("rock")
    assert (told["slug"], told["uid"], told["month"]) == ("rock", 200001, "2026-11")
    assert (told["listeners"], told["listeners_peak"], told["drops"]) == (2, 6, [])
    assert [(item["mount"], item["kind"], item["kbps"]) for item in told["sources"]] == [
        ("/stream", "encoder", 128), ("/stream", "relay", 0), ("/autodj-mp3-128", "autodj", 4800),
        ("/autodj-own", "encoder", 0),
    ]  # fmt: skip
    assert told["sources"][0]["announced_kbps"] == 128
    assert told["sources"][0]["since"] == 1795777200


def listener(name: int, address: str, seconds: int, agent: str = "VLC/3") -> str:
    return (
        f"<listener><IP>{address}</IP><UserAgent>{agent}</UserAgent><Connected>{seconds}</Connected>"
        f"<ID>{name}</ID></listener>"
    )


def test_who_listens_now_is_told(host: Host, icecast: Icecast) -> None:
    icecast.sources = {"/stream": (2, 1000), "/autodj-own": (0, 1)}
    icecast.listeners["/stream"] = listener(1, "127.0.0.1", 60) + listener(2, "2001:db8::7", 5, "a &lt;b&gt;")
    measuring = Timed(host.settings, host.root)
    measuring.round(NOW)
    web = {
        "name": "1", "source": "web", "mount": "/stream", "address": "", "agent": "VLC/3",
        "started": NOW - 60, "bytes": None,
    }  # fmt: skip
    direct = {**web, "name": "2", "source": "direct", "address": "2001:db8::7", "agent": "a <b>", "started": NOW - 5}
    assert host.running("rock") == [web, direct]
    # Whole seconds are told, and nobody begins anew by that.
    icecast.listeners["/stream"] = listener(1, "127.0.0.1", 89) + listener(3, "127.0.0.1", 1)
    measuring.round(NOW + 15)
    assert host.running("rock") == [web, direct], "asked every half minute"
    measuring.round(NOW + 30)
    assert host.running("rock") == [web, {**web, "name": "3", "started": NOW + 29}]
    icecast.sources = {"/stream": (0, 2000)}
    measuring.round(NOW + 45)
    assert host.running("rock") == []


def test_of_a_long_list_the_first_listeners_are_told(host: Host, icecast: Icecast) -> None:
    icecast.sources = {"/stream": (100_000, 1000)}
    icecast.listeners["/stream"] = "".join(listener(n, f"2001:db8::{n:x}", 60) for n in range(100_000))
    assert len(icecast.listeners["/stream"]) > LARGEST_LIST > LARGEST_ANSWER
    measuring = Timed(host.settings, host.root)
    measuring.round(NOW)
    told = [item["name"] for item in host.running("rock")]
    assert told == [str(n) for n in range(MOST_LISTENERS)]
    # The longest headers that Icecast takes, each letter as long as XML can make it.
    icecast.listeners["/stream"] = "".join(listener(n, "2001:db8::7", 60, "&quot;" * 4096) for n in range(1000))
    measuring.round(NOW + 30)
    assert [item["name"] for item in host.running("rock")][:2] == ["0", "1"]
    # One that ends in the middle is no list.
    icecast.listeners["/stream"] = listener(1, "127.0.0.1", 60) + "<listener>"
    measuring.round(NOW + 60)
    assert host.running("rock") == []


def test_listeners_that_are_not_told_are_not_shown_for_ever(
    host: Host, icecast: Icecast, capsys: pytest.CaptureFixture[str]
) -> None:
    icecast.sources = {"/stream": (1, 1000)}
    icecast.listeners["/stream"] = listener(1, "127.0.0.1", 60)
    measuring = Timed(host.settings, host.root)
    measuring.round(NOW)
    assert len(host.running("rock")) == 1
    icecast.listeners["/stream"] = listener(1, "127.0.0.1", 60, "x" * LARGEST_LIST)
    for moment in (30, 60, 120):
        measuring.round(NOW + moment)
        assert host.running("rock") == []
        assert host.told("rock")["listeners"] == 1
    said = capsys.readouterr().err
    assert said.count("does not tell who listens") == 1
    assert "what it uses" not in said
    icecast.listeners["/stream"] = listener(1, "127.0.0.1", 60)
    measuring.round(NOW + 150)
    assert len(host.running("rock")) == 1


def test_a_source_above_the_limit_is_sent_away_and_its_neighbour_is_not(host: Host, icecast: Icecast) -> None:
    measuring = Timed(host.settings, host.root)
    for turn in range(6):
        if not icecast.killed:
            icecast.sources = {"/stream": (1, turn * 600_000), "/autodj-own": (1, turn * 240_000)}
        measuring.round(NOW + 15 * turn)
        assert icecast.killed == ([] if turn < 4 else ["/stream"])
    assert host.told("rock")["drops"] == [{"at": NOW + 60, "mount": "/stream", "kbps": 320, "limit_kbps": 128}]
    assert [item["mount"] for item in host.told("rock")["sources"]] == ["/autodj-own"]


def test_what_does_not_answer_is_not_known_and_others_are(host: Host, icecast: Icecast) -> None:
    icecast.sources = {"/stream": (3, 1000)}
    host.service("dead", 200002, "icecast", port=1, mounts=["/stream"])
    host.write("etc/streamfleet/instances/icecast/dead/icecast.xml", "<icecast/>")
    measuring = Timed(host.settings, host.root)
    measuring.round(NOW)
    assert host.told("rock")["listeners"] == 3
    assert (host.told("dead")["listeners"], host.told("dead")["sources"]) == (None, None)
    icecast.sources = {"a\x00": (1, 1)}
    measuring.round(NOW + 15)
    assert host.told("rock")["listeners"] == 3, "as last told, for a while"
    measuring.round(NOW + STALE + 1)
    assert (host.told("rock")["listeners"], host.told("rock")["sources"]) == (None, None)


def test_others_that_are_slow_to_answer_make_nobody_wrong(host: Host, icecast: Icecast) -> None:
    engine = next(path.parent.name for path in host.root.glob("etc/streamfleet/instances/*/rock"))
    host.service("aaa", 200002, engine, port=1, mounts=["/stream"])
    measuring = Timed(host.settings, host.root)
    meter = measuring._meters[engine][0]
    measure, asked = meter.measure, list[float]()

    def slow(slug: str) -> Use:
        """The slug that comes first is slow from the fifth round on."""
        if slug == "aaa":
            asked.append(measuring.at)
            if measuring.at >= 60:
                measuring.at += 45
                raise TimeoutError("timed out")
            return Use()
        # Right, as of the time at which it is asked.
        icecast.sources = {"/stream": (1, int(measuring.at * 16_000))}
        return measure(slug)

    meter.measure = slow  # type: ignore[method-assign]
    for moment in (0, 15, 30, 45, 60, 120, 135, 150, 165, 180):
        measuring.round(NOW + moment)
        assert not icecast.killed, moment
    assert asked == [0, 15, 30, 45, 60, 165], "who does not answer in time is passed over for a while"


def test_a_clock_that_is_set_changes_no_rate(host: Host, icecast: Icecast) -> None:
    measuring = Measuring(host.settings, host.root, lambda: clock)
    for turn in range(9):
        clock = 15.0 * turn
        icecast.sources = {"/stream": (1, turn * 240_000)}
        # A day back, and forth again.
        measuring.round(NOW + clock - 86400 * (turn % 2))
        assert not icecast.killed
        assert host.told("rock")["listeners"] == 1
    assert host.told("rock")["sources"][0]["kbps"] == 128


def test_a_later_process_tells_on(host: Host, icecast: Icecast, monkeypatch: pytest.MonkeyPatch) -> None:
    icecast.sources = {"/stream": (9, 0)}
    host.write("var/lib/streamfleet/services/rock/a", "x" * 700)
    measuring = Timed(host.settings, host.root)
    measuring.held.dropped(0.0, "rock", Drop(NOW + 0.2, "/stream", 320, 128))
    measuring.round(NOW)
    before = host.told("rock")
    assert (before["listeners_peak"], before["disk_bytes"], len(before["drops"])) == (9, 700, 1)
    monkeypatch.setattr(Disk, "count", lambda *_args: None)
    icecast.sources = {"/stream": (1, 0)}
    Timed(host.settings, host.root).round(NOW + 15)
    after = host.told("rock")
    for name in ("listeners_peak", "disk_bytes", "library_bytes", "drops"):
        assert after[name] == before[name], name
    # Nothing of an earlier customer's, and no harm by what is none.
    for other in ({**before, "uid": 200009}, {"uid": 200001, "month": 7, "listeners_peak": "x", "drops": [{"at": 1}]}):
        host.write("told/rock/usage.json", json.dumps(other))
        Timed(host.settings, host.root).round(NOW + 30)
        assert (host.told("rock")["listeners_peak"], host.told("rock")["drops"]) == (1, [])
        assert host.told("rock")["disk_bytes"] is None


def test_a_full_disk_ends_no_limit(
    host: Host, icecast: Icecast, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host.service("tv", 200001, "wowza", port=1938, hls="/tv/live")
    icecast.sources = {"/stream": (1, 1000)}
    write = Path.write_text

    def full(path: Path, *_args: Any, **_named: Any) -> int:
        if path.name.endswith(".new"):
            raise OSError(28, "No space left on device")
        return write(path, *_args, **_named)

    (host.root / "told/gone/below").mkdir(parents=True)
    measuring = Timed(host.settings, host.root)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        for turn in range(6):
            if not icecast.killed:
                icecast.sources = {"/stream": (1, turn * 600_000)}
            measuring.round(NOW + 15 * turn)
    assert icecast.killed == ["/stream"]
    assert capsys.readouterr().err.count("No space left") == 1
    (host.root / "told/gone/below").rmdir()
    measuring.round(NOW + 90)
    assert len(host.told("rock")["drops"]) == 1
    assert host.told("tv")["listeners"] == 0
    assert not (host.root / "told/gone").exists()


def test_an_engine_that_does_not_tell_its_services_is_in_no_others_way(host: Host, icecast: Icecast) -> None:
    host.write("etc/streamfleet/instances/shoutcast2", "no folder")
    icecast.sources = {"/stream": (3, 1000)}
    Timed(host.settings, host.root).round(NOW)
    assert host.told("rock")["listeners"] == 3


def test_an_engine_is_not_asked_about_what_another_node_has(host: Host, icecast: Icecast) -> None:
    icecast.sources = {"/stream": (3, 1000)}
    place = host.root / "etc/streamfleet/routes/rock.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "elsewhere": True}))
    Timed(host.settings, host.root).round(NOW)
    assert (host.told("rock")["listeners"], icecast.asked) == (0, 0)


def test_off_the_air_nobody_listens_and_a_purged_service_is_forgotten(host: Host, icecast: Icecast) -> None:
    icecast.sources = {"/stream": (3, 1000)}
    host.write("var/lib/streamfleet/services/rock/live/a.mp3", "x" * 5000)
    host.write("var/lib/streamfleet/media/200001/b.mp3", "x" * 7000)
    measuring = Timed(host.settings, host.root)
    measuring.round(NOW)
    (host.root / "etc/streamfleet/routes/rock.json").unlink()
    measuring.round(NOW + 15)
    told = host.told("rock")
    assert (told["listeners"], told["listeners_peak"], told["sources"]) == (0, 3, [])
    assert (told["disk_bytes"], told["library_bytes"]) == (5000, 7000)
    before = (host.root / "told/rock/usage.json").stat().st_ino
    measuring.round(NOW + 30)
    assert (host.root / "told/rock/usage.json").stat().st_ino == before, "nothing new, nothing written"
    measuring.round(NOW + 300)
    assert host.told("rock") == {**told, "measured": NOW + 300}, "but now and then, so that its own end shows"
    for unit in (host.root / "etc/systemd/system").glob("*@rock.service.d"):
        (unit / "10-user.conf").unlink()
    measuring.round(NOW + 315)
    assert list((host.root / "told").iterdir()) == []


def test_viewers_are_those_that_the_recorder_counts(host: Host) -> None:
    host.service("tv", 200001, "wowza", port=1938, hls="/tv/live")
    host.write("watching.json", json.dumps({"tv": 12, "nobody": 4, "rock": "x"}))
    measuring = Timed(host.settings, host.root)
    measuring.round(NOW)
    assert (host.told("tv")["listeners"], host.told("tv")["sources"]) == (12, None)
    host.write("viewing.json", json.dumps({"tv": [["203.0.113.7", "VLC/3", NOW, 700]] * 300}))
    measuring.round(NOW + 5)
    assert len(host.running("tv")) == 200
    assert host.running("tv")[0] == {
        "name": "", "source": "hls", "mount": "", "address": "203.0.113.7", "agent": "VLC/3",
        "started": NOW, "bytes": 700,
    }  # fmt: skip
    host.write("viewing.json", json.dumps({"tv": [["203.0.113.7", "\u266b" * 255, NOW, 700]] * 200}))
    measuring.round(NOW + 10)
    assert (host.root / "told/tv/running.json").stat().st_size < LARGEST_STATE
    assert 10 < len(host.running("tv")) < 200
    host.write("watching.json", "{")
    measuring.round(NOW + 15)
    assert (host.told("tv")["listeners"], host.told("tv")["listeners_peak"]) == (0, 12)


class Local(socketserver.UnixStreamServer):
    """nginx's own socket."""

    answer = b""


class LocalHandler(socketserver.StreamRequestHandler):
    server: Local

    def handle(self) -> None:
        assert self.rfile.readline().startswith(b"GET /stat ")
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\n" + self.server.answer)


def stat(size: int, client: int = 7, name: str = "tv") -> bytes:
    publisher = f"<client><id>{client}</id><address>203.0.113.7</address><publishing/><active/></client>"
    stream = f"<stream><name>{name}</name><time>1</time><bw_in>9</bw_in><bytes_in>{size}</bytes_in>{publisher}</stream>"
    live = f"<application><name>live</name><live>{stream}</live></application>"
    other = f"<application><name>secret</name><live>{stream.replace('bytes_in>', 'x>')}</live></application>"
    return f"<rtmp><server>{live}</server><server>{other}</server></rtmp>".encode()


def test_a_channel_is_told_as_nginx_tells_it(host: Host) -> None:
    host.service("tv", 200001, "nginx_rtmp", uid=200001)
    host.service("other", 200002, "nginx_rtmp", uid=200002)
    run = host.root / "run/streamfleet-rtmp"
    host.write("run/streamfleet-rtmp/live/tv", json.dumps({"client": "7", "since": NOW * 1000}))
    server = Local(str(run / "control.sock"), LocalHandler)
    module = load(Path(host.settings["meters"]))["nginx_rtmp"]
    with serving(server):
        server.answer = stat(100_000)
        measuring = Timed(host.settings, host.root)
        measuring.round(NOW)
        assert host.told("tv")["sources"] == [
            {"mount": "", "kind": "encoder", "since": NOW, "announced_kbps": None, "kbps": None}
        ]
        assert host.told("other")["sources"] == []
        # Whoever has the name without the lease is not the channel's publisher.
        server.answer = stat(100_000, client=8)
        assert module.Meter(host.root).measure("tv").sources == []
        # What another node has by now it tells itself.
        assert module.Meter(host.root).services() == ["other", "tv"]
        host.write("etc/streamfleet/routes/other.json", json.dumps({"uid": 200002, "elsewhere": True}))
        assert module.Meter(host.root).services() == ["tv"]
        note = {"uid": 200001, "at": NOW * 1000, "kbps": 6000, "limit_kbps": 4000}
        host.write("run/streamfleet-rtmp/dropped-tv", json.dumps(note))
        host.write("run/streamfleet-rtmp/dropped-other", json.dumps(note))
        for moment in (15, 30):
            measuring.round(NOW + moment)
        assert host.told("tv")["drops"] == [{"at": NOW, "mount": "", "kbps": 6000, "limit_kbps": 4000}]
        assert host.told("other")["drops"] == [], "of another customer's channel"


@pytest.mark.slow
def test_a_shoutcast_source_is_measured_and_sent_away(host: Host, tmp_path: Path) -> None:
    port = free_ports(2)[0]
    host.service("rock", 200001, "shoutcast2", port=port, mounts=["/stream"], max_bitrate_kbps=64)
    folder = host.root / "etc/streamfleet/instances/shoutcast2/rock"
    path = configuration(folder, port)
    meter = load(Path(host.settings["meters"]))["shoutcast2"].Meter(host.root)
    with running(path, port):
        assert meter.measure("rock").sources == []
        sending = LegacySource("127.0.0.1", port, SOURCE)
        sending.start()
        deadline = time.monotonic() + 30
        while not (found := meter.measure("rock").sources):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        (one,) = found
        assert (one.mount, one.kind) == ("/stream", "encoder")
        assert one.bytes >= 1 << 16
        assert ADMIN in path.read_text("utf-8")
        meter.drop("rock", one)
        sending.join(20)
        assert not sending.is_alive()
        sending.stop()


def test_who_listens_to_shoutcast_through_the_web_server_is_told_so(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.service("rock", 200001, "shoutcast2", port=8000, mounts=["/stream"])
    host.write("etc/streamfleet/instances/shoutcast2/rock/sc_serv.conf", "adminpassword=x\n")
    module = load(Path(host.settings["meters"]))["shoutcast2"]
    row = "<LISTENER><HOSTNAME>{}</HOSTNAME><UID>{}</UID></LISTENER>"
    rows = "".join(row.format(f"203.0.113.{number}", number) for number in (7, 8))
    answers = {"/statistics": '<S><STREAM id="1"/></S>', "/admin.cgi?sid=1&mode=viewxml&page=3": f"<S>{rows}</S>"}
    monkeypatch.setattr(module, "ask", lambda _port, path, *_password: answers[path].encode())
    found = {path: ET.fromstring(text) for path, text in answers.items()}
    monkeypatch.setattr(module, "listed", lambda _port, path, _word, name: list(found[path].iter(name)))

    class Seen(Kernel):
        def connections(self, ports: Any) -> Any:
            return [Connection(5, 8000, "203.0.113.7", 0), Connection(6, 8000, "127.0.0.1", 0)]

    told = module.Meter(host.root, Seen()).running("rock", Use(2, heard=["1"]))
    assert [(item.name, item.source, item.address) for item in told] == [
        ("7", "direct", "203.0.113.7"),
        ("8", "web", "203.0.113.8"),
    ]


def test_what_a_program_has_not_read_is_not_measured() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            link, _ = server.accept()
            with link:
                client.sendall(b"x" * 20_000)
                assert link.recv(5_000, socket.MSG_WAITALL)
                deadline = time.monotonic() + 10
                while [item.received for item in Kernel().connections({port: "a"})] != [5_000]:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)


def test_a_rate_needs_a_whole_minute_and_a_tenth_more_is_allowed() -> None:
    held = Held()
    for moment in range(0, 61, 15):
        held.see(NOW + moment, "rock", [source(moment * 20_000)])  # 160 kbit/s
        if moment < 60:
            assert held.above(NOW + moment, "rock", source(0), 10) is None
    assert held.kbps("rock", source(0)) == 160
    assert held.above(NOW + 60, "rock", source(0), 135) is None
    assert held.above(NOW + 60, "rock", source(0), 134) == 160


class Untouched(dict[Any, Any]):
    """What is known of all services, which nobody may go through for one of them."""

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("all services are gone through for one of them")

    items = values = keys = __iter__  # type: ignore[assignment]


def test_what_one_service_costs_does_not_grow_with_the_others() -> None:
    held = Held()
    held.see(NOW, "jazz", [source(0)])
    held._seen, held._mounts = Untouched(held._seen), Untouched(held._mounts)
    held.see(NOW, "rock", [source(0), source(0, "/gone")])
    held.see(NOW + 60, "rock", [source(1_200_000)])
    assert held.kbps("rock", source(0)) == held.above(NOW + 60, "rock", source(0), 128) == 160
    held.dropped(NOW + 60, "rock", Drop(NOW, "/stream", 160, 128))
    held.see(NOW + 75, "rock", [source(0, since=75.0)])
    assert held.kbps("rock", source(0)) is None
    held._seen, held._mounts = dict(dict.items(held._seen)), dict(dict.items(held._mounts))
    held.forget(NOW + 75, {"jazz": 200001})
    held.see(NOW + 90, "jazz", [source(2_400_000)])
    assert held.kbps("jazz", source(0)) == 213


def test_who_is_right_is_never_sent_away_however_late_the_engine_tells_of_bytes() -> None:
    for first in range(5):
        held = Held()
        for moment in range(0, 900, 15):
            # Told every five seconds, at times that have nothing to do with the rounds; two percent are headers.
            told = (moment * 7 + first) % 5
            held.see(NOW + moment, "rock", [source(int((moment - told + 5) * 16_000 * 1.02))])
            assert held.above(NOW + moment, "rock", source(0), 128) is None


def test_who_sends_a_little_too_much_is_seen_in_a_longer_time() -> None:
    held = Held()
    for moment in range(0, 301, 15):
        held.see(NOW + moment, "rock", [source(moment * 18_400)])  # 15 percent
        assert (held.above(NOW + moment, "rock", source(0), 128) is not None) == (moment == 300)


def test_what_is_called_the_platforms_own_is_held_too_with_more_room() -> None:
    held = Held()
    for moment in range(0, 61, 15):
        held.see(NOW + moment, "rock", [source(moment * 20_000, kind="autodj")])  # 160 kbit/s
    assert held.above(NOW + 60, "rock", source(0, kind="autodj"), 128) is None
    assert held.above(NOW + 60, "rock", source(0, kind="autodj"), 96) == 160
    assert held.above(NOW + 60, "rock", source(0), 128) == 160


def test_who_was_right_for_a_minute_is_right_whatever_was_before() -> None:
    held, size = Held(), 0
    for moment in range(0, 600, 15):
        size += 15 * (125_000 if moment < 45 else 16_000)
        held.see(NOW + moment, "rock", [source(size)])
        assert held.above(NOW + moment, "rock", source(0), 128) is None or moment < 105
    assert held.kbps("rock", source(0)) == 128


def test_who_comes_back_and_sends_far_too_much_has_less_time() -> None:
    held = Held()
    held.dropped(NOW, "rock", Drop(NOW, "/stream", 999, 128))

    def sends(at: float, kbps: int) -> int | None:
        new = source(0, since=at)
        for moment in (0, 20):
            now = NOW + at + moment
            held.see(now, "rock", [source(moment * kbps * 125, since=at)])
        return held.above(now, "rock", new, 128)

    assert sends(10, 320) is not None
    assert sends(100, 150) is None
    assert sends(200, 128) is None
    assert sends(WATCHED + 10, 320) is None


@pytest.mark.parametrize("known", [True, False])
def test_who_connects_anew_before_a_minute_is_held_too(known: bool) -> None:
    held, sent = Held(), []
    for moment in range(0, 301, 15):
        # Forty-five seconds each, of which the engine tells when they began or not.
        number, age = divmod(moment, 45)
        one = source(age * 100_000, name=f"/stream{'' if known else number}", since=number if known else None)
        one = replace(one, mount="/stream")
        held.see(NOW + moment, "rock", [one])
        sent.append(held.above(NOW + moment, "rock", one, 128))
    assert any(sent)
    assert not any(sent[:4])


def test_who_connects_anew_and_is_right_is_not_sent_away_nor_for_what_was_before_a_drop() -> None:
    held = Held()
    for moment in range(0, 601, 15):
        number, age = divmod(moment, 45)
        one = source(age * 16_000 + 500, since=number)
        held.see(NOW + moment, "rock", [one])
        assert held.above(NOW + moment, "rock", one, 128) is None
    held = Held()
    for moment in range(0, 76, 15):
        held.see(NOW + moment, "rock", [source(moment * 100_000)])
    assert held.above(NOW + 75, "rock", source(0), 128) is not None
    held.dropped(NOW + 75, "rock", Drop(NOW + 75, "/stream", 800, 128))
    for moment in range(90, 400, 15):
        held.see(NOW + moment, "rock", [source((moment - 80) * 16_000, since=80.0)])
        assert held.above(NOW + moment, "rock", source(0), 128) is None


def test_what_was_sent_long_before_is_not_carried_over() -> None:
    held = Held()
    held.see(NOW, "rock", [source(0, since=1.0)])
    held.see(NOW + 15, "rock", [source(90_000_000, since=1.0)])
    held.see(NOW + 30, "rock", [])
    held.forget(NOW + 330, {"rock": 1})
    held.see(NOW + 330, "rock", [source(16_000 * 10, since=320.0)])
    held.see(NOW + 345, "rock", [source(16_000 * 25, since=320.0)])
    assert held._gone == {}
    assert held.above(NOW + 345, "rock", source(0), 1) is None, "not seen for a minute"


def test_what_is_nearly_the_same_is_told_as_the_same() -> None:
    held, size, told = Held(), 0, []
    for turn, kbps in enumerate((0, 128, 134, 122, 137, 128, 160, 160, 160, 160, 160)):
        size += 15 * kbps * 125
        held.see(NOW + 15 * turn, "rock", [source(size)])
        told.append(held.kbps("rock", source(0)))
    assert told[:6] == [None, 128, 128, 128, 128, 128]
    assert told[-1] is not None
    assert 144 < told[-1] <= 160


def test_a_source_that_is_another_begins_at_nothing() -> None:
    held = Held()
    held.see(NOW, "rock", [source(9_000_000, since=1.0)])
    held.see(NOW + 60, "rock", [source(1_000, since=2.0)])
    assert held.kbps("rock", source(0)) is None
    held.see(NOW + 120, "rock", [source(500, since=2.0)])
    assert held.kbps("rock", source(0)) is None
    held.see(NOW + 121, "rock", [])
    held.forget(NOW, {})
    assert held.drops("rock") == []


def test_no_link_is_followed_and_holes_take_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, mine = tmp_path / "other", tmp_path / "mine"
    (mine / "deep/er").mkdir(parents=True)
    other.mkdir()
    (other / "large").write_bytes(bytes(90_000))
    (mine / "a").write_bytes(b"x" * 1000)
    (mine / "deep/er/b").write_bytes(b"x" * 500)
    (mine / "link").symlink_to(other)
    with (mine / "sparse").open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)
    assert sum(disk.sizes(mine)) == 1500
    (tmp_path / "way").symlink_to(mine)
    assert sum(disk.sizes(tmp_path / "way")) == 0
    monkeypatch.setattr(disk, "MOST_DEEP", 2)
    assert sum(disk.sizes(mine)) == 1000


def test_many_files_of_one_are_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many, few = tmp_path / "many", tmp_path / "few"
    for folder, count in ((many, 500), (few, 1)):
        folder.mkdir()
        for number in range(count):
            (folder / str(number)).write_bytes(b"x")
    counting = Disk()
    counting.count([many, few], 0)
    assert (counting.bytes(many), counting.bytes(few)) == (None, None)
    counting.count([many, few], 60)
    assert (counting.bytes(many), counting.bytes(few)) == (500, 1)
    (few / "more").write_bytes(b"x")
    counting.count([many, few], 60)
    assert counting.bytes(few) == 1, "not yet due"
    monkeypatch.setattr(disk, "MOST_FILES", 200)
    again = Disk()
    again.count([many], 60)
    assert again.bytes(many) == 200
    again.count([], 60)
    assert again.bytes(many) is None


def test_folders_without_files_are_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many, few = tmp_path / "many", tmp_path / "few"
    few.mkdir()
    (few / "one").write_bytes(b"x")
    for number in range(300):
        (many / str(number)).mkdir(parents=True)
    (many / "link").symlink_to(few)
    assert len(list(disk.sizes(many))) == 301, "each gives the clock its turn"
    monkeypatch.setattr(disk, "MOST_FILES", 100)
    counting = Disk()
    counting.count([many, few], 60)
    assert (counting.bytes(many), counting.bytes(few)) == (0, 1)
    counting = Disk()
    counting.count([many], 60)
    assert counting._entries == 100, "no more is looked at than is counted at most"
