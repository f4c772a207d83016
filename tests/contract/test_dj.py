"""streamfleet_dj, and DJs in a document of streamfleet_apply."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_dj"


@pytest.fixture
def station(panel: Panel, owner: str) -> str:
    """A station with an AutoDJ, of this test's own."""
    slug = f"{owner[:50].rstrip('-')}-fm"
    service = {"slug": slug, "customer": owner, "engine": "icecast", "autodj": {"timezone": "Europe/Prague"}}
    status, answer = panel.request("POST", "/apply", {"document": {"media_services": [service]}})
    assert status == 200, answer
    return slug


def on_node(panel: Panel, slug: str) -> list[dict[str, Any]]:
    """The DJs that the service's node is told of."""
    services = panel.request("GET", "/nodes/base1/document")[1]["services"]
    found: list[dict[str, Any]] = next(item["djs"] for item in services if item["slug"] == slug)
    return found


def test_from_nothing_to_nothing(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "username": "anna"}
    given, other = runner.canary("canary-dj-password-1"), runner.canary("canary-dj-password-2")
    times = [{"days": ["sat", "fri"], "start": "20:00", "end": "22:00"}, {"start": "12:00", "end": "13:00"}]
    created, _, keyed, bound, free, gone, _ = runner.steps(
        Step(MODULE, {**me, "name": "Anna B.", "password": given}),
        # What is not named stays.
        Step(MODULE, me, changed=False),
        Step(MODULE, {**me, "password": other}),
        Step(MODULE, {**me, "scheduled_only": True, "active": times, "priority": "20", "label": "shop"}),
        Step(MODULE, {**me, "scheduled_only": "no", "active": None, "name": None, "grace_seconds": 0, "record": True}),
        Step(MODULE, {**me, "state": "absent"}),
        Step(MODULE, {**me, "state": "absent"}, changed=False),
    )
    first = created.real["dj"]
    assert (first["priority"], first["grace_seconds"], first["enabled"], first["record"]) == (10, 10, True, False)
    assert [line["label"] for line in first["connection"]] == ["Server", "Port", "Mount", "Username", "Password"]
    assert created.real["nodes"] == created.check["nodes"] != {}
    assert created.real["changes"]["password"]["after"] == "********"
    assert keyed.real["diff"][0]["after"] == {"password": "******** (changed)"}
    assert bound.real["changes"]["active"]["after"] == [
        {"days": ["fri", "sat"], "start": "20:00", "end": "22:00"},
        {"days": None, "start": "12:00", "end": "13:00"},
    ]
    assert bound.real["dj"]["label"] == "shop"
    assert set(free.real["changes"]) == {"scheduled_only", "active", "name", "grace_seconds", "record"}
    assert free.real["dj"]["name"] == ""
    assert gone.real["operation"] == "deleted"
    assert gone.real["diff"][0]["before_header"] == f"dj {station}/anna"
    assert on_node(panel, station) == []


def test_a_password_of_the_panels_own(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "username": "ben"}
    runner.steps(Step(MODULE, me), Step(MODULE, {**me, "priority": 50}))
    told = on_node(panel, station)
    password = told[0].pop("password")
    assert told == [
        {
            "username": "ben",
            "name": "",
            "priority": 50,
            "enabled": True,
            "scheduled_only": False,
            "active": None,
            "grace_seconds": 10,
            "record": False,
            "kick": 0,
        }
    ]
    path = f"/media-services/{station}/djs/ben"
    assert panel.request("GET", f"{path}/credentials")[1]["credentials"] == {"password": password}
    # Known to whoever asks for it, and to the node; an apply does not make it anew.
    runner.steps(Step(MODULE, {**me, "password": runner.canary(password)}, changed=False))
    assert panel.request("POST", f"{path}/kick")[0] == 200
    runner.steps(Step(MODULE, me, changed=False))
    assert [item["kick"] for item in on_node(panel, station)] == [1]


def test_a_document_with_stations_and_their_djs(runner: Runner, panel: Panel, owner: str) -> None:
    slug, password = f"{owner[:50].rstrip('-')}-1", runner.canary("canary-dj-password-3")

    def document(*names: str) -> dict[str, Any]:
        return {
            "djs": [{"media_service": slug, "username": name, "password": password} for name in names],
            "media_services": [{"slug": slug, "customer": owner, "engine": "icecast", "autodj": {}}],
        }

    both, one = runner.steps(
        Step("streamfleet_apply", {"document": document("anna", "ben"), "label": owner}),
        Step("streamfleet_apply", {"document": document("anna"), "label": owner, "prune": True}),
    )
    assert both.real["summary"]["created"] == 3
    assert [(item["kind"], item["key"], item["action"]) for item in one.real["results"]] == [
        ("dj", f"{slug}/ben", "deleted")
    ]
    assert [item["username"] for item in on_node(panel, slug)] == ["anna"]


def test_the_port_of_djs(runner: Runner, panel: Panel, owner: str) -> None:
    me = {"slug": f"{owner[:50].rstrip('-')}-p"}
    module = "streamfleet_media_service"
    on, _, moved, off = runner.steps(
        Step(module, {**me, "customer": owner, "engine": "icecast", "autodj": {}}),
        Step(module, {**me, "live_port": None}, changed=False),
        Step(module, {**me, "live_port": "10990"}),
        Step(module, {**me, "autodj": None}),
    )
    assert 10000 <= on.real["media_service"]["live_port"] <= 10999
    assert moved.real["changes"]["live_port"]["after"] == 10990
    assert off.real["media_service"]["live_port"] is None


def test_bad_input(runner: Runner, panel: Panel, owner: str, station: str) -> None:
    others = [
        {"slug": f"{station[:58]}-tv", "customer": owner, "engine": "nginx_rtmp"},
        {"slug": f"{station[:58]}-am", "customer": owner, "engine": "icecast"},
    ]
    assert panel.request("POST", "/apply", {"document": {"media_services": others}})[0] == 200
    new = {"media_service": station, "username": "bad"}
    steps = [
        Step(MODULE, {**new, "username": "../x"}, error="username: has a form that is not accepted (given: '../x')"),
        Step(
            MODULE,
            {**new, "media_service": "none-such"},
            error="media_service: there is no such media service (given: 'none-such') Fix: Name an existing",
        ),
        Step(
            MODULE,
            {**new, "media_service": others[0]["slug"]},
            error="media_service: is a service of Nginx RTMP, which has no DJs",
        ),
        Step(
            MODULE,
            {**new, "media_service": others[1]["slug"]},
            error=f"which is what DJs connect to (given: '{others[1]['slug']}') Fix: Set autodj of the service.",
        ),
        Step(MODULE, {**new, "password": runner.canary("canary: with a colon")}, error="password: has a form that is"),
        Step(MODULE, {**new, "priority": 101}, error="priority: must be between 1 and 100 (given: 101)"),
        Step(MODULE, {**new, "grace_seconds": 301}, error="grace_seconds: must be between 0 and 300 (given: 301)"),
        # YAML's 22:00 without quotes.
        Step(
            MODULE,
            {**new, "active": [{"start": 1320, "end": "23:00"}]},
            error="active[0].start: is not a time of day from 00:00 to 23:59 (given: '1320') Fix: Write it in quotes",
        ),
        Step(MODULE, {**new, "active": [{"start": "22:00"}]}, error="missing required arguments: end found in active"),
        Step(MODULE, {"username": "bad"}, error="missing required arguments: media_service"),
    ]
    runner.steps(*steps)
    assert panel.request("GET", f"/media-services/{station}/djs")[1]["count"] == 0
