"""streamfleet_relay, and relays in a document of streamfleet_apply."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_relay"
IN = {"direction": "in", "address": "https://network.example/live.mp3"}


@pytest.fixture
def station(panel: Panel, owner: str) -> str:
    """A station, of this test's own."""
    slug = f"{owner[:50].rstrip('-')}-fm"
    service = {"slug": slug, "customer": owner, "engine": "icecast"}
    status, answer = panel.request("POST", "/apply", {"document": {"media_services": [service]}})
    assert status == 200, answer
    return slug


def on_node(panel: Panel, slug: str) -> list[dict[str, Any]]:
    """The relays that the service's node is told of."""
    services = panel.request("GET", "/nodes/base1/document")[1]["services"]
    found: list[dict[str, Any]] = next(item["relays"] for item in services if item["slug"] == slug)
    return found


def test_from_nothing_to_nothing(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "name": "network"}
    created, _, patient, gone, _ = runner.steps(
        Step(MODULE, {**me, **IN}),
        # What is not named stays.
        Step(MODULE, me, changed=False),
        Step(MODULE, {**me, "silence_seconds": "30", "djs_first": "no", "label": "shop"}),
        Step(MODULE, {**me, "state": "absent"}),
        Step(MODULE, {**me, "state": "absent"}, changed=False),
    )
    first = created.real["relay"]
    assert (first["direction"], first["mount"], first["silence_seconds"]) == ("in", "/stream", 15)
    assert created.real["nodes"] == created.check["nodes"] != {}
    assert set(patient.real["changes"]) == {"silence_seconds", "djs_first", "label"}
    assert gone.real["operation"] == "deleted"
    assert gone.real["diff"][0]["before_header"] == f"relay {station}/network"
    assert on_node(panel, station) == []


def test_a_password_is_for_the_node_only(runner: Runner, panel: Panel, station: str) -> None:
    word = runner.canary("canary-relay")
    me = {"media_service": station, "name": "mirror"}
    out = {"direction": "out", "address": "icecasts://mirror.example:8443/rock", "password": word}
    runner.steps(
        Step(MODULE, {**me, **out}),
        Step(MODULE, {**me, "password": word}, changed=False),
        Step(
            MODULE,
            {**me, "address": "icecasts://thief.example:8443/rock"},
            error="address: is another server, which must not get the old password",
        ),
    )
    (found,) = on_node(panel, station)
    assert (found["password"], found["username"], found["address"]) == (word, None, out["address"])


def test_refused(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "name": "network"}
    runner.steps(
        Step(MODULE, me, error="direction: is missing"),
        Step(
            MODULE,
            {**me, **IN, "address": "http://10.0.0.5/live"},
            error="address: names 10.0.0.5, which is not on the public",
        ),
        Step(
            MODULE,
            {**me, **IN, "address": "file:///etc/passwd"},
            error="address: has the scheme file, which is not accepted",
        ),
        Step(MODULE, {**me, **IN, "mount": "/nowhere"}, error="mount: is not a mount of this service"),
        Step(
            "streamfleet_apply",
            {"document": {"relays": [{**me, **IN}, {**me, **IN, "name": "second"}]}},
            error="relays[1].mount: is relayed into by network already",
        ),
    )
    assert on_node(panel, station) == []
