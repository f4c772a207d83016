"""Recordings of Wowza's channels: asked for again and again, given to their customers, and within their limits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from demo.media import video_publisher
from tests.doubles.wowza.recorder import fault_of
from tests.ports import free_port
from tests.unit.test_wowza_double import Program, application, program, relayed
from tests.unit.test_wowza_install import loaded

__all__ = ["program"]

UID = 200001


class Shelf:
    """The program that sees to recordings, with places of a test, and as the user that the test has."""

    def __init__(self, program: Program, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.helper = loaded("recordings")
        monkeypatch.setattr(self.helper, "application", application(program, monkeypatch))
        self.spool, self.library = folder / "spool", folder / "media" / f"{UID}"
        self.dvr = folder / "dvr"
        for place in (self.spool, self.library, self.dvr):
            place.mkdir(parents=True)
        for name, value in (
            ("FAULTS", (*self.helper.FAULTS, self.helper.application.Refused)),
            ("INSTANCES", program.vhost / "conf"),
            ("SPOOL", self.spool),
            ("LIBRARIES", folder / "media"),
            ("DVR", self.dvr),
            ("as_wowza", lambda work: self.helper.Child(0, 0, work, 60.0)),
            ("QUIET", 0.0),
            ("COUNT_SECONDS", 0.0),
            ("SHARE", 1000.0),
            ("MISSING_SECONDS", 0.0),
            ("AGAIN", 0.0),
            ("RESERVE", 0),
            ("UNITS", folder / "units"),
        ):
            monkeypatch.setattr(self.helper, name, value)
        monkeypatch.setattr(os, "geteuid", lambda: 1)
        self.recordings = self.helper.Recordings()
        self.program = program

    @property
    def place(self) -> Path:
        """What Wowza writes the channel's recordings into."""
        return self.spool / f"{UID}" / "rock-tv"

    def look(self, children: int = 0) -> None:
        """As many looks as anything takes, each after all children but so many have ended."""
        for _ in range(4):
            self.recordings.look()
            end = time.monotonic() + 20
            while len(self.recordings._children) > children:
                assert time.monotonic() < end, self.recordings._children
                time.sleep(0.02)
                self.recordings.collect()

    def recorded(self) -> bool:
        """Whether Wowza has a recorder for the channel."""
        return bool(self.program.ask(f"{RECORDERS}/live")[0] == 200)

    def want(self, minutes: int = 1, quota: int = 100, running: bool = True, **more: object) -> None:
        """What the channel's file says."""
        wanted = {"uid": UID, "quota_mb": quota, "minutes": minutes, "running": running, **more}
        (self.program.vhost / "conf/rock-tv/record.json").write_text(json.dumps(wanted))

    def given(self) -> list[Path]:
        """What the customer has."""
        return sorted((self.library / "recordings/rock-tv").glob("*.mp4"))


@pytest.fixture
def shelf(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    program.put()
    return Shelf(program, tmp_path, monkeypatch)


@pytest.mark.slow
def test_what_is_published_is_given_to_the_customer_as_a_film(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = shelf.program
    shelf.want()
    monkeypatch.setattr(shelf.helper.Recordings, "start", staticmethod(seconds(shelf)))
    url = f"rtmp://rock-tv:publish-rock-tv-secret@127.0.0.1:{program.rtmp}/rock-tv/live"
    with program.running(), subprocess.Popen(video_publisher(url, 60), stdin=subprocess.DEVNULL) as encoder:
        try:
            end = time.monotonic() + 40
            while len(shelf.given()) < 2:
                assert time.monotonic() < end, list(shelf.spool.rglob("*"))
                shelf.look()
                time.sleep(0.5)
        finally:
            encoder.kill()
        probe = [
            "ffprobe",
            "-v",
            "error",
            "-show_entries",
            "stream=codec_name",
            "-of",
            "csv=p=0",
            str(shelf.given()[0]),
        ]
        told = subprocess.run(probe, capture_output=True, text=True, check=True).stdout.split()
        assert sorted(told) == ["aac", "h264"]
        assert [path.stat().st_mode & 0o777 for path in shelf.given()] == [0o640] * len(shelf.given())
        # The stream has ended, and the recorder with it: there is a new one for the next.
        end = time.monotonic() + 20
        while program.ask(f"{RECORDERS}/live")[0] == 200:
            assert time.monotonic() < end
            time.sleep(0.3)
        shelf.look()
        assert program.ask(f"{RECORDERS}/live")[1]["recorderState"] == "Waiting for stream"
        # One that is not to be recorded any more has none; whose its files are its unit says.
        unit = shelf.helper.UNITS / "streamfleet-wowza@rock-tv.service.d"
        unit.mkdir(parents=True)
        (unit / "10-user.conf").write_text(f"[Service]\nUser=sf{UID}\n")
        (program.vhost / "conf/rock-tv/record.json").unlink()
        (shelf.place / "live_late.mp4").write_bytes(b"late")
        shelf.look()
        assert program.ask(f"{RECORDERS}/live")[0] == 404
        assert b"late" in [path.read_bytes() for path in shelf.given()]
        shelf.look()
        assert list(shelf.spool.iterdir()) == []
        shelf.want()
        shelf.look()
        assert program.ask(f"{RECORDERS}/live")[0] == 200
        # At its limit there is none, and that is said once.
        shelf.want(quota=0)
        for _ in range(2):
            shelf.look()
            assert program.ask(f"{RECORDERS}/live")[0] == 404
    assert capsys.readouterr().out.count("have reached disk_quota_mb") == 1


@pytest.mark.slow
def test_what_is_relayed_is_recorded_too(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, helper = shelf.program, shelf.helper.application
    shelf.want(stream="live.stream", pictures=False)
    monkeypatch.setattr(shelf.helper.Recordings, "start", staticmethod(seconds(shelf)))
    web = free_port()
    relayed(program, f"http://127.0.0.1:{web}/radio", "shoutcast")
    radio = ["-f", "mp3", "-listen", "1", f"http://127.0.0.1:{web}/radio"]
    sound = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "sine=440", "-c:a", "libmp3lame", *radio]
    with program.running(), subprocess.Popen(sound, stdin=subprocess.DEVNULL) as sent:
        try:
            helper.one("on", "rock-tv")
            shelf.look()
            status, told = program.ask(f"{RECORDERS}/live.stream")
            # With no picture there is no key frame to wait for; nobody else's stream is recorded.
            assert (status, told["startOnKeyFrame"], told["outputPath"]) == (200, False, f"{shelf.place}")
            assert not shelf.recorded()
            end = time.monotonic() + 40
            while not shelf.given():
                assert time.monotonic() < end, list(shelf.spool.rglob("*"))
                shelf.look()
                time.sleep(0.5)
        finally:
            sent.kill()
        probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"]
        told_of = subprocess.run([*probe, f"{shelf.given()[0]}"], capture_output=True, text=True, check=True)
        assert told_of.stdout.split() == ["mp3"]
        # Not recorded any more, it still is a relay, and its recorder ends.
        unit = shelf.helper.UNITS / "streamfleet-wowza@rock-tv.service.d"
        unit.mkdir(parents=True)
        (unit / "10-user.conf").write_text(f"[Service]\nUser=sf{UID}\n")
        (program.vhost / "conf/rock-tv/record.json").unlink()
        shelf.look()
        assert program.ask(f"{RECORDERS}/live.stream")[0] == 404
        assert program.ask(f"{STREAMS}/live.stream")[0] == 200


def test_a_stream_that_no_channel_has_is_not_recorded(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.want(stream="../jazz-tv")
    with shelf.program.running():
        shelf.look()
        assert not shelf.recorded()
    assert "rock-tv: ../jazz-tv is no stream of a channel" in capsys.readouterr().out


INSTANCE = "/v2/servers/_defaultServer_/vhosts/_defaultVHost_/applications/rock-tv/instances/_definst_"
STREAMS = f"{INSTANCE}/incomingstreams"
RECORDERS = f"{INSTANCE}/streamrecorders"


def seconds(shelf: Shelf) -> Any:
    """As the program asks for recordings, but of seconds instead of minutes."""
    start = shelf.helper.Recordings.start

    def shorter(rest: Any, slug: str, spool: Path, asked_for: dict[str, Any]) -> None:
        ask = rest.ask

        def asked(method: str, path: str, body: str) -> Any:
            wanted = json.loads(body)
            assert wanted["segmentDuration"] == asked_for["minutes"] * 60_000
            return ask(method, path, json.dumps({**wanted, "segmentDuration": 4000}))

        rest.ask = asked
        start(rest, slug, spool, asked_for)

    return shorter


@pytest.mark.slow
def test_what_was_sent_can_be_watched_again_within_its_limit(shelf: Shelf, tmp_path: Path) -> None:
    program = shelf.program
    program.put(settings={"dvr_hours": 1, "segment_seconds": 1}, limits={"disk_quota_mb": 5})
    folder = program.vhost / "conf/rock-tv"
    path = folder / "Application.xml"
    path.write_text(path.read_text().replace("/var/lib/streamfleet-wowza/dvr", str(shelf.dvr)))
    url = f"rtmp://rock-tv:publish-rock-tv-secret@127.0.0.1:{program.rtmp}/rock-tv/live"
    with program.running():
        assert program.list("playlist.m3u8?DVR")[0] == 404
        with subprocess.Popen(video_publisher(url, 60), stdin=subprocess.DEVNULL) as encoder:
            try:
                end = time.monotonic() + 40
                # More than a list of what is sent now has, from the first segment on.
                while len(segments := again(program)) < 7:
                    assert time.monotonic() < end, segments
                    time.sleep(0.5)
                assert segments[0].endswith("_DVR_0.ts")
                assert program.list(segments[0])[0] == 200
                shelf.look()
                assert encoder.poll() is None
                (folder / "dvr.json").write_text(json.dumps({"uid": UID, "quota_mb": 0}))
                shelf.look()
                # It begins anew, and whoever sends has to come back.
                assert encoder.wait(10) != 0
            finally:
                encoder.kill()
        assert again(program) == []
        (folder / "dvr.json").unlink()
        (shelf.dvr / f"{UID}/rock-tv/rock-tv").mkdir(parents=True)
        shelf.look()
        assert list(shelf.dvr.iterdir()) == []


def again(program: Program) -> list[str]:
    """Segments of what was sent before."""
    status, text = program.list("playlist.m3u8?DVR")
    if status != 200:
        return []
    return [line for line in program.list(text.splitlines()[-1])[1].splitlines() if line.endswith(".ts")]


def test_nothing_of_a_customers_making_is_followed(shelf: Shelf, tmp_path: Path) -> None:
    shelf.want(running=False)
    outside, folder = tmp_path / "outside", shelf.place
    outside.mkdir()
    folder.mkdir(parents=True)
    (folder / "live_1.mp4").write_bytes(b"film")
    (shelf.library / "recordings").symlink_to(outside)
    shelf.look()
    assert (list(outside.iterdir()), [path.name for path in folder.iterdir()]) == ([], ["live_1.mp4"])
    (shelf.library / "recordings").unlink()
    # Nor of Wowza's.
    (tmp_path / "secret").write_text("secret")
    (folder / "live_2.mp4").symlink_to(tmp_path / "secret")
    shelf.look()
    assert [path.read_bytes() for path in shelf.given()] == [b"film"]
    (folder / "live_2.mp4").unlink()
    (shelf.library / "recordings/rock-tv/.x.part").write_bytes(b"")
    shelf.look()
    assert not folder.exists()


def test_what_is_left_of_a_channel_that_has_gone_or_of_another_customers_is_removed(shelf: Shelf) -> None:
    shelf.want()
    for place in (shelf.spool, shelf.dvr):
        for name in (f"{UID}/rock-tv", f"{UID}/gone-tv", "200009/rock-tv", f"{UID}/..."):
            (place / name).mkdir(parents=True)
            (place / name / "live_1.mp4.tmp").write_bytes(b"theirs")
    (shelf.program.vhost / "conf/rock-tv/dvr.json").write_text(json.dumps({"uid": UID, "quota_mb": 5}))
    with shelf.program.running():
        for _ in range(3):
            shelf.look()
    for place in (shelf.spool, shelf.dvr):
        left = sorted(str(path.relative_to(place)) for path in place.glob("*/*"))
        assert left == [f"{UID}/...", f"{UID}/rock-tv"]
    assert not (shelf.spool / "200009").exists()


# Who wants no limit, and who keeps others waiting


@pytest.mark.parametrize("name", ["recordings", "recordings/rock-tv"])
def test_a_library_that_cannot_be_counted_has_reached_its_limit(
    shelf: Shelf, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.want()
    with shelf.program.running():
        shelf.look()
        assert shelf.recorded()
        path = shelf.library / name
        if path.exists():
            path.rename(shelf.library / "elsewhere")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no folder")
        shelf.look()
        assert not shelf.recorded()
        assert "its recordings cannot be counted: it is not recorded" in capsys.readouterr().out
        path.unlink()
        shelf.look()
        assert shelf.recorded()


def test_what_is_not_given_yet_counts_whatever_becomes_of_the_library(shelf: Shelf) -> None:
    shelf.want(quota=1)
    with shelf.program.running():
        shelf.look()
        assert shelf.recorded()
        (shelf.library / "recordings").write_bytes(b"no folder")
        with (shelf.place / "live_1.mp4").open("wb") as film:
            film.truncate(2 * 1024 * 1024)
        shelf.recordings.look()
        assert not shelf.recorded()


def test_recordings_that_are_moved_count_in_the_library(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.want(quota=2, library_mb=3)
    moved = shelf.library / "private/deep/down.mp4"
    moved.parent.mkdir(parents=True)
    with shelf.program.running():
        moved.write_bytes(b"small")
        shelf.look()
        assert shelf.recorded()
        with moved.open("wb") as film:
            film.truncate(3 * 1024 * 1024)
        shelf.look()
        assert not shelf.recorded()
    assert "the media library has reached" in capsys.readouterr().out


@pytest.mark.slow
def test_a_customer_who_stops_copies_keeps_nobody_waiting(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.want()
    other = shelf.program.vhost / "conf/jazz-tv"
    other.mkdir()
    (other / "record.json").write_text(json.dumps({"uid": 200002, "quota_mb": 100, "minutes": 1, "running": True}))
    (shelf.library.parent / "200002").mkdir()
    kill, ended = os.kill, []
    monkeypatch.setattr(os, "kill", lambda pid, number: (ended.append(pid), kill(pid, number)))
    monkeypatch.setattr(shelf.helper, "PATIENCE", 5.0)
    with shelf.program.running():
        shelf.look()
        for place in (shelf.place, shelf.spool / "200002/jazz-tv"):
            (place / "live_1.mp4").write_bytes(b"film")
        monkeypatch.setattr(shelf.helper.Recordings, "count", lambda *_arguments: None)
        read = os.read

        def stopped(descriptor: int, size: int) -> bytes:
            # In the child: by its own user, as it copies.
            if str(UID) in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
                kill(os.getpid(), signal.SIGSTOP)
            return read(descriptor, size)

        monkeypatch.setattr(shelf.helper.os, "read", stopped)
        begun = time.monotonic()
        shelf.look(children=1)
        assert time.monotonic() - begun < 4
        assert [path.read_bytes() for path in (shelf.library.parent / "200002").rglob("*.mp4")] == [b"film"]
        assert shelf.given() == []
        monkeypatch.setattr(shelf.helper.os, "read", read)
        # Its time comes, too: it is ended, and the next one does it.
        while not shelf.given():
            assert time.monotonic() < begun + 20
            shelf.recordings.look()
            time.sleep(0.1)
        assert len(set(ended)) == 1


@pytest.mark.parametrize("kind", ["fifo", "file"])
def test_what_lies_where_a_recording_is_copied_to_is_not_written_into(shelf: Shelf, kind: str) -> None:
    shelf.want(running=False)
    shelf.place.mkdir(parents=True)
    film = shelf.place / "live_1.mp4"
    film.write_bytes(b"film")
    os.utime(film, (0, 0))
    folder = shelf.library / "recordings/rock-tv"
    folder.mkdir(parents=True)
    part = folder / f".1970-01-01_00.00.00_{film.stat().st_ino}.mp4.part"
    if kind == "fifo":
        os.mkfifo(part)
    else:
        part.write_bytes(b"longer than a film")
        os.link(part, shelf.library / "kept")
    shelf.look()
    assert [path.read_bytes() for path in shelf.given()] == [b"film"]
    assert not film.exists()
    if kind == "file":
        assert (shelf.library / "kept").read_bytes() == b"longer than a film"


def test_where_wowza_does_not_say_what_it_records_nothing_is_given_away(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.want()
    shelf.place.mkdir(parents=True)
    (shelf.place / "live_1.mp4").write_bytes(b"half a film")
    monkeypatch.setattr(shelf.helper.application.Rest, "ask", lambda *_arguments: (500, {}))
    shelf.look()
    assert (shelf.place / "live_1.mp4").exists()
    assert shelf.given() == []
    assert "does not say whether it records: it answers 500" in capsys.readouterr().out


def test_a_library_is_counted_once_a_minute(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.want()
    monkeypatch.setattr(shelf.helper, "COUNT_SECONDS", 60.0)
    made: list[int] = []
    child = shelf.helper.as_customer
    monkeypatch.setattr(shelf.helper, "as_customer", lambda uid, *rest: (made.append(uid), child(uid, *rest))[1])
    with shelf.program.running():
        for _ in range(4):
            shelf.look()
    assert made == [UID]


@pytest.mark.parametrize("reason", ["room", "folder"])
def test_a_copy_that_fails_is_tried_again_ever_later(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    shelf.want(running=False)
    shelf.place.mkdir(parents=True)
    (shelf.place / "live_1.mp4").write_bytes(b"film")
    clock, began = Clock(), []
    give = shelf.helper.give
    for name, value in (
        ("time", clock),
        ("AGAIN", 5.0),
        ("MOST_AGAIN", 12.0),
        ("give", lambda *what: (began.append(1), give(*what))[1]),
    ):
        monkeypatch.setattr(shelf.helper, name, value)
    if reason == "room":
        there = os.statvfs(shelf.library)
        monkeypatch.setattr(shelf.helper, "RESERVE", there.f_blocks * there.f_frsize)
        said = "the file system of media libraries has no room for it"
    else:
        (shelf.library / "recordings").write_bytes(b"no folder")
        said = "Not a directory"
    for number, pause in enumerate((5, 10, 12, 12), start=1):
        shelf.look()
        assert len(began) == number
        clock.ahead += pause - 2
        shelf.look()
        assert len(began) == number
        clock.ahead += 3
    assert said in capsys.readouterr().out
    assert list(shelf.library.rglob("*.part")) == []
    assert (shelf.place / "live_1.mp4").exists()
    monkeypatch.setattr(shelf.helper, "RESERVE", 0)
    if reason == "folder":
        (shelf.library / "recordings").unlink()
    shelf.look()
    assert [path.read_bytes() for path in shelf.given()] == [b"film"]
    # What is good again is tried at once.
    shelf.place.mkdir(parents=True)
    (shelf.place / "live_2.mp4").write_bytes(b"other")
    # It may have the number of the one that has gone.
    os.utime(shelf.place / "live_2.mp4", (0, 0))
    clock.ahead += 1
    shelf.look()
    assert len(shelf.given()) == 2


class Clock:
    """The program's own, which a test moves on."""

    strftime, gmtime, sleep = staticmethod(time.strftime), staticmethod(time.gmtime), staticmethod(time.sleep)
    ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def time(self) -> float:
        return time.time() + self.ahead


@pytest.mark.parametrize(("took", "pause"), [(0, 60), (3, 150), (500, 900)])
def test_the_pause_between_counts_is_of_what_they_take_themselves(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, took: int, pause: int
) -> None:
    shelf.want()
    clock = Clock()
    for name, value in (("time", clock), ("COUNT_SECONDS", 60.0), ("SHARE", 0.02)):
        monkeypatch.setattr(shelf.helper, name, value)
    made: list[int] = []
    child, counted = shelf.helper.as_customer, shelf.helper.counted

    def count(*arguments: Any) -> Any:
        # In the child, whose clock it is.
        clock.ahead += took
        return counted(*arguments)

    monkeypatch.setattr(shelf.helper, "counted", count)
    monkeypatch.setattr(shelf.helper, "as_customer", lambda uid, *rest: (made.append(uid), child(uid, *rest))[1])
    with shelf.program.running():
        shelf.recordings.look()
        # However late a look sees that it has ended.
        clock.ahead += 40
        time.sleep(0.5)
        shelf.look()
        assert len(made) == 1
        clock.ahead += took + pause - 40 - 15
        shelf.look()
        assert len(made) == 1
        clock.ahead += 20
        shelf.look()
        assert len(made) == 2


def test_a_wowza_that_hangs_is_asked_once_in_a_look(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.want()
    for slug in ("jazz-tv", "pop-tv"):
        (shelf.program.vhost / f"conf/{slug}").mkdir()
        (shelf.program.vhost / f"conf/{slug}/record.json").write_text(
            (shelf.program.vhost / "conf/rock-tv/record.json").read_text()
        )
    monkeypatch.setattr(shelf.helper, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        settings = {"rest_port": hangs.getsockname()[1], "networks": []}
        (shelf.program.vhost.parent / "settings.json").write_text(json.dumps(settings))
        begun = time.monotonic()
        shelf.recordings.look()
        assert 0.5 <= time.monotonic() - begun < 1
        assert capsys.readouterr().out.count("Wowza does not answer in time") == 3
        shelf.look()
        assert shelf.recordings._kept


def test_a_store_is_put_aside_before_anybody_begins_anew(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shelf.dvr / f"{UID}/rock-tv"
    (folder / "live").mkdir(parents=True)
    (folder / "live/0.ts").write_bytes(b"old")
    (shelf.program.vhost / "conf/rock-tv/dvr.json").write_text(json.dumps({"uid": UID, "quota_mb": 0}))
    told: list[bool] = []

    def restart(_rest: Any, path: str) -> None:
        assert path == "/rock-tv/actions/restart"
        told.append(folder.exists())
        # What sends comes back at once.
        (folder / "live").mkdir(parents=True)
        (folder / "live/0.ts").write_bytes(b"new")
        (shelf.program.vhost / "conf/rock-tv/dvr.json").write_text(json.dumps({"uid": UID, "quota_mb": 5}))

    monkeypatch.setattr(shelf.helper.application.Rest, "done", restart)
    for _ in range(4):
        shelf.look()
    assert told == [False]
    assert (folder / "live/0.ts").read_bytes() == b"new"
    assert [path.name for path in folder.parent.iterdir()] == ["rock-tv"]
    # Nor is one removed where it lies, once nothing is to be kept.
    monkeypatch.setattr(shelf.helper, "remove", lambda path: seen.write_text(path.name))
    seen = shelf.dvr / "seen"
    (shelf.program.vhost / "conf/rock-tv/dvr.json").unlink()
    shelf.look()
    shelf.look()
    assert seen.read_text() == ".rock-tv"


def stores(shelf: Shelf, *slugs: str, quota: int = 1) -> None:
    """Channels with nDVR, each with a store of 2 MiB."""
    for slug in slugs:
        (shelf.program.vhost / f"conf/{slug}").mkdir(exist_ok=True)
        (shelf.program.vhost / f"conf/{slug}/dvr.json").write_text(json.dumps({"uid": UID, "quota_mb": quota}))
        (shelf.dvr / f"{UID}/{slug}").mkdir(parents=True)
        with (shelf.dvr / f"{UID}/{slug}/0.ts").open("wb") as part:
            part.truncate(2 * 1024 * 1024)


def test_a_store_whose_file_is_away_for_a_moment_or_unreadable_is_kept(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stores(shelf, "rock-tv", quota=100)
    clock = Clock()
    for name, value in (("time", clock), ("MISSING_SECONDS", 300.0)):
        monkeypatch.setattr(shelf.helper, name, value)
    film, file = shelf.dvr / f"{UID}/rock-tv/0.ts", shelf.program.vhost / "conf/rock-tv/dvr.json"
    wanted = file.read_text()
    for text in ("", "[]", '{"quota_mb": 100}'):
        file.write_text(text)
        for _ in range(2):
            shelf.look()
            clock.ahead += 400
        assert film.exists()
    said = capsys.readouterr().out
    assert said.count("dvr.json cannot be read, so its store is kept") == 3
    file.unlink()
    shelf.look()
    clock.ahead += 250
    shelf.look()
    assert film.exists()
    # It counts from anew, once it has been there.
    file.write_text(wanted)
    shelf.look()
    file.unlink()
    clock.ahead += 100
    shelf.look()
    assert film.exists()
    clock.ahead += 301
    shelf.look()
    assert not film.exists()


def test_stores_are_counted_in_turn_whatever_their_names_are(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    stores(shelf, "a-tv", "b-tv", "z-tv", quota=100)
    monkeypatch.setitem(shelf.helper.MOST, "measure", 1)
    counted: list[str] = []
    child = shelf.helper.as_wowza
    monkeypatch.setattr(shelf.helper, "as_wowza", lambda work: (counted.append(work.args[0].name), child(work))[1])
    shelf.look()
    assert counted[:3] == ["a-tv", "b-tv", "z-tv"]


def test_a_full_store_is_not_forgotten_while_there_is_no_place_to_put_it_aside(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores(shelf, "rock-tv")
    monkeypatch.setattr(shelf.helper, "COUNT_SECONDS", 60.0)
    monkeypatch.setattr(shelf.helper.application.Rest, "done", lambda *_arguments: None)
    monkeypatch.setitem(shelf.helper.MOST, "dvr", 0)
    shelf.look()
    assert (shelf.dvr / f"{UID}/rock-tv").is_dir()
    monkeypatch.setitem(shelf.helper.MOST, "dvr", 1)
    shelf.look()
    assert not (shelf.dvr / f"{UID}/rock-tv").exists()


def test_a_store_that_cannot_be_counted_has_reached_its_limit_the_second_time(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_folder: Path) -> int:
        raise OSError("it is too deep")

    stores(shelf, "rock-tv", quota=100)
    clock = Clock()
    for name, value in (("time", clock), ("COUNT_SECONDS", 60.0), ("size_of", fail)):
        monkeypatch.setattr(shelf.helper, name, value)
    monkeypatch.setattr(shelf.helper.application.Rest, "done", lambda *_arguments: None)
    shelf.look()
    assert (shelf.dvr / f"{UID}/rock-tv").is_dir()
    assert capsys.readouterr().out == "rock-tv (nDVR): its store cannot be counted: it is too deep\n"
    clock.ahead += 61
    shelf.look()
    assert not (shelf.dvr / f"{UID}/rock-tv").exists()


def test_a_customers_folder_that_a_child_removes_meanwhile_is_none(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uid in (UID, UID + 1):
        (shelf.dvr / f"{uid}/rock-tv").mkdir(parents=True)
    listed = shelf.helper.listed

    def removed_after(place: Path) -> list[Path]:
        found: list[Path] = listed(place)
        if place == shelf.dvr:
            shutil.rmtree(shelf.dvr / f"{UID}")
        return found

    monkeypatch.setattr(shelf.helper, "listed", removed_after)
    assert shelf.helper.folders(shelf.dvr) == [(UID + 1, shelf.dvr / f"{UID + 1}/rock-tv")]


@pytest.mark.parametrize("uid", [0, 1000, 199999, 300000])
def test_only_a_customers_user_is_become(shelf: Shelf, uid: int) -> None:
    with pytest.raises(ValueError, match="no customer's number"):
        shelf.helper.as_customer(uid, lambda: 1)


def test_what_fails_there_is_told_here(shelf: Shelf) -> None:
    def fail() -> int:
        raise OSError("the disk is full")

    child = shelf.helper.as_customer(UID, fail)
    time.sleep(0.5)
    with pytest.raises(OSError, match="the disk is full"):
        child.said()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"more": "x"}, "bad field more"),
        ({"segmentDuration": "4000"}, "bad field segmentDuration"),
        ({"segmentDuration": True}, "bad field segmentDuration"),
        ({"segmentDuration": 60}, "in milliseconds"),
        ({"fileFormat": "AVI"}, "fileFormat"),
        ({"segmentationType": "ByHour"}, "segmentationType"),
        ({"outputPath": "/nowhere/at/all"}, "outputPath is no folder"),
        ({"recorderName": "other"}, "called otherwise"),
    ],
)
def test_a_recorder_that_there_is_not_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    good = {
        "recorderName": "live",
        "outputPath": str(tmp_path),
        "fileFormat": "MP4",
        "segmentationType": "SegmentByDuration",
        "segmentDuration": 4000,
    }
    assert fault_of("live", good) == ""
    assert said in fault_of("live", {**good, **changes})
