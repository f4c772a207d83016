"""streamfleet_playlist, and playlists in a document of streamfleet_apply."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_playlist"


@pytest.fixture
def station(panel: Panel, owner: str) -> str:
    """A station with an AutoDJ, of this test's own."""
    slug = f"{owner[:50].rstrip('-')}-fm"
    service = {"slug": slug, "customer": owner, "engine": "icecast", "autodj": {"timezone": "Europe/Prague"}}
    status, answer = panel.request("POST", "/apply", {"document": {"media_services": [service]}})
    assert status == 200, answer
    return slug


def on_node(panel: Panel, slug: str) -> list[dict[str, Any]]:
    """The playlists that the service's node is told of."""
    services = panel.request("GET", "/nodes/base1/document")[1]["services"]
    found: list[dict[str, Any]] = next(item["playlists"] for item in services if item["slug"] == slug)
    return found


def test_from_nothing_to_nothing(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "name": "night"}
    times = [{"days": ["sat", "fri"], "start": "23:00", "end": "04:00"}, {"start": "12:00", "end": "13:00"}]
    created, scheduled, listed, _, always, gone, _ = runner.steps(
        Step(MODULE, {**me, "folder": "."}),
        Step(MODULE, {**me, "type": "scheduled", "active": times}),
        Step(MODULE, {**me, "folder": None, "files": ["b.mp3", "a ä.mp3"], "order": "sequential"}),
        # What is not named stays.
        Step(MODULE, me, changed=False),
        Step(MODULE, {**me, "type": "rotation", "active": None, "weight": "7"}),
        Step(MODULE, {**me, "state": "absent"}),
        Step(MODULE, {**me, "state": "absent"}, changed=False),
    )
    first = created.real["playlist"]
    assert (first["type"], first["order"], first["weight"], first["active"]) == ("rotation", "shuffle", 1, None)
    assert created.real["nodes"] == created.check["nodes"] != {}
    assert scheduled.real["changes"]["active"]["after"] == [
        {"days": ["fri", "sat"], "start": "23:00", "end": "04:00"},
        {"days": None, "start": "12:00", "end": "13:00"},
    ]
    assert listed.real["playlist"]["files"] == ["b.mp3", "a ä.mp3"]
    assert set(always.real["changes"]) == {"type", "active", "weight"}
    assert gone.real["operation"] == "deleted"
    assert gone.real["diff"][0]["before_header"] == f"playlist {station}/night"
    assert on_node(panel, station) == []


def test_a_jingle(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "name": "jingles"}
    runner.steps(
        Step(MODULE, {**me, "type": "jingle", "folder": "jingles", "every_tracks": 4, "label": "shop"}),
        Step(MODULE, {**me, "every_tracks": None, "every_minutes": 30, "enabled": "no"}),
    )
    assert on_node(panel, station) == [
        {
            "name": "jingles",
            "enabled": False,
            "type": "jingle",
            "folder": "jingles",
            "files": None,
            "order": "shuffle",
            "weight": 1,
            "active": None,
            "every_tracks": None,
            "every_minutes": 30,
        }
    ]
    path = f"/media-services/{station}/playlists/jingles"
    assert panel.request("GET", path)[1]["label"] == "shop"


def test_a_television_channel(runner: Runner, panel: Panel, owner: str) -> None:
    slug, node = f"{owner[:50].rstrip('-')}-tv", f"{owner[:50].rstrip('-')}-n"
    wowza = {"name": node, "address": "192.0.2.99", "engines": ["wowza"]}
    assert panel.request("POST", "/apply", {"document": {"nodes": [wowza]}})[0] == 200
    channel = {"slug": slug, "customer": owner, "engine": "wowza", "service_type": "tv_station", "node": node}
    day, news = ({"media_service": slug, "name": name} for name in ("day", "news"))
    made, _day, scheduled, _noon, _mp3 = runner.steps(
        Step("streamfleet_media_service", {**channel, "timezone": "Europe/Prague"}),
        Step(MODULE, {**day, "folder": "."}),
        Step(MODULE, {**news, "type": "scheduled", "files": ["news/evening.mp4"]}),
        Step("streamfleet_schedule", {**day, "name": "noon", "playlist": "news", "start": "12:00", "end": "13:00"}),
        Step(MODULE, {**news, "files": ["song.mp3"]}, error="files[0]: is not called as what a service of type tv"),
    )
    assert made.real["media_service"]["timezone"] == "Europe/Prague"
    assert scheduled.real["playlist"]["files"] == ["news/evening.mp4"]
    services = panel.request("GET", f"/nodes/{node}/document")[1]["services"]
    assert [(item["service_type"], len(item["playlists"]), len(item["schedules"])) for item in services] == [
        ("tv_station", 2, 1)
    ]


def test_a_document_with_stations_and_their_playlists(runner: Runner, panel: Panel, owner: str) -> None:
    def document(*names: str) -> dict[str, Any]:
        return {
            "playlists": [{"media_service": f"{owner[:50]}-1", "name": name, "folder": name} for name in names],
            "media_services": [{"slug": f"{owner[:50]}-1", "customer": owner, "engine": "icecast"}],
        }

    both, one = runner.steps(
        Step("streamfleet_apply", {"document": document("day", "night"), "label": owner}),
        Step("streamfleet_apply", {"document": document("day"), "label": owner, "prune": True}),
    )
    assert both.real["summary"]["created"] == 3
    assert [(item["kind"], item["key"], item["action"]) for item in one.real["results"]] == [
        ("playlist", f"{owner[:50]}-1/night", "deleted")
    ]
    assert [item["name"] for item in on_node(panel, f"{owner[:50]}-1")] == ["day"]


def test_bad_input(runner: Runner, panel: Panel, owner: str, station: str) -> None:
    video = {"slug": f"{station[:58]}-tv", "customer": owner, "engine": "nginx_rtmp"}
    assert panel.request("POST", "/apply", {"document": {"media_services": [video]}})[0] == 200
    new = {"media_service": station, "name": "bad", "folder": "."}
    steps = [
        Step(MODULE, {**new, "name": "../x"}, error="name: has a form that is not accepted (given: '../x')"),
        Step(
            MODULE,
            {**new, "media_service": "none-such"},
            error="media_service: there is no such media service (given: 'none-such') Fix: Name an existing",
        ),
        Step(
            MODULE,
            {**new, "media_service": video["slug"]},
            error="media_service: is a service of Nginx RTMP, which has no playlists",
        ),
        Step(MODULE, {**new, "folder": "../../etc"}, error="folder: contains the segment .. (given: '../../etc')"),
        Step(MODULE, {**new, "folder": None}, error="folder: is missing, and so is files"),
        Step(MODULE, {**new, "files": ["a.mp3"]}, error="files: goes not with folder"),
        Step(
            MODULE,
            {**new, "folder": None, "files": ["a.mp3", "/etc/passwd"]},
            error="files[1]: begins with a slash (given: '/etc/passwd') Fix: Write it relative to the media library",
        ),
        Step(MODULE, {**new, "weight": 101}, error="weight: must be between 1 and 100 (given: 101)"),
        Step(MODULE, {**new, "type": "jingle"}, error="every_tracks: is missing, and so is every_minutes"),
        Step(MODULE, {**new, "every_minutes": 5}, error="every_minutes: means nothing for the type rotation"),
        # YAML's 22:00 without quotes.
        Step(
            MODULE,
            {**new, "active": [{"start": 1320, "end": "23:00"}]},
            error="active[0].start: is not a time of day from 00:00 to 23:59 (given: '1320') Fix: Write it in quotes",
        ),
        Step(MODULE, {**new, "active": [{"start": "22:00"}]}, error="missing required arguments: end found in active"),
        Step(MODULE, {**new, "type": "random"}, error="value of type must be one of: rotation, scheduled, jingle"),
        Step(MODULE, {"name": "bad"}, error="missing required arguments: media_service"),
    ]
    runner.steps(*steps)
    assert panel.request("GET", f"/media-services/{station}/playlists")[1]["count"] == 0
