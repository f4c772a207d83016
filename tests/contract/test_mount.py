"""streamfleet_mount, and mounts in a document of streamfleet_apply."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_mount"


@pytest.fixture
def station(panel: Panel, owner: str) -> str:
    """A station, of this test's own."""
    slug = f"{owner[:50].rstrip('-')}-fm"
    service = {"slug": slug, "customer": owner, "engine": "icecast"}
    status, answer = panel.request("POST", "/apply", {"document": {"media_services": [service]}})
    assert status == 200, answer
    return slug


def on_node(panel: Panel, slug: str) -> list[str]:
    """The mounts that the service's node is told of."""
    services = panel.request("GET", "/nodes/base1/document")[1]["services"]
    service = next(item for item in services if item["slug"] == slug)
    return [mount["name"] for mount in service["settings"]["mounts"]]


def test_from_nothing_to_nothing(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "name": "/low.aac"}
    created, _, opened, gone, _ = runner.steps(
        Step(MODULE, {**me, "format": "aac", "bitrate_kbps": 48, "fallback": "/stream"}),
        # What is not named stays.
        Step(MODULE, me, changed=False),
        Step(MODULE, {**me, "default": "yes", "fallback": None}),
        Step(MODULE, {**me, "state": "absent"}),
        Step(MODULE, {**me, "state": "absent"}, changed=False),
    )
    first = created.real["mount"]
    assert (first["name"], first["format"], first["fallback"], first["default"]) == (
        "/low.aac",
        "aac",
        "/stream",
        False,
    )
    assert created.real["nodes"] == created.check["nodes"] != {}
    assert opened.real["changes"] == {
        "default": {"before": False, "after": True},
        "fallback": {"before": "/stream", "after": None},
    }
    assert gone.real["operation"] == "deleted"
    assert gone.real["diff"][0]["before_header"] == f"mount {station}/low.aac"
    assert on_node(panel, station) == ["/stream"]


def test_refused(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "name": "/low"}
    runner.steps(
        Step(MODULE, {**me, "name": "low"}, error="name: has a form that is not accepted"),
        Step(MODULE, {**me, "fallback": "/nowhere"}, error="fallback: is not a mount of this service"),
        Step(MODULE, {**me, "public": True}, error="public: is not a field of this kind of object"),
        Step(MODULE, {**me, "name": "/stream", "state": "absent"}, error="name: is the only mount that"),
        Step(
            "streamfleet_apply",
            {"document": {"media_services": [{"slug": station, "mounts": [{"name": "/a"}]}], "mounts": [me]}},
            error="mounts[0].name: is a mount of a service whose whole list the document has in media_services[0]",
        ),
    )
    assert on_node(panel, station) == ["/stream"]


def test_those_who_come_at_once_lose_nobody_elses(panel: Panel, station: str) -> None:
    def one(number: int) -> tuple[int, object]:
        return panel.request("PUT", f"/media-services/{station}/mounts/m{number}", {"bitrate_kbps": 64})

    with ThreadPoolExecutor(12) as pool:
        assert {status for status, _ in pool.map(one, range(24))} == {200}
    assert on_node(panel, station)[0] == "/stream"
    assert sorted(on_node(panel, station)[1:]) == sorted(f"/m{number}" for number in range(24))
