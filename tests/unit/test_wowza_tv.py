"""What plays a channel of Wowza by itself: what it takes, what comes next, and what viewers get of it.

The last with the double of Wowza and with real recordings, by the tones that are heard.
"""

from __future__ import annotations

import io
import itertools
import json
import socket
import subprocess
import threading
import time
import urllib.request
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet.behaviour.sound import RATE, tone
from streamfleet_tv import __main__ as tv
from streamfleet_tv import flv, rtmp, videos
from streamfleet_tv.air import JUMP, MOST_RATE, Air, Unfit
from streamfleet_tv.programme import Programme

from tests.doubles.video.encoder import PATIENCE
from tests.doubles.video.rtmp import COMMAND, CONTROL, Connection, decode
from tests.unit.test_wowza_double import Program

#: Of every recording and of the broadcaster: what is heard says what is seen.
ONE, TWO, LIVE, SLATE = 440, 880, 1320, 2200
TONES = (ONE, TWO, LIVE, SLATE)


def clip(path: Path, frequency: int, seconds: float = 6, size: str = "160x90", *options: str) -> Path:
    """A recording of one tone; ``options`` say how it is encoded, if not as it should be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25", "-f", "lavfi", "-i", f"sine={frequency}:b=0"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac"]
    end = ["-t", f"{seconds}", *options, "-f", "mp4", str(path)]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *made, *coded, *end], check=True)
    return path


def playlist(name: str = "all", **changes: Any) -> dict[str, Any]:
    """One as the renderer writes it down."""
    found = {"name": name, "enabled": True, "type": "rotation", "folder": ".", "files": None, "order": "sequential"}
    return {**found, "weight": 1, "active": None, "every_tracks": None, "every_minutes": None, **changes}


class Place:
    """A channel's folders, as on a node."""

    def __init__(self, folder: Path) -> None:
        self.settings, self.data, self.library = (folder / name for name in ("settings", "data", "library"))
        for path in (self.settings, self.data, self.library):
            path.mkdir()
        self.write(playlist())

    def write(self, *playlists: dict[str, Any], password: str = "publish-rock-tv-secret", **changes: Any) -> None:
        wanted = {"application": "rock-tv", "stream": "air", "live": "live", "port": 1, "hls_port": 1, "seed": 7}
        wanted |= {"segment_seconds": 2, "library": str(self.library), "timezone": "UTC", **changes}
        (self.settings / "settings.json").write_text(json.dumps(wanted))
        (self.settings / "playlists.json").write_text(json.dumps(playlists))
        (self.settings / "publish.json").write_text(json.dumps({"password": password}))

    def history(self) -> list[str]:
        file = self.data / "history.jsonl"
        return [json.loads(line)["path"] for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# What Wowza can pass on


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), ""),
        (("-an",), "it has no sound: add a silent track"),
        (("-vn",), "it has no pictures"),
        (("-c:v", "mpeg4"), "its pictures are mpeg4, not h264"),
        (("-pix_fmt", "yuv444p"), "its pictures are of the kind yuv444p, not yuv420p"),
        (("-c:a", "mp3"), "its sound is mp3, not aac"),
        (("-ac", "6"), "its sound has 6 channels, not one or two"),
        (("-t", "0.4"), "it is shorter than a second"),
    ],
)
def test_a_recording_that_does_not_fit_is_told_with_the_reason(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    found = videos.look_into(clip(tmp_path / "it.mp4", ONE, 2, "160x90", *options))
    assert found["fault"] == said


@pytest.mark.parametrize(
    "content",
    [
        b"no film\n",
        b"",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\0\0\0\x18ftypmp42" + bytes(100),
    ],
)
def test_what_is_no_film_is_told_and_opens_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.mp4").write_bytes(content)
    assert videos.look_into(tmp_path / "it.mp4")["fault"] == "it is no MP4 or MOV file"


def test_tags_are_one_line(tmp_path: Path) -> None:
    path = clip(tmp_path / "it.mp4", ONE, 2, "160x90", "-metadata", "title=A\nB\tC", "-metadata", f"artist={'x' * 999}")
    found = videos.look_into(path)
    assert (found["title"], len(found["artist"])) == ("A B C", 300)


# What comes next


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every recording that is looked into; one whose content begins with ``bad`` does not fit."""
    seen: list[str] = []

    def look(path: Path) -> dict[str, Any]:
        seen.append(path.name)
        bad = path.read_text().startswith("bad")
        return {"fault": "it is bad" if bad else "", "title": path.stem, "artist": None}

    monkeypatch.setattr(videos, "look_into", look)
    return seen


def named(place: Place, programme: Programme, count: int) -> list[str]:
    """The next recordings, each begun."""
    found = []
    for _number in range(count):
        item = programme.next()
        assert item is not None
        programme.begun(item)
        found.append(item.path)
    return found


def test_the_same_library_gives_the_same_order_also_across_restarts(place: Place, looked: list[str]) -> None:
    for number in range(6):
        (place.library / f"{number}.mp4").write_text("good")
    (place.library / "song.mp3").write_text("good")
    place.write(playlist(order="shuffle"))
    whole = named(place, Programme(place.settings, place.data), 12)
    (place.data / "state.json").unlink()
    again = named(place, Programme(place.settings, place.data), 5)
    again += named(place, Programme(place.settings, place.data), 7)
    assert again == whole
    assert sorted(whole[:6]) == [f"{number}.mp4" for number in range(6)]
    # Each was looked into once.
    assert len(looked) == 6
    assert place.history() == [*whole, *whole]


def test_what_has_not_begun_is_remembered_by_nobody(place: Place, looked: list[str]) -> None:
    for name in ("a.mp4", "b.mp4"):
        (place.library / name).write_text("good")
    programme = Programme(place.settings, place.data)
    first, again = programme.next(), programme.next()
    assert first == again
    assert first is not None
    assert (first.path, first.title, place.history()) == ("a.mp4", "a", [])
    programme.begun(first)
    found = programme.next()
    assert found is not None
    assert found.path == "b.mp4"


def test_what_does_not_fit_is_left_out_and_told_until_it_is_another_file(
    place: Place, looked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (place.library / "good.mp4").write_text("good")
    bad = place.library / 'b"a\nd.mp4'
    bad.write_text("bad")
    programme = Programme(place.settings, place.data)
    assert named(place, programme, 3) == ["good.mp4"] * 3
    assert capsys.readouterr().out == "'b\"a\\nd.mp4' is left out: it is bad\n"
    assert json.loads((place.data / "videos.json").read_text())[bad.name]["fault"] == "it is bad"
    programme.look_on(lambda: False)
    assert looked.count(bad.name) == 1
    told = place.data / "passed_over.json"
    assert json.loads(told.read_text()) == {"count": 1, "items": [{"path": bad.name, "reason": "it is bad"}]}
    bad.write_text("good again")
    assert bad.name in named(place, programme, 2)
    programme.look_on(lambda: False)
    assert json.loads(told.read_text()) == {"count": 0, "items": []}
    bad.unlink()
    programme.look_on(lambda: False)
    assert bad.name not in json.loads((place.data / "videos.json").read_text())


def test_its_owner_hears_of_it_before_its_turn(place: Place, looked: list[str]) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (place.library / name).write_text("bad" if name == "b.mp4" else "good")
    programme = Programme(place.settings, place.data)
    paused: list[float] = []
    programme.look_on(lambda: len(looked) >= 2, paused.append)
    assert (looked, len(paused)) == (["a.mp4", "b.mp4"], 2)
    programme.look_on(lambda: False, paused.append)
    assert looked == ["a.mp4", "b.mp4", "c.mp4"]


def test_scheduled_hours_are_the_channels(place: Place, looked: list[str]) -> None:
    for name in ("day/a.mp4", "news/b.mp4"):
        (place.library / name).parent.mkdir()
        (place.library / name).write_text("good")
    window = {"days": None, "start": "20:00", "end": "21:00"}
    news = playlist("news", type="scheduled", folder="news", active=[window])
    place.write(playlist("day", folder="day"), news, timezone="Europe/Prague")
    # 27 November 2026: 19:30 UTC is 20:30 in Prague.
    for at, path in ((1795807800, "news/b.mp4"), (1795807800 + 3600, "day/a.mp4"), (1795807800 - 3600, "day/a.mp4")):
        programme = Programme(place.settings, place.data, clock=lambda at=at: float(at))
        found = programme.next()
        assert found is not None
        assert found.path == path


def test_an_empty_library_has_nothing_and_a_folder_with_links_no_more(place: Place, looked: list[str]) -> None:
    (place.library / "link.mp4").symlink_to("/etc/hostname")
    assert Programme(place.settings, place.data).next() is None
    assert looked == []


# What viewers get


class Sent:
    """A server that takes all; ``broken`` ends it."""

    def __init__(self, *_where: object) -> None:
        self.tags: list[tuple[int, int, bytes]] = []
        self.broken = False

    def send(self, kind: int, moment: int, body: bytes) -> None:
        if self.broken:
            raise rtmp.Gone("gone")
        self.tags.append((kind, moment, body))

    def close(self) -> None:
        self.broken = True


class Clock:
    """Time that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


HEAD = (flv.Tag(flv.VIDEO, 0, b"\x17\0\0\0\0one"), flv.Tag(flv.AUDIO, 0, b"\xaf\0sound"))


def key(moment: int) -> flv.Tag:
    return flv.Tag(flv.VIDEO, moment, b"\x17\1\0\0\0key")


def picture(moment: int) -> flv.Tag:
    return flv.Tag(flv.VIDEO, moment, b"\x27\1\0\0\0...")


def onto(air: Air, *tags: flv.Tag) -> None:
    air.begin()
    for tag in tags:
        air.send(tag)


@pytest.fixture
def servers() -> list[Sent]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def air(place: Place, servers: list[Sent], clock: Clock) -> Air:
    def connect(*where: object) -> Sent:
        servers.append(Sent(*where))
        return servers[-1]

    return Air(place.settings, connect, clock, clock.sleep)


def test_time_goes_on_across_recordings(air: Air, servers: list[Sent], clock: Clock) -> None:
    onto(air, *HEAD, key(700), picture(740), picture(780))
    onto(air, *HEAD, key(0), picture(40))
    moments = [moment for kind, moment, body in servers[0].tags if kind == flv.VIDEO and body[1] == 1]
    assert moments == [0, 40, 80, 120, 160]
    # What is to be decoded with another head begins with it.
    assert [body[1] for kind, _moment, body in servers[0].tags if kind == flv.VIDEO] == [0, 1, 1, 1, 0, 1, 1]
    assert len(servers) == 1


def test_it_is_sent_in_real_time_a_second_ahead(air: Air, clock: Clock) -> None:
    onto(air, *HEAD, key(0), *(picture(moment) for moment in range(40, 10_001, 40)))
    assert clock.now == pytest.approx(109.0)
    # What was late makes time late, and is not caught up with.
    clock.now += 30
    onto(air, key(0), *(picture(moment) for moment in range(40, 5_001, 40)))
    assert clock.now == pytest.approx(143.0, abs=0.1)


@pytest.mark.parametrize("jump", [JUMP + 100, 10**9, -JUMP - 100])
def test_a_recording_whose_time_jumps_makes_nobody_wait(air: Air, servers: list[Sent], clock: Clock, jump: int) -> None:
    onto(air, *HEAD, key(10**6), picture(10**6 + 40), picture(10**6 + 80 + jump), picture(10**6 + 120 + jump))
    assert [moment for _kind, moment, _body in servers[0].tags if moment] == [40, 80, 120]
    assert clock.now == 100


def test_a_server_that_begins_anew_gets_all_that_it_needs(air: Air, servers: list[Sent]) -> None:
    onto(air, *HEAD, key(0), picture(40))
    servers[0].close()
    with pytest.raises(rtmp.Gone):
        air.send(picture(80))
    assert [air.send(tag) for tag in (picture(120), picture(160), key(200), picture(240))] == [False, False, True, True]
    kinds = [(kind, body[1]) for kind, _moment, body in servers[1].tags]
    assert kinds == [(flv.VIDEO, 0), (flv.AUDIO, 0), (flv.VIDEO, 1), (flv.VIDEO, 1)]


def test_a_recording_without_key_frames_fills_no_memory(air: Air) -> None:
    onto(air, *HEAD, key(0), *(picture(moment) for moment in range(1000, 20_001, 1000)))
    with pytest.raises(Unfit, match="no key frame for 20 seconds"):
        air.send(picture(20_040))
    # The next begins anew.
    onto(air, key(0), picture(19_000))


def test_a_recording_that_is_all_now_is_not_sent_at_once(air: Air, servers: list[Sent], clock: Clock) -> None:
    large = flv.Tag(flv.VIDEO, 0, b"\x17\1\0\0\0" + bytes(MOST_RATE // 10))
    onto(air, *HEAD, *[large] * 100)
    assert clock.now - 100 == pytest.approx(9, abs=1.1)
    assert len([tag for tag in servers[0].tags if len(tag[2]) > 100]) == 100


def test_flv_is_read_as_far_as_it_is_whole() -> None:
    body = b"\x17\1\0\0\0picture"
    tag = bytes([9]) + len(body).to_bytes(3, "big") + b"\x00\x00\x05\x01\0\0\0" + body + bytes(4)
    script = bytes([18]) + (3).to_bytes(3, "big") + bytes(7) + b"abc" + bytes(4)
    end = bytes([9]) + (6).to_bytes(3, "big") + bytes(7) + b"\x17\2\0\0\0\0" + bytes(4)
    whole = b"FLV\1\5\0\0\0\x09\0\0\0\0" + script + tag + end
    assert list(flv.tags(io.BytesIO(whole + tag[:-5]))) == [flv.Tag(9, 0x01000005, body)]
    assert list(flv.tags(io.BytesIO(b""))) == []
    for wrong in (b"#EXTM3U" + bytes(20), whole[:13] + bytes([9]) + b"\xff" * 20):
        with pytest.raises(flv.Broken):
            list(flv.tags(io.BytesIO(wrong)))


# What Wowza is told


def test_what_the_server_asks_meanwhile_is_answered_and_its_end_is_heard() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard: list[bytes] = []
        held: list[Any] = []

        def serve() -> None:
            link, _ = server.accept()
            held.append(link)
            connection = Connection(link)
            while True:
                kind, _moment, body = connection.message()
                said = decode(body) if kind == COMMAND else []
                if said[:1] == ["connect"]:
                    connection.send("_result", 1, None, {"code": "NetConnection.Connect.Success"})
                elif said[:1] == ["createStream"]:
                    connection.send("_result", said[1], None, 1)
                elif said[:1] == ["publish"]:
                    connection.send("onStatus", 0, None, {"level": "status", "code": "NetStream.Publish.Start"})
                    connection.ping(b"ping")
                elif kind == CONTROL:
                    heard.append(body)
                    told = {"level": "status", "code": "NetStream.Unpublish.Success"}
                    connection.send("onStatus", 0, None, told, stream=1)
                    return

        threading.Thread(target=serve, daemon=True).start()
        made = rtmp.Publisher(int(server.getsockname()[1]), "rock-tv", "air", "secret")
        with pytest.raises(rtmp.Gone, match="Unpublish"):
            send_on(made)
        assert heard == [b"\0\7ping"]


def send_on(made: rtmp.Publisher) -> None:
    """For ten seconds, with times that need four bytes."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        made.send(9, 0x01000000, b"x" * 5000)
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("said", "message"), [(b"", "it has ended the connection"), (b"HTTP/1.1 400", "it speaks no RTMP")]
)
def test_a_server_that_speaks_something_else_is_told(said: bytes, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            link, _ = server.accept()
            link.sendall(said)
            link.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(rtmp.Gone, match=message):
            rtmp.Publisher(int(server.getsockname()[1]), "rock-tv", "air", "secret")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    (tmp_path / "wowza").mkdir()
    made = Program(tmp_path / "wowza", monkeypatch)
    made.put(service_type="tv_station", playlists=[], schedules=[])
    return made


def test_only_the_channels_password_publishes(program: Program) -> None:
    with program.running():
        made = rtmp.Publisher(program.tv, "rock-tv", "air", "publish-rock-tv-secret")
        with pytest.raises(rtmp.Gone, match="in use"):
            rtmp.Publisher(program.tv, "rock-tv", "air", "publish-rock-tv-secret")
        made.close()
        for password, application, stream, said in (
            ("wrong-secret", "rock-tv", "live", "the password is not taken"),
            ("publish-rock-tv-secret", "jazz-tv", "live", "not to be had"),
            ("publish-rock-tv-secret", "rock-tv", "other", "access denied"),
        ):
            with pytest.raises(rtmp.Gone, match=said) as raised:
                rtmp.Publisher(program.tv, application, stream, password)
            assert password not in str(raised.value)


@pytest.mark.slow
def test_who_answers_no_ping_is_sent_away(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does the vendor's; otherwise nothing here would show that pings are answered."""
    with program.running():
        answers = rtmp.Publisher(program.tv, "rock-tv", "live", "publish-rock-tv-secret")
        monkeypatch.setattr(rtmp.Publisher, "_hear", lambda _self: None)
        mute = rtmp.Publisher(program.tv, "rock-tv", "air", "publish-rock-tv-secret")
        end = time.monotonic() + PATIENCE + 5
        with pytest.raises(rtmp.Gone):
            both_until(end, answers, mute)
        answers.send(9, 0, b"\x17\1\0\0\0")
        answers.close()


def both_until(end: float, first: rtmp.Publisher, second: rtmp.Publisher) -> None:
    while time.monotonic() < end:
        first.send(9, 0, b"\x17\1\0\0\0")
        second.send(9, 0, b"\x17\1\0\0\0")
        time.sleep(0.2)


class Viewer(threading.Thread):
    """Fetches every segment of one session; what is heard in them, one after another."""

    def __init__(self, program: Program) -> None:
        super().__init__(daemon=True)
        self._program = program
        self.heard: list[int | None] = []
        self.sizes: list[str] = []
        self.numbers: list[int] = []
        self.whole = b""
        self.ended = threading.Event()

    def run(self) -> None:
        session = self._program.list(stream="air")[1].split()[-1]
        while not self.ended.wait(0.5):
            status, text = self._program.list(session, "air")
            assert status == 200
            for name in (line for line in text.split() if line.endswith(".ts")):
                number = int(name.rpartition("_")[2][:-3])
                if number not in self.numbers:
                    self.numbers.append(number)
                    self._take(name)

    def _take(self, name: str) -> None:
        url = f"http://127.0.0.1:{self._program.hls}/rock-tv/air/{name}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            data = answer.read()
        self.whole += data
        plain = ["ffmpeg", "-v", "error", "-i", "-", "-ac", "1", "-ar", str(RATE), "-f", "s16le", "-"]
        samples = array("h")
        pressed = subprocess.run(plain, input=data, capture_output=True, check=True).stdout
        samples.frombytes(pressed[: len(pressed) // 2 * 2])
        self.heard.append(tone(samples[-RATE:], TONES))
        probe = [
            "ffprobe",
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "frame=width",
            "-of",
            "csv=p=0",
            "-",
        ]
        shown = subprocess.run(probe, input=data, capture_output=True, check=True).stdout.split()
        self.sizes.append(shown[-1].decode().strip(","))

    def hears(self, frequency: int, within: float = 40) -> None:
        end = time.monotonic() + within
        while frequency not in self.heard[-2:]:
            assert time.monotonic() < end, f"{frequency} was not heard, but {self.heard}"
            assert self.is_alive()
            time.sleep(0.3)


def packets(data: bytes, stream: str) -> list[float]:
    """When each is to be decoded, in seconds."""
    probe = ["ffprobe", "-v", "error", "-f", "mpegts", "-select_streams", stream, "-show_entries", "packet=dts_time"]
    shown = subprocess.run([*probe, "-of", "csv=p=0", "-"], input=data, capture_output=True, check=True).stdout
    return [float(line.strip(b",")) for line in shown.split()]


@pytest.fixture
def playing(program: Program, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tv.Station]:
    """The channel, on the air with nothing to play."""
    slate = clip(tmp_path / "slate.mp4", SLATE, 4)
    place.write(playlist(), port=program.tv, hls_port=program.hls)
    with program.running():
        station, ended = tv.Station(place.settings, place.data, slate), threading.Event()

        def play() -> None:
            while not ended.is_set():
                station.one()

        thread = threading.Thread(target=play, daemon=True)
        station._live.start(lambda _seconds: time.sleep(0.5))
        thread.start()
        yield station
        ended.set()
        thread.join(20)
        station._air.close()


@pytest.mark.slow
def test_a_viewer_gets_the_programme_a_broadcaster_and_the_programme_again(
    program: Program, place: Place, playing: tv.Station
) -> None:
    end = time.monotonic() + 30
    while program.list(stream="air")[0] != 200:
        assert time.monotonic() < end
        time.sleep(0.2)
    viewer = Viewer(program)
    viewer.start()
    viewer.hears(SLATE)
    (place.library / "bad.mp4").write_text("no film")
    clip(place.library / ".part", ONE).rename(place.library / "one.mp4")
    # Another size: viewers go on all the same.
    clip(place.library / ".part", TWO, 6, "320x180").rename(place.library / "two.mp4")
    viewer.hears(ONE)
    viewer.hears(TWO)
    login = [
        "-rtmp_live",
        "live",
        "-f",
        "flv",
        f"rtmp://rock-tv:publish-rock-tv-secret@127.0.0.1:{program.rtmp}/rock-tv/live",
    ]
    made = ["-re", "-f", "lavfi", "-i", "testsrc2=size=240x136:rate=25", "-f", "lavfi", "-i", f"sine={LIVE}"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac"]
    encoder = subprocess.Popen(["ffmpeg", "-nostdin", "-v", "error", *made, *coded, *login])
    try:
        viewer.hears(LIVE)
        played = place.history()
        time.sleep(6)
        assert set(viewer.heard[-2:]) == {LIVE}
        assert place.history() == played
    finally:
        encoder.kill()
        encoder.wait()
    viewer.hears(ONE)
    viewer.ended.set()
    viewer.join(10)
    assert {"160", "320", "240"} <= set(viewer.sizes)
    # Time goes on, without a jump, wherever pictures and sound come from.
    for stream in ("v", "a"):
        times = packets(viewer.whole, stream)
        steps = [after - before for before, after in itertools.pairwise(times)]
        assert min(steps) > 0, stream
        assert max(steps) < 0.3, stream
    # One session saw it all, and missed nothing.
    assert viewer.numbers == list(range(viewer.numbers[0], viewer.numbers[0] + len(viewer.numbers)))
    assert json.loads((place.data / "videos.json").read_text())["bad.mp4"]["fault"] == "it is no MP4 or MOV file"
    assert set(place.history()) == {"one.mp4", "two.mp4"}
