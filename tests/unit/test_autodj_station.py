"""The small shell around the chooser: requests, state, history, index. Against folders and a stand-in for ffmpeg."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from streamfleet_autodj import __main__ as shell
from streamfleet_autodj import history, index, library

from tests.doubles.panel import playlist

NOW = 1_795_000_000.0
#: The end of what ebur128 says.
SUMMARY = """[Parsed_ebur128_0 @ 0x5] Summary:

  Integrated loudness:
    I:         -19.5 LUFS
    Threshold: -29.5 LUFS

  Sample peak:
    Peak:       -2.5 dBFS
"""
REQUEST = re.compile(
    r'annotate:streamfleet_track="(\d+)",streamfleet_short="(yes|no)",streamfleet_smart="(yes|no)",'
    r'liq_cross_duration="([0-9.]+)",liq_amplify="(-?[0-9.]+) dB"(?:,title="([^"\\]*)")?:(/\S+)'
)


class Folders:
    """A station's folders, and what the stand-in for ffprobe and ffmpeg says of its files."""

    def __init__(self, root: Path) -> None:
        self.settings, self.data, self.media, self.index = (
            root / name for name in ("settings", "data", "media", "index")
        )
        for folder in (self.settings, self.data, self.media, self.index):
            folder.mkdir(exist_ok=True)
        self.say = {"seconds": 180.0, "title": "Title", "artist": "Artist"}
        self.configure()

    def configure(self, *playlists: dict[str, Any], **settings: Any) -> None:
        data = {
            "library": str(self.media),
            "index": str(self.index),
            "timezone": "UTC",
            "crossfade_seconds": 3,
            "smart_crossfade": True,
            "minimum_track_seconds": 10,
            "seed": 5,
            **settings,
        }
        (self.settings / "settings.json").write_text(json.dumps(data))
        (self.settings / "playlists.json").write_text(json.dumps(playlists))

    def add(self, path: str, content: bytes = b"sound") -> Path:
        place = self.media / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place

    def station(self) -> shell.Station:
        return shell.Station(self.settings, self.data)

    def next(self, now: float = NOW) -> tuple[str, ...]:
        """The parts of the next request: number, short, smart, cross, gain, title, and the file behind the link."""
        text = self.station().next(now)
        match = REQUEST.fullmatch(text)
        assert match, text
        return (*match.groups()[:6], os.fspath(Path(match[7]).readlink().relative_to(self.media)))

    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.data / "history.jsonl").read_text().splitlines()]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    made = Folders(tmp_path)

    def run(argv: list[str], timeout: float) -> tuple[str, str]:
        assert timeout > 0
        assert argv[argv.index("-protocol_whitelist") + 1] == "file"
        path = Path(next(word for word in argv if word.startswith("file:")).removeprefix("file:"))
        if b"sound" not in path.read_bytes():
            return "{}", "Invalid data found"
        if argv[0] == "ffmpeg":
            return "", SUMMARY
        tags = {key: value for key, value in made.say.items() if key != "seconds" and value is not None}
        data = {"streams": [{"codec_type": "audio"}], "format": {"duration": str(made.say["seconds"]), "tags": tags}}
        return json.dumps(data), ""

    monkeypatch.setattr(index, "_run", run)
    return made


def test_a_request_has_our_annotations_and_our_name_of_the_file(folders: Folders) -> None:
    folders.add("a.mp3")
    assert folders.next() == ("1", "no", "yes", "3.00", "0.00", None, "a.mp3")
    # Measured by now: brought to -16 LUFS, but for the peak.
    assert folders.station().measure() == 1
    assert folders.next() == ("2", "no", "yes", "3.00", "1.50", None, "a.mp3")
    assert folders.station().measure() == 0


def test_settings_count_from_the_next_track_on(folders: Folders) -> None:
    folders.add("a.mp3")
    folders.configure(crossfade_seconds=7.5, smart_crossfade=False)
    assert folders.next()[1:4] == ("no", "no", "7.50")
    folders.say["seconds"] = 9.0
    assert folders.next()[1:4] == ("yes", "no", "0.00")
    folders.configure(minimum_track_seconds=0)
    assert folders.next()[1:4] == ("no", "yes", "3.00")
    folders.configure(minimum_track_seconds=0, crossfade_seconds=15)
    assert folders.next()[3] == "4.50", "no more than half of the track"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("plain", "plain"),
        ('a,b="c":d#{1}', "a,b='c':d# {1}"),
        ('#"{1}##{2}#\\{3}', "#'{1}## {2}#/{3}"),
        ("back\\slash", "back/slash"),
        ("two\nlines\x1b", "two lines"),
        ("bad\udcff", "bad?"),
        ("$(reboot) `id`", "$(reboot) `id`"),
    ],
)
def test_the_name_of_a_file_without_a_title_stays_text(folders: Folders, name: str, title: str) -> None:
    folders.say.update(title=None, artist=None)
    folders.add(f"{name}.mp3")
    assert folders.next()[5:] == (title, f"{name}.mp3")
    link = folders.station().next(NOW).rpartition(":")[2]
    assert re.fullmatch(rf"{re.escape(str(folders.data))}/next/2\.mp3", link)


def test_what_cannot_be_played_is_passed_over(folders: Folders, tmp_path: Path) -> None:
    folders.add("empty.mp3", b"")
    folders.add("junk.mp3", b"not music")
    folders.add("cover.jpg")
    folders.add(".hidden/x.mp3")
    (tmp_path / "secret").write_bytes(b"sound")
    (folders.media / "link.mp3").symlink_to(tmp_path / "secret")
    (folders.media / "linked").symlink_to(tmp_path)
    os.mkfifo(folders.media / "pipe.mp3")
    assert folders.station().next(NOW) == ""
    folders.add("good.mp3")
    assert {folders.next()[6] for _ in range(6)} == {"good.mp3"}
    folders.station().measure()
    entry = library.read_index(folders.index / "index.json")["junk.mp3"]
    assert entry["bad"] is True
    folders.next()
    told = json.loads((folders.data / "passed_over.json").read_text())
    assert {"path": "junk.mp3", "reason": "holds no sound that can be played"} in told["items"]
    # Uploaded anew, it is looked at again.
    folders.add("junk.mp3", b"sound after all")
    assert {folders.next()[6] for _ in range(6)} == {"good.mp3", "junk.mp3"}


def test_what_is_on_the_air_is_noted(folders: Folders) -> None:
    folders.configure(playlist("all", folder="."))
    folders.add("a/b.mp3")
    number = int(folders.next()[0])
    folders.station().started(number, NOW)
    folders.station().started(999, NOW)
    assert folders.history() == [
        {"time": "2026-11-18T11:06:40Z", "playlist": "all", "path": "a/b.mp3", "title": "Title", "artist": "Artist"}
    ]


def test_the_history_does_not_grow_for_ever(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_BYTES", 1000)
    folders.add("a.mp3")
    for _ in range(60):
        folders.station().started(int(folders.next()[0]), NOW)
    kept = sorted(path.name for path in folders.data.glob("history*.jsonl"))
    assert kept == ["history.1.jsonl", "history.2.jsonl", "history.3.jsonl", "history.jsonl"]
    assert all(path.stat().st_size < 1300 for path in folders.data.glob("history*.jsonl"))
    assert len(list((folders.data / "next").iterdir())) <= shell.KEPT + 1


def test_a_schedule_is_looked_up_for_when_the_track_will_begin(folders: Folders) -> None:
    """One track plays and one is ready: the next one is heard only after both."""
    evening = [{"days": None, "start": "11:12", "end": "23:00"}]  # NOW is 11:06:40 UTC
    folders.configure(playlist("day", folder="day"), playlist("late", type="scheduled", folder="late", active=evening))
    folders.add("day/a.mp3")
    folders.add("late/b.mp3")
    first = folders.next()
    assert first[6] == "day/a.mp3"
    folders.station().started(int(first[0]), NOW)
    assert folders.next()[6] == "day/a.mp3"  # begins at 11:09:40
    assert folders.next()[6] == "late/b.mp3"  # begins at 11:12:40


@pytest.mark.parametrize("name", ["state.json", "index.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": 7, "chosen": [1], "playing": []}', b"\xff\xfe"])
def test_damaged_files_stop_nothing(folders: Folders, name: str, content: bytes) -> None:
    folders.add("a.mp3")
    (folders.index if name == "index.json" else folders.data).joinpath(name).write_bytes(content)
    assert folders.next()[6] == "a.mp3"
    folders.station().started(1, NOW)


def test_the_index_forgets_what_is_gone_and_one_process_is_enough(folders: Folders) -> None:
    place = folders.add("a.mp3")
    folders.add("b.mp3")
    assert folders.station().measure() == 2
    place.unlink()
    assert folders.station().measure() == 0
    assert set(library.read_index(folders.index / "index.json")) == {"b.mp3"}
    with (folders.index / "index.lock").open("w") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        folders.add("c.mp3")
        assert folders.station().measure() == 0


def test_what_one_station_has_measured_all_of_its_customer_know(folders: Folders, tmp_path: Path) -> None:
    folders.add("a.mp3")
    assert folders.station().measure() == 1
    (tmp_path / "other").mkdir()
    other = shell.Station(folders.settings, tmp_path / "other")
    assert other.measure() == 0
    assert 'liq_amplify="1.50 dB"' in other.next(NOW)


@pytest.mark.parametrize(
    ("lufs", "peak", "gain"),
    [
        (-16.0, -1.0, 0.0),
        (-10.0, 0.0, -6.0),
        (-20.0, -10.0, 4.0),
        (-20.0, -3.0, 2.0),
        (-20.0, 0.5, 0.0),
        (-45.0, -40.0, 12.0),
        (-70.0, -91.0, 0.0),
        (None, None, 0.0),
    ],
)
def test_gain(lufs: float | None, peak: float | None, gain: float) -> None:
    assert index.gain(lufs, peak) == gain


def test_a_station_without_files_begins_no_measuring(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(shell.subprocess, "Popen", lambda argv, **_options: begun.append(argv))
    monkeypatch.setenv("STREAMFLEET_AUTODJ_SETTINGS", str(folders.settings))
    monkeypatch.setenv("STREAMFLEET_AUTODJ_DATA", str(folders.data))
    assert shell.main(["next"]) == 0
    assert (capsys.readouterr().out, begun) == ("\n", [])
    folders.add("a.mp3")
    assert shell.main(["next"]) == 0
    assert REQUEST.fullmatch(capsys.readouterr().out.strip())
    assert [argv[-1] for argv in begun] == ["index"]
