"""Recordings of Wowza's channels: asked for again and again, given to their customers, and within their limits."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from demo.media import video_publisher
from tests.doubles.wowza.recorder import fault_of
from tests.unit.test_wowza_double import Program, application, program
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
            ("INSTANCES", program.vhost / "conf"),
            ("SPOOL", self.spool),
            ("LIBRARIES", folder / "media"),
            ("DVR", self.dvr),
            ("as_wowza", lambda work: work()),
            ("QUIET", 0.0),
            ("DVR_SECONDS", 0.0),
            ("SHARE", 1000.0),
            ("UNITS", folder / "units"),
        ):
            monkeypatch.setattr(self.helper, name, value)
        monkeypatch.setattr(os, "geteuid", lambda: 1)
        self.recordings = self.helper.Recordings()
        self.program = program

    def want(self, minutes: int = 1, quota: int = 100, running: bool = True) -> None:
        """What the channel's file says."""
        wanted = {"uid": UID, "quota_mb": quota, "minutes": minutes, "running": running}
        (self.program.vhost / "conf/rock-tv/record.json").write_text(json.dumps(wanted))

    def given(self) -> list[Path]:
        """What the customer has."""
        return sorted((self.library / "recordings/rock-tv").glob("*.mp4"))


@pytest.fixture
def shelf(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    program.put()
    return Shelf(program, tmp_path, monkeypatch)


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
                shelf.recordings.look()
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
        shelf.recordings.look()
        assert program.ask(f"{RECORDERS}/live")[1]["recorderState"] == "Waiting for stream"
        # One that is not to be recorded any more has none; whose its files are its unit says.
        unit = shelf.helper.UNITS / "streamfleet-wowza@rock-tv.service.d"
        unit.mkdir(parents=True)
        (unit / "10-user.conf").write_text(f"[Service]\nUser=sf{UID}\n")
        (program.vhost / "conf/rock-tv/record.json").unlink()
        (shelf.spool / "rock-tv/live_late.mp4").write_bytes(b"late")
        shelf.recordings.look()
        assert program.ask(f"{RECORDERS}/live")[0] == 404
        assert b"late" in [path.read_bytes() for path in shelf.given()]
        shelf.recordings.look()
        assert list(shelf.spool.iterdir()) == []
        shelf.want()
        shelf.recordings.look()
        assert program.ask(f"{RECORDERS}/live")[0] == 200
        # At its limit there is none, and that is said once.
        shelf.want(quota=0)
        for _ in range(2):
            shelf.recordings.look()
            assert program.ask(f"{RECORDERS}/live")[0] == 404
    assert capsys.readouterr().out.count("have reached disk_quota_mb") == 1


RECORDERS = "/v2/servers/_defaultServer_/vhosts/_defaultVHost_/applications/rock-tv/instances/_definst_/streamrecorders"


def seconds(shelf: Shelf) -> Any:
    """As the program asks for recordings, but of seconds instead of minutes."""
    start = shelf.helper.Recordings.start

    def shorter(rest: Any, slug: str, minutes: int) -> None:
        ask = rest.ask

        def asked(method: str, path: str, body: str) -> Any:
            wanted = json.loads(body)
            assert wanted["segmentDuration"] == minutes * 60_000
            return ask(method, path, json.dumps({**wanted, "segmentDuration": 4000}))

        rest.ask = asked
        start(rest, slug, minutes)

    return shorter


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
                shelf.recordings.look()
                assert encoder.poll() is None
                (folder / "dvr.json").write_text('{"quota_mb": 0}')
                shelf.recordings.look()
                # It begins anew, and whoever sends has to come back.
                assert encoder.wait(10) != 0
            finally:
                encoder.kill()
        assert again(program) == []
        (folder / "dvr.json").unlink()
        (shelf.dvr / "rock-tv/rock-tv").mkdir(parents=True)
        shelf.recordings.look()
        assert list(shelf.dvr.iterdir()) == []


def again(program: Program) -> list[str]:
    """Segments of what was sent before."""
    status, text = program.list("playlist.m3u8?DVR")
    if status != 200:
        return []
    return [line for line in program.list(text.splitlines()[-1])[1].splitlines() if line.endswith(".ts")]


def test_nothing_of_a_customers_making_is_followed(shelf: Shelf, tmp_path: Path) -> None:
    shelf.want(running=False)
    outside, folder = tmp_path / "outside", shelf.spool / "rock-tv"
    outside.mkdir()
    folder.mkdir()
    (folder / "live_1.mp4").write_bytes(b"film")
    (shelf.library / "recordings").symlink_to(outside)
    shelf.recordings.look()
    assert (list(outside.iterdir()), [path.name for path in folder.iterdir()]) == ([], ["live_1.mp4"])
    (shelf.library / "recordings").unlink()
    # Nor of Wowza's.
    (tmp_path / "secret").write_text("secret")
    (folder / "live_2.mp4").symlink_to(tmp_path / "secret")
    shelf.recordings.look()
    assert [path.read_bytes() for path in shelf.given()] == [b"film"]
    (folder / "live_2.mp4").unlink()
    (shelf.library / "recordings/rock-tv/.x.part").write_bytes(b"")
    shelf.recordings.look()
    assert not folder.exists()


def test_what_is_left_of_a_channel_that_has_gone_is_removed(shelf: Shelf) -> None:
    for name in ("rock-tv", "gone-tv", "..."):
        (shelf.spool / name).mkdir()
    shelf.recordings.look()
    assert sorted(path.name for path in shelf.spool.iterdir()) == ["...", "rock-tv"]


@pytest.mark.parametrize("uid", [0, 1000, 199999, 300000])
def test_only_a_customers_user_is_become(shelf: Shelf, uid: int) -> None:
    with pytest.raises(ValueError, match="no customer's number"):
        shelf.helper.as_customer(uid, lambda: 1)


def test_what_fails_there_is_told_here(shelf: Shelf) -> None:
    def fail() -> int:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        shelf.helper.as_customer(UID, fail)


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
