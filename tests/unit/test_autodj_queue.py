"""The queue of a station: what plays next where its owner wants something, once, whoever restarts meanwhile."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from streamfleet_autodj import __main__ as shell
from streamfleet_autodj import eco, index
from streamfleet_autodj.chooser import State, catch_up, choose
from streamfleet_autodj.queued import REMEMBERED, Item, Queue

from tests.doubles.panel import playlist

NOW = 1_795_000_000.0
ALWAYS = [{"days": None, "start": "00:00", "end": "00:00"}]


def name(number: int) -> str:
    return f"{number:032x}"


class Studio:
    """A station's folders with a library of small files, whose sound a stand-in for ffprobe knows."""

    def __init__(self, root: Path) -> None:
        self.settings, self.data, self.media, self.index = (
            root / name for name in ("settings", "data", "media", "index")
        )
        for folder in (self.settings, self.data, self.media, self.index):
            folder.mkdir()
        self.run = "first"
        self.configure(playlist("day", folder="day", order="sequential"))
        for number in range(5):
            self.add(f"day/{number}.mp3")

    def configure(self, *playlists: dict[str, Any]) -> None:
        data = {"library": str(self.media), "index": str(self.index), "timezone": "UTC", "seed": 5}
        (self.settings / "settings.json").write_text(json.dumps(data))
        (self.settings / "playlists.json").write_text(json.dumps(playlists))

    def add(self, path: str, content: bytes = b"sound") -> None:
        place = self.media / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def wish(self, *paths: str, skip: int = 0) -> None:
        """What the panel says: entry number n is of the n-th path that was ever named."""
        items = [{"id": name(sum(map(ord, path))), "path": path} for path in paths]
        (self.settings / "queue.json").write_text(json.dumps({"skip": skip, "items": items}))

    def station(self) -> shell.Station:
        return shell.Station(self.settings, self.data, self.run)

    def _of(self, request: str) -> tuple[int, str]:
        number, link = re.findall(r'streamfleet_track="(\d+)"', request)[0], request.rpartition(":")[2]
        return int(number), os.fspath(Path(link).readlink().relative_to(self.media))

    def next(self) -> tuple[int, str]:
        """Number and path of the next track."""
        return self._of(self.station().next(NOW))

    def again(self) -> tuple[int, str] | None:
        """The same, instead of what is ready; None where that stays."""
        request = self.station().again(NOW)
        return self._of(request) if request else None

    def play(self, count: int) -> list[str]:
        """So many tracks, one after the other."""
        paths = []
        for _ in range(count):
            number, path = self.next()
            self.station().started(number, NOW)
            paths.append(path)
        return paths

    def told(self) -> dict[str, tuple[str, str]]:
        """What is told of every path that waits or did."""
        wanted = json.loads((self.settings / "queue.json").read_text())["items"]
        paths = {item["id"]: item["path"] for item in wanted}
        items = json.loads((self.data / "queue.json").read_text())["items"]
        return {paths[item["id"]]: (item["state"], item["message"]) for item in items}


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    def run(argv: list[str], timeout: float) -> tuple[str, str]:
        path = Path(next(word for word in argv if word.startswith("file:")).removeprefix("file:"))
        if b"sound" not in path.read_bytes():
            return "{}", "Invalid data found"
        return json.dumps({"streams": [{"codec_type": "audio"}], "format": {"duration": "180"}}), ""

    monkeypatch.setattr(index, "_run", run)
    return Studio(tmp_path)


def test_it_comes_before_the_rotation_once_and_in_order(studio: Studio) -> None:
    studio.add("x/a.mp3")
    studio.add("x/b.mp3")
    studio.wish("x/b.mp3", "x/a.mp3")
    assert studio.play(5) == ["x/b.mp3", "x/a.mp3", "day/0.mp3", "day/1.mp3", "day/2.mp3"]
    assert studio.told() == {"x/b.mp3": ("played", ""), "x/a.mp3": ("played", "")}


def test_the_track_that_is_ready_makes_room_and_is_not_lost(studio: Studio) -> None:
    studio.add("x/a.mp3")
    playing, _ = studio.next()
    studio.station().started(playing, NOW)
    ready, path = studio.next()
    assert path == "day/1.mp3"
    studio.wish("x/a.mp3")
    number, path = studio.again() or (0, "")
    assert (number > ready, path) == (True, "x/a.mp3")
    assert studio.told() == {"x/a.mp3": ("waiting", "")}
    # The player has it now: nobody else gets it, and asking once more changes nothing.
    assert studio.again() is None
    studio.station().started(number, NOW)
    assert studio.told() == {"x/a.mp3": ("played", "")}
    assert studio.play(2) == ["day/1.mp3", "day/2.mp3"]


def test_what_is_taken_out_while_it_is_ready_is_not_played(studio: Studio) -> None:
    studio.add("x/a.mp3")
    studio.play(2)
    studio.wish("x/a.mp3")
    assert studio.next()[1] == "x/a.mp3"
    studio.wish()
    number, path = studio.again() or (0, "")
    assert path == "day/2.mp3"
    studio.station().started(number, NOW)
    assert studio.play(2) == ["day/3.mp3", "day/4.mp3"]
    assert studio.told() == {}


def test_what_comes_before_it_takes_its_place(studio: Studio) -> None:
    for path in ("x/a.mp3", "x/b.mp3"):
        studio.add(path)
    studio.play(1)
    studio.wish("x/a.mp3")
    assert studio.next()[1] == "x/a.mp3"
    studio.wish("x/b.mp3", "x/a.mp3")
    number, path = studio.again() or (0, "")
    assert path == "x/b.mp3"
    studio.station().started(number, NOW)
    assert studio.play(2) == ["x/a.mp3", "day/1.mp3"]


def test_a_track_that_begins_while_it_makes_room_is_the_one_that_was_played(studio: Studio) -> None:
    """The player was quicker than the answer."""
    studio.add("x/a.mp3")
    studio.play(1)
    studio.wish("x/a.mp3")
    begun, path = studio.next()
    assert path == "x/a.mp3"
    studio.wish()
    assert studio.again() is not None
    studio.station().started(begun, NOW)
    studio.wish("x/a.mp3")
    assert studio.told() == {}  # of nothing that the panel named then
    assert studio.next()[1] != "x/a.mp3"


def test_what_was_ready_when_the_player_ended_is_played_by_the_next_one(studio: Studio) -> None:
    studio.add("x/a.mp3")
    studio.play(1)
    studio.wish("x/a.mp3")
    assert studio.next()[1] == "x/a.mp3"
    assert studio.next()[1] == "day/1.mp3", "it was given once to this player"
    studio.run = "second"
    assert studio.play(2) == ["x/a.mp3", "day/2.mp3"]
    studio.run = "third"
    assert "x/a.mp3" not in studio.play(4)


def test_what_had_begun_when_the_player_ended_is_not_played_again(studio: Studio) -> None:
    studio.add("x/a.mp3")
    studio.wish("x/a.mp3")
    number, path = studio.next()
    assert path == "x/a.mp3"
    studio.station().started(number, NOW)
    studio.run = "second"
    assert studio.again() is not None
    assert "x/a.mp3" not in studio.play(4)


def test_jingles_and_schedules_go_first(studio: Studio) -> None:
    for path in ("x/a.mp3", "ids/i.mp3", "late/l.mp3"):
        studio.add(path)
    day = playlist("day", folder="day", order="sequential")
    jingle = playlist("ids", type="jingle", folder="ids", every_tracks=2)
    studio.configure(day, jingle)
    assert studio.play(2) == ["day/0.mp3", "day/1.mp3"]
    studio.wish("x/a.mp3")
    # A queued track counts as one, too.
    assert studio.play(4) == ["ids/i.mp3", "x/a.mp3", "day/2.mp3", "ids/i.mp3"]
    studio.add("x/b.mp3")
    studio.wish("x/b.mp3")
    studio.configure(day, playlist("late", type="scheduled", folder="late", active=ALWAYS))
    assert studio.play(2) == ["late/l.mp3", "late/l.mp3"]
    assert studio.told() == {"x/b.mp3": ("waiting", "")}
    studio.configure(day)
    assert studio.play(1) == ["x/b.mp3"]


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("none.mp3", None, "is not in the media library"),
        ("../settings/x.mp3", None, "is not in the media library"),
        (".hidden/x.mp3", b"sound", "is not in the media library"),
        ("cover.jpg", b"sound", "is not in the media library"),
        ("junk.mp3", b"not music", "holds no sound that can be played"),
    ],
)
def test_what_cannot_be_played_is_refused_and_told(
    studio: Studio, path: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        studio.add(path, content)
    studio.wish(path)
    assert studio.play(2) == ["day/0.mp3", "day/1.mp3"]
    assert studio.told() == {path: ("failed", message)}
    # For good: what was refused is asked for anew.
    if ".." not in path:
        studio.add(path)
    assert studio.play(1) == ["day/2.mp3"]


def test_links_are_not_followed(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "secret.mp3").write_bytes(b"sound")
    (studio.media / "link.mp3").symlink_to(tmp_path / "secret.mp3")
    (studio.media / "linked").symlink_to(tmp_path)
    studio.wish("link.mp3", "linked/secret.mp3")
    assert studio.play(1) == ["day/0.mp3"]
    assert {state for state, _ in studio.told().values()} == {"failed"}


def test_a_file_that_goes_while_it_waits_is_refused(studio: Studio) -> None:
    studio.add("x/a.mp3")
    studio.configure(playlist("late", type="scheduled", folder="day", active=ALWAYS))
    studio.wish("x/a.mp3")
    studio.play(1)
    assert studio.told() == {"x/a.mp3": ("waiting", "")}
    (studio.media / "x/a.mp3").unlink()
    studio.play(1)
    assert studio.told() == {"x/a.mp3": ("failed", "is not in the media library")}


def test_what_the_player_passes_over_is_told(studio: Studio) -> None:
    studio.add("x/a.mp3")
    studio.wish("x/a.mp3")
    assert studio.next()[1] == "x/a.mp3"
    studio.play(1)
    assert studio.told() == {"x/a.mp3": ("failed", "could not be played")}


def test_the_same_recording_twice_is_played_twice(studio: Studio) -> None:
    studio.add("x/a.mp3")
    items = [{"id": name(number), "path": "x/a.mp3"} for number in (1, 2)]
    (studio.settings / "queue.json").write_text(json.dumps({"skip": 0, "items": items}))
    assert studio.play(3) == ["x/a.mp3", "x/a.mp3", "day/0.mp3"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"items": 7}', '{"items": [7, {}, {"id": "x", "path": "day/4.mp3"}]}']
)
def test_a_queue_that_cannot_be_read_is_none(studio: Studio, content: str) -> None:
    (studio.settings / "queue.json").write_text(content)
    assert studio.play(2) == ["day/0.mp3", "day/1.mp3"]


@pytest.mark.parametrize("known", [7, [], {name(1): 7}, {name(1): {}}, {name(1): {"state": "x", "number": "y"}}])
def test_a_memory_that_makes_no_sense_is_none(known: Any) -> None:
    queue = Queue([{"id": name(1), "path": "a.mp3"}], known, "run")
    assert queue.waiting() == [Item(name(1), "a.mp3")]
    queue.started(name(1), 3)
    assert queue.waiting() == []


def test_memory_is_bounded_and_keeps_what_is_named() -> None:
    queue = Queue([{"id": name(0), "path": "a.mp3"}], {}, "run")
    for number in range(REMEMBERED + 50):
        queue.failed(name(number), "!" * 999)
    known = queue.as_dict()
    assert len(known) == REMEMBERED + 1
    assert {name(0), name(REMEMBERED + 49)} <= set(known)
    assert max(len(entry["message"]) for entry in known.values()) == 200


def test_an_empty_queue_changes_no_choice() -> None:
    files = [f"a/{number}.mp3" for number in range(9)]
    playlists = [playlist("a", folder="a")]
    one, other = State(), State()
    settings = {"seed": 3}
    gone = [Item(name(1), "gone.mp3")]
    for _ in range(30):
        assert choose(settings, playlists, files, one, NOW) == choose(settings, playlists, files, other, NOW, gone)


def test_the_eco_class_answers_with_what_is_ready_or_what_comes_instead(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads((studio.settings / "settings.json").read_text())
    settings["feeds"] = [{"format": "mp3", "bitrate_kbps": 64}]
    (studio.settings / "settings.json").write_text(json.dumps(settings))
    odd = {"x/late.mp3": "has 320 kbit/s, more than the 64 of the mount"}
    monkeypatch.setattr(shell.Verdicts, "_look", lambda _self, path: odd.get(path))
    for path in ("x/a.mp3", "x/late.mp3", "x/b.ogg"):
        studio.add(path)
    first = studio.station().eco_next(NOW)
    assert first is not None
    studio.station().started(first["number"], NOW)
    ready = studio.station().eco_next(NOW)
    assert studio.station().eco_next(NOW, again=True) == ready
    studio.wish("x/late.mp3", "x/b.ogg", "x/a.mp3")
    instead = studio.station().eco_next(NOW, again=True)
    assert instead is not None
    assert Path(instead["file"]).readlink() == studio.media / "x/a.mp3"
    assert studio.told() == {
        "x/late.mp3": ("failed", odd["x/late.mp3"]),
        "x/b.ogg": ("failed", "is not called .mp3"),
        "x/a.mp3": ("waiting", ""),
    }


def eco_studio(studio: Studio, monkeypatch: pytest.MonkeyPatch, odd: dict[str, str]) -> None:
    """Make it one of the eco class; ``odd``: why files cannot be sent."""
    settings = json.loads((studio.settings / "settings.json").read_text())
    settings["feeds"] = [{"format": "mp3", "bitrate_kbps": 64}]
    (studio.settings / "settings.json").write_text(json.dumps(settings))
    monkeypatch.setattr(shell.Verdicts, "_look", lambda _self, path: odd.get(path))


def test_what_there_was_no_time_for_is_not_refused(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    eco_studio(studio, monkeypatch, {"x/odd.mp3": "is no MP3"})
    for path in ("x/odd.mp3", "x/good.mp3"):
        studio.add(path)
    studio.wish("x/odd.mp3", "x/good.mp3")
    # Time for one file a question.
    monkeypatch.setattr(shell, "LOOKING_SECONDS", -1.0)
    station = studio.station()
    assert station.eco_next(NOW) is None
    assert station.unseen is True
    assert studio.told() == {"x/odd.mp3": ("failed", "is no MP3")}
    found = studio.station().eco_next(NOW)
    assert found is not None
    assert Path(found["file"]).readlink() == studio.media / "x/good.mp3"
    assert found["more"] is False
    assert studio.told()["x/good.mp3"] == ("waiting", "")


def test_who_asks_is_told_that_not_all_was_looked_at(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until it was: otherwise what was queued is known only when the next track is chosen."""
    monkeypatch.setenv("STREAMFLEET_AUTODJ_SETTINGS", str(studio.settings))
    monkeypatch.setenv("STREAMFLEET_AUTODJ_DATA", str(studio.data))
    monkeypatch.setenv("INVOCATION_ID", studio.run)
    monkeypatch.setattr(shell, "QUEUE_SECONDS", -1.0)
    for number in range(3):
        studio.add(f"x/{number}.mp3")
    studio.play(1)
    studio.next()
    studio.wish(*(f"x/{number}.mp3" for number in range(3)))
    answers = []
    for _ in range(4):
        assert shell.main(["again"]) == 0
        answers.append(capsys.readouterr().out.splitlines())
    assert [words[0] for words in answers] == ["more", "more", "done", "done"]
    # The first has been chosen by the first answer, and stays.
    assert ["x" if words[1] else "" for words in answers] == ["x", "", "", ""]
    assert {state for state, _ in studio.told().values()} == {"waiting"}


@pytest.mark.parametrize("is_taken_out", [False, True])
def test_a_rotation_track_that_begins_while_it_makes_room_is_not_played_twice(
    studio: Studio, is_taken_out: bool
) -> None:
    """The player was quicker than the answer."""
    studio.add("x/a.mp3")
    studio.play(1)
    begun, path = studio.next()
    assert path == "day/1.mp3"
    studio.wish("x/a.mp3")
    number, path = studio.again() or (0, "")
    assert path == "x/a.mp3"
    studio.station().started(begun, NOW)
    if is_taken_out:
        # What comes instead of what was queued knows, too.
        studio.wish()
        number, path = studio.again() or (0, "")
        assert path == "day/2.mp3"
    studio.station().started(number, NOW)
    rest = ["day/3.mp3", "day/4.mp3"] if is_taken_out else ["day/2.mp3", "day/3.mp3"]
    assert studio.play(2) == rest
    state = json.loads((studio.data / "state.json").read_text())
    assert not any("change" in entry for entry in state["chosen"])


@pytest.mark.parametrize("seed", range(20))
def test_a_choice_that_was_taken_back_and_played_counts_as_if_it_never_had_been(seed: int) -> None:
    files = [f"{folder}/{number}.mp3" for folder in "abj" for number in range(6)]
    playlists = [
        playlist("a", folder="a", weight=2),
        playlist("b", folder="b", order="sequential"),
        playlist("j", type="jingle", folder="j", every_tracks=3),
    ]
    settings, queued = {"seed": seed}, [Item(name(1), "b/5.mp3")]
    before = State()
    for _ in range(seed):
        choose(settings, playlists, files, before, NOW)
    after, state = State.of(before.as_dict()), State.of(before.as_dict())
    choose(settings, playlists, files, after, NOW)
    # A jingle that was due is due again, and is the same; so only the queued one that comes instead of a track matters.
    if choose(settings, playlists, files, state, NOW, queued).queued is None:
        return
    catch_up(state, before, after)
    assert (state.positions, state.credits) == (after.positions, after.credits)
    assert {name: jingle.tracks for name, jingle in state.jingles.items()} == {
        name: jingle.tracks + 1 for name, jingle in after.jingles.items()
    }
    assert sorted(state.recent) == sorted([*after.recent, "b/5.mp3"][-20:])


def test_both_players_look_at_the_same_file() -> None:
    script = Path(shell.__file__).parents[1].joinpath("station.liq").read_text()
    assert script.count('"queue.json"') == 2
    assert '"queue.json"' in Path(eco.__file__).read_text()
