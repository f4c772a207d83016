"""streamfleet_domain, and domains in a document of streamfleet_apply."""

from __future__ import annotations

import time

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step
from tests.doubles.name_server import NameServer

MODULE = "streamfleet_domain"


@pytest.fixture
def station(panel: Panel, owner: str) -> str:
    """A station, of this test's own."""
    slug = f"{owner[:50].rstrip('-')}-fm"
    service = {"slug": slug, "customer": owner, "engine": "icecast"}
    status, answer = panel.request("POST", "/apply", {"document": {"media_services": [service]}})
    assert status == 200, answer
    return slug


def test_from_nothing_to_nothing(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station, "name": f"{station}.example.com"}
    created, _, off, gone, _ = runner.steps(
        Step(MODULE, me),
        Step(MODULE, me, changed=False),
        Step(MODULE, {**me, "enabled": "no", "label": "shop"}),
        Step(MODULE, {**me, "state": "absent"}),
        Step(MODULE, {**me, "state": "absent"}, changed=False),
    )
    first = created.real["domain"]
    assert (first["status"], first["proof"]["txt"]["name"]) == ("pending", f"_streamfleet.{me['name']}")
    # The customer's own records, in check mode too.
    assert created.check["domain"]["proof"] == first["proof"]
    assert created.real["nodes"] == created.check["nodes"] == {}
    assert set(off.real["changes"]) == {"enabled", "label"}
    assert gone.real["operation"] == "deleted"
    assert gone.real["diff"][0]["before_header"] == f"domain {station}/{me['name']}"
    services = panel.request("GET", "/nodes/base1/document")[1]["services"]
    assert [item["domains"] for item in services if item["slug"] == station] == [[]]


def test_proved_by_the_record_that_the_module_tells(
    runner: Runner, panel: Panel, station: str, resolver: NameServer
) -> None:
    """As people do it: add it, set the record, have it checked; the jobs process does the rest."""
    me = {"media_service": station, "name": f"proved.{station}.example.com"}
    record = runner.steps(Step(MODULE, me))[0].real["domain"]["proof"]["txt"]
    path = f"/media-services/{station}/domains/{me['name']}"
    assert awaited(panel, path, "checked_at", None)["status"] == "pending"
    resolver.txt(record["name"], record["value"])
    assert panel.request("POST", f"{path}/check")[0] == 202
    found = awaited(panel, path, "status", "pending")
    assert (found["status"], found["message"]) == ("verified", "Its record is there.")
    services = panel.request("GET", "/nodes/base1/document")[1]["services"]
    assert [item["domains"] for item in services if item["slug"] == station] == [[me["name"]]]
    off = runner.steps(Step(MODULE, {**me, "enabled": False}))[0]
    assert off.real["nodes"] == off.check["nodes"] != {}


def awaited(panel: Panel, path: str, field: str, before: str | None) -> dict[str, str]:
    """The domain once ``field`` is another than ``before``."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found: dict[str, str] = panel.request("GET", path)[1]
        if found[field] != before:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{field} of {path} stays {before}")


def test_refused(runner: Runner, panel: Panel, station: str) -> None:
    me = {"media_service": station}
    many = [{**me, "name": f"d{number}.example.com"} for number in range(6)]
    runner.steps(
        Step(MODULE, {**me, "name": "*.example.com"}, error="name: is a wildcard"),
        Step(MODULE, {**me, "name": "rádio.example"}, error="Write it as xn--rdio-5na.example."),
        Step("streamfleet_apply", {"document": {"domains": many}}, error="would have 6 domains, max_domains allows 5"),
    )
    assert panel.request("GET", f"/media-services/{station}/domains")[1]["count"] == 0
