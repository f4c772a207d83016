"""What an AutoDJ plays next: precedence, schedules, weights, shuffling, and the same order for the same seed."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamfleet_autodj.chooser import APART, State, choose, is_active

from tests.doubles.panel import playlist

#: Thursday 2026-11-26, 12:00 UTC.
NOON = datetime(2026, 11, 26, 12, tzinfo=ZoneInfo("UTC")).timestamp()
SETTINGS = {"seed": 1, "timezone": "UTC"}
FILES = sorted(
    [f"rock/{n:02}.mp3" for n in range(6)] + [f"jazz/{n:02}.mp3" for n in range(3)] + ["id/a.mp3", "id/b.mp3"]
)


def run(
    playlists: list[dict[str, Any]],
    count: int,
    files: list[str] = FILES,
    at: float = NOON,
    step: float = 180,
    settings: dict[str, Any] = SETTINGS,
    state: State | None = None,
) -> list[str]:
    """The paths of so many choices, ``step`` seconds apart, the state going through JSON as on a node."""
    state, paths = state or State(), []
    for number in range(count):
        choice = choose(settings, playlists, files, state, at + number * step)
        paths.append(choice.path if choice else "")
        state.__dict__.update(State.of(json.loads(json.dumps(state.as_dict()))).__dict__)
    return paths


def test_the_same_seed_clock_library_and_state_give_the_same_order() -> None:
    playlists = [
        playlist("rock", folder="rock", weight=3),
        playlist("jazz", folder="jazz", order="sequential"),
        playlist("id", type="jingle", folder="id", every_tracks=4),
    ]
    first, second = run(playlists, 60), run(playlists, 60)
    assert first == second
    assert run(playlists, 60, settings={**SETTINGS, "seed": 2}) != first
    # A restart in between changes nothing: what is remembered is all there is.
    state = State()
    assert run(playlists, 25, state=state) + run(playlists, 35, at=NOON + 25 * 180, state=state) == first


def test_precedence() -> None:
    rotation = playlist("rotation", folder="rock")
    news = playlist("news", type="scheduled", folder="jazz", active=[{"days": None, "start": "12:00", "end": "12:10"}])
    jingle = playlist("id", type="jingle", folder="id", every_tracks=2)
    paths = run([rotation, news, jingle], 9, step=150)
    assert [path.partition("/")[0] for path in paths[:9]] == [
        "jazz",
        "jazz",
        "id",
        "jazz",  # 12:07:30
        "rock",
        "id",
        "rock",
        "rock",
        "id",
    ]
    assert {path.partition("/")[0] for path in run([], 30)} == {"rock", "jazz", "id"}
    assert run([rotation], 5, files=[]) == [""] * 5


def test_without_music_the_library_is_played_but_not_its_jingles_as_such() -> None:
    jingle = playlist("id", type="jingle", folder="id", every_minutes=1000)
    assert {path.partition("/")[0] for path in run([jingle], 40)} == {"rock", "jazz"}
    assert set(run([jingle], 4, files=["id/a.mp3"])) == {"id/a.mp3"}


@pytest.mark.parametrize("off", [{"enabled": False}, {"folder": "nothing"}, {"active": []}])
def test_a_playlist_that_is_off_empty_or_out_of_time_is_passed_over(off: dict[str, Any]) -> None:
    playlists = [playlist("rock", **{"folder": "rock", **off}), playlist("jazz", folder="jazz")]
    assert {path.partition("/")[0] for path in run(playlists, 20)} == {"jazz"}


@pytest.mark.parametrize(("when", "due"), [({"every_tracks": 3}, [3, 7, 11]), ({"every_minutes": 10}, [4, 8])])
def test_jingles_come_when_they_are_due(when: dict[str, int], due: list[int]) -> None:
    playlists = [playlist("rock", folder="rock"), playlist("id", type="jingle", folder="id", **when)]
    paths = run(playlists, 12)
    assert [number for number, path in enumerate(paths) if path.startswith("id/")] == due


def test_two_jingles_do_not_keep_the_music_away() -> None:
    playlists = [playlist("rock", folder="rock")]
    playlists += [playlist(name, type="jingle", folder="id", every_tracks=1) for name in ("a", "b")]
    kinds = [path.partition("/")[0] for path in run(playlists, 20)]
    assert all("rock" in pair for pair in itertools.pairwise(kinds))
    assert "id" in kinds


def test_jingles_keep_to_their_own_hours() -> None:
    night = [{"days": None, "start": "22:00", "end": "06:00"}]
    playlists = [
        playlist("rock", folder="rock"),
        playlist("id", type="jingle", folder="id", every_tracks=1, active=night),
    ]
    assert not [path for path in run(playlists, 10) if path.startswith("id/")]
    assert [path for path in run(playlists, 10, at=NOON + 11 * 3600) if path.startswith("id/")]


def test_weights_are_shares_and_well_mixed() -> None:
    playlists = [playlist("rock", folder="rock", weight=3), playlist("jazz", folder="jazz", weight=1)]
    kinds = [path.partition("/")[0] for path in run(playlists, 400)]
    assert Counter(kinds) == {"rock": 300, "jazz": 100}
    assert all(Counter(kinds[n : n + 4]) == {"rock": 3, "jazz": 1} for n in range(0, 400, 4))


def test_every_track_of_a_shuffled_playlist_comes_once_a_round_in_another_order() -> None:
    files = [f"rock/{n:03}.mp3" for n in range(200)]
    paths = run([playlist("rock", folder=".")], 200, files=files)
    assert sorted(paths) == files
    assert paths != files
    state = State()
    rounds = [run([playlist("rock", folder=".")], 200, files=files, state=state) for _ in range(2)]
    assert rounds[0] != rounds[1]


@hypothesis.settings(deadline=None, max_examples=30)
@given(count=st.integers(1, 60), seed=st.integers(0, 2**31 - 1))
def test_no_track_comes_again_too_soon(count: int, seed: int) -> None:
    files = sorted(f"{n}.mp3" for n in range(count))
    paths = run([playlist("all", folder=".")], 3 * count + 5, files=files, settings={**SETTINGS, "seed": seed})
    apart = min(APART, count - 1)
    for number, path in enumerate(paths):
        assert path not in paths[max(0, number - apart) : number]


@pytest.mark.parametrize("count", [5, 25, 43])
def test_a_small_library_is_played_evenly_too(count: int) -> None:
    files = sorted(f"{n}.mp3" for n in range(count))
    played = Counter(run([playlist("all", folder=".")], 12 * count, files=files))
    assert set(played) == set(files)
    assert max(played.values()) - min(played.values()) <= 2, played


def test_sequential_order_is_that_of_the_list_and_survives_its_changes() -> None:
    listed = ["rock/03.mp3", "rock/01.mp3", "gone.mp3", "rock/03.mp3", "rock/05.mp3"]
    ordered = playlist("p", files=listed, order="sequential")
    assert run([ordered], 6) == [*(path for path in listed if path != "gone.mp3"), "rock/03.mp3", "rock/01.mp3"]
    state = State()
    assert run([ordered], 2, state=state)[-1] == "rock/01.mp3"
    changed = playlist("p", files=["rock/00.mp3", "rock/01.mp3", "rock/02.mp3"], order="sequential")
    assert run([changed], 2, state=state) == ["rock/02.mp3", "rock/00.mp3"]
    shorter = playlist("p", files=["rock/04.mp3"], order="sequential")
    assert run([shorter], 1, state=state) == ["rock/04.mp3"]


def test_a_folder_is_not_its_neighbour() -> None:
    files = ["rock/a.mp3", "rock/b/c.mp3", "rocksteady/x.mp3"]
    assert set(run([playlist("p", folder="rock")], 6, files=files)) == {"rock/a.mp3", "rock/b/c.mp3"}


def local(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("days", "start", "end", "when", "active"),
    [
        (None, "08:00", "10:00", "2026-11-26T08:00", True),
        (None, "08:00", "10:00", "2026-11-26T09:59", True),
        (None, "08:00", "10:00", "2026-11-26T10:00", False),
        (["fri"], "08:00", "10:00", "2026-11-26T09:00", False),
        (["thu"], "08:00", "10:00", "2026-11-26T09:00", True),
        ([], "08:00", "10:00", "2026-11-26T09:00", True),
        (["thu"], "22:00", "02:00", "2026-11-26T23:00", True),
        (["thu"], "22:00", "02:00", "2026-11-27T01:59", True),
        (["thu"], "22:00", "02:00", "2026-11-27T02:00", False),
        (["thu"], "22:00", "02:00", "2026-11-26T01:00", False),
        (["sun"], "22:00", "02:00", "2026-11-30T01:00", True),
        (["thu"], "00:00", "00:00", "2026-11-26T12:00", True),
        (["thu"], "00:00", "00:00", "2026-11-27T00:00", False),
    ],
)
def test_windows(days: list[str] | None, start: str, end: str, when: str, active: bool) -> None:
    assert is_active([{"days": days, "start": start, "end": end}], local(when)) is active


@pytest.mark.parametrize(
    ("window", "when", "active"),
    [
        ({"start_date": "2026-11-26"}, "2026-11-25T23:00", False),
        ({"start_date": "2026-11-26"}, "2026-11-26T23:00", True),
        # What began on the last day runs on over midnight.
        ({"end_date": "2026-11-26"}, "2026-11-27T01:00", True),
        ({"end_date": "2026-11-26"}, "2026-11-27T23:00", False),
        ({"start_date": "2026-12-31", "end_date": "2026-12-31"}, "2027-01-01T01:59", True),
        ({"start_date": "2026-12-31", "end_date": "2026-12-31"}, "2026-12-31T01:59", False),
        ({"start_date": "2026-12-31", "end_date": "2026-12-31", "days": ["fri"]}, "2026-12-31T23:00", False),
    ],
)
def test_windows_between_dates(window: dict[str, Any], when: str, active: bool) -> None:
    assert is_active([{"days": None, "start": "22:00", "end": "02:00", **window}], local(when)) is active


def test_the_stations_own_time_zone_counts() -> None:
    lunch = playlist(
        "lunch", type="scheduled", folder="jazz", active=[{"days": None, "start": "13:00", "end": "14:00"}]
    )
    playlists = [playlist("rock", folder="rock"), lunch]
    prague = {**SETTINGS, "timezone": "Europe/Prague"}
    assert run(playlists, 1, settings=prague)[0].startswith("jazz/")
    assert run(playlists, 1)[0].startswith("rock/")
    # In summer it is two hours.
    summer = datetime(2026, 7, 2, 11, tzinfo=ZoneInfo("UTC")).timestamp()
    assert run(playlists, 1, settings=prague, at=summer)[0].startswith("jazz/")
    assert run(playlists, 1, settings={**SETTINGS, "timezone": "Mars/Olympus"})[0].startswith("rock/")


def test_what_is_remembered_of_playlists_that_are_gone_is_forgotten() -> None:
    state = State()
    run([playlist("old", folder="rock"), playlist("id", type="jingle", folder="id", every_tracks=1)], 5, state=state)
    run([playlist("new", folder="rock")], 1, state=state)
    assert set(state.credits) == set(state.positions) == {"new"}
    assert state.jingles == {}


@pytest.mark.parametrize("damaged", [None, [], "x", {}, {"count": "x"}, {**State().as_dict(), "positions": {"a": {}}}])
def test_a_damaged_state_is_a_beginning(damaged: Any) -> None:
    assert State.of(damaged) == State()


def test_names_that_are_not_utf_8_are_played() -> None:
    files = ["a\udcff.mp3", "b.mp3"]
    assert set(run([], 2, files=files)) == set(files)


def test_nothing_in_it_depends_on_the_hash_seed_of_python() -> None:
    code = (
        "from tests.unit.test_autodj_chooser import FILES, run\n"
        "from tests.doubles.panel import playlist\n"
        "print(run([playlist('a', folder='rock'), playlist('b', folder='jazz')], 30))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert outputs != {"[]\n"}
