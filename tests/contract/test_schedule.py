"""streamfleet_schedule, and schedules in a document of streamfleet_apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_schedule"


@pytest.fixture
def station(panel: Panel, owner: str) -> str:
    """A station with a playlist and a DJ, who have no times of their own; of this test's own."""
    slug = f"{owner[:50].rstrip('-')}-fm"
    document = {
        "media_services": [{"slug": slug, "customer": owner, "engine": "icecast", "autodj": {}}],
        "playlists": [{"media_service": slug, "name": "night", "type": "scheduled", "folder": "."}],
        "djs": [{"media_service": slug, "username": "anna", "scheduled_only": True}],
    }
    status, answer = panel.request("POST", "/apply", {"document": document})
    assert status == 200, answer
    return slug


def on_node(panel: Panel, slug: str) -> list[dict[str, Any]]:
    """The schedules that the service's node is told of."""
    services = panel.request("GET", "/nodes/base1/document")[1]["services"]
    found: list[dict[str, Any]] = next(item["schedules"] for item in services if item["slug"] == slug)
    return found


def test_from_nothing_to_nothing(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "name": "late"}
    created, _, dated, other, gone, _ = runner.steps(
        Step(MODULE, {**me, "playlist": "night", "days": ["sat", "fri"], "start": "23:00", "end": "04:00"}),
        # What is not named stays.
        Step(MODULE, me, changed=False),
        Step(MODULE, {**me, "days": None, "start_date": "2026-12-24", "end_date": "2026-12-24"}),
        Step(MODULE, {**me, "playlist": None, "dj": "anna", "enabled": "no", "label": "shop"}),
        Step(MODULE, {**me, "state": "absent"}),
        Step(MODULE, {**me, "state": "absent"}, changed=False),
    )
    first = created.real["schedule"]
    assert (first["days"], first["enabled"], first["start_date"]) == (["fri", "sat"], True, None)
    assert created.real["nodes"] == created.check["nodes"] != {}
    assert dated.real["changes"]["days"] == {"before": ["fri", "sat"], "after": None}
    assert set(other.real["changes"]) == {"playlist", "dj", "enabled", "label"}
    assert gone.real["operation"] == "deleted"
    assert gone.real["diff"][0]["before_header"] == f"schedule {station}/late"
    assert on_node(panel, station) == []


def test_refused(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "name": "late", "playlist": "night"}
    times = {"start": "23:00", "end": "04:00"}
    runner.steps(
        Step(MODULE, {**me, "end": "04:00"}, error="start: is missing"),
        Step(MODULE, {**me, "start": "04:00", "end": "04:00"}, error="end: is the same as start"),
        Step(MODULE, {**me, **times, "playlist": "none"}, error="playlist: is not a playlist of this service"),
        Step(MODULE, {**me, **times, "start_date": "24.12."}, error="start_date: is not a date"),
        Step(
            "streamfleet_apply",
            {"document": {"schedules": [{**me, **times}, {**me, **times, "name": "both", "dj": "anna"}]}},
            error="schedules[1].playlist: goes not with dj",
        ),
    )
    assert on_node(panel, station) == []
    runner.steps(
        Step(MODULE, {**me, **times}),
        Step(
            "streamfleet_playlist",
            {"media_service": station, "name": "night", "state": "absent"},
            error="name: is the playlist that the schedule late names",
        ),
    )


def test_dates_in_a_file_need_no_quotes(runner: Runner, panel: Panel, station: str, tmp_path: Path) -> None:
    file = tmp_path / "eve.yml"
    file.write_text(
        f"schedules:\n- media_service: {station}\n  name: eve\n  dj: anna\n  start: '18:00'\n  end: '22:00'\n"
        "  start_date: 2026-12-24\n  end_date: 2026-12-24\n"
    )
    runner.steps(Step("streamfleet_apply", {"files": [str(file)]}))
    (found,) = on_node(panel, station)
    assert (found["start_date"], found["end_date"]) == ("2026-12-24", "2026-12-24")
