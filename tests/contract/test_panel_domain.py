"""streamfleet_panel_domain, and panel domains in a document of streamfleet_apply."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step
from tests.contract.test_domain import awaited
from tests.doubles.name_server import NameServer

MODULE = "streamfleet_panel_domain"
#: What the API answers under a host name that nobody has.
REFUSED = 422


@pytest.fixture
def reseller(panel: Panel, owner: str) -> str:
    """A reseller, of this test's own."""
    plan = {"name": f"{owner} plan"}
    document = {"reseller_plans": [plan], "customers": [{"username": owner, "reseller_plan": plan["name"]}]}
    status, answer = panel.request("POST", "/apply", {"document": document})
    assert status == 200, answer
    return owner


def test_from_nothing_to_nothing(runner: Runner, reseller: str) -> None:
    me = {"reseller": reseller, "name": f"panel.{reseller}.example.com"}
    created, _, branded, _, gone, _ = runner.steps(
        Step(MODULE, me),
        Step(MODULE, me, changed=False),
        Step(MODULE, {**me, "brand": "Shop", "label": "shop"}),
        Step(MODULE, {**me, "brand": None}),
        Step(MODULE, {**me, "state": "absent"}),
        Step(MODULE, {**me, "state": "absent"}, changed=False),
    )
    first = created.real["panel_domain"]
    assert (first["status"], first["proof"]["txt"]["name"]) == ("pending", f"_streamfleet.{me['name']}")
    assert created.check["panel_domain"]["proof"] == first["proof"]
    assert created.real["nodes"] == created.check["nodes"] == {}
    assert branded.real["changes"]["brand"] == {"before": None, "after": "Shop"}
    assert gone.real["diff"][0]["before_header"] == f"panel domain {reseller}/{me['name']}"


def test_proved_by_the_record_that_the_module_tells(
    runner: Runner, panel: Panel, reseller: str, resolver: NameServer
) -> None:
    me = {"reseller": reseller, "name": f"proved.{reseller}.example.com"}
    record = runner.steps(Step(MODULE, me))[0].real["panel_domain"]["proof"]["txt"]
    path = f"/customers/{reseller}/panel-domains/{me['name']}"
    assert awaited(panel, path, "checked_at", None)["status"] == "pending"
    resolver.txt(record["name"], record["value"])
    assert panel.request("POST", f"{path}/check")[0] == 202
    found = awaited(panel, path, "status", "pending")
    assert (found["status"], found["message"]) == ("verified", "Its record is there.")
    # The web server is told, and the panel answers under it.
    file = panel.directory / "panel-domains" / f"{me['name']}.json"
    soon(lambda: file.exists() and answers(panel, me["name"]) == 200)
    assert answers(panel, f"other.{me['name']}") == REFUSED
    runner.steps(Step(MODULE, {**me, "state": "absent"}))
    soon(lambda: not file.exists() and answers(panel, me["name"]) == REFUSED)


def soon(what: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def answers(panel: Panel, host: str) -> int:
    """The status of an open page under that name."""
    call = urllib.request.Request(f"{panel.url}/api/v1/health", headers={"Host": host})
    try:
        with urllib.request.urlopen(call, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_refused(runner: Runner, reseller: str) -> None:
    me = {"reseller": reseller}
    runner.steps(
        Step(MODULE, {**me, "name": "*.example.com"}, error="name: is a wildcard"),
        Step(MODULE, {"reseller": "no-such", "name": "a.example.com"}, error="there is no such reseller"),
        Step(MODULE, {**me, "name": "one.example.com"}),
        Step(MODULE, {**me, "name": "two.example.com"}, error="panel domains, the plan"),
    )
