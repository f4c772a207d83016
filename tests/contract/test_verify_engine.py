"""The checks of an engine find what is wrong; module and playbook tell it, and leave nothing behind.

Tests playbooks: verify_engine.yml. That a good engine passes is in tests/live/test_platform.py, on a real node.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from streamfleet.behaviour import checks
from streamfleet.behaviour.route import Route
from streamfleet.errors import Misbehaved

from tests.contract.fake_node import FakeNode
from tests.contract.panel_server import Panel
from tests.contract.playbook import ROOT, Runner, Step
from tests.doubles.radio import SPEC, RadioPanelClient

pytestmark = pytest.mark.slow

MODULE = "streamfleet_verify_engine"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less patience: nothing here takes long by itself."""
    monkeypatch.setattr(checks, "SENT_AWAY_WITHIN", 2.0)
    monkeypatch.setattr(checks, "GONE_WITHIN", 2.0)
    monkeypatch.setattr("streamfleet.behaviour.encoder.ACCEPTED_AFTER", 2.0)
    monkeypatch.setattr("streamfleet.behaviour.player.WITHIN", 8.0)
    monkeypatch.setattr("streamfleet.behaviour.counted.BEGIN_WITHIN", 5.0)
    monkeypatch.setattr(checks, "LET_IN_WITHIN", 3.0)


@pytest.fixture
def client() -> Iterator[RadioPanelClient]:
    """Where stations are declared; faults are put in by tests."""
    made = RadioPanelClient()
    yield made
    made.close()


def services(client: RadioPanelClient) -> tuple[checks.Subject, checks.Subject]:
    """A station that is changed, and its neighbour."""
    return checks.Subject("a", SPEC, client, Route()), checks.Subject("b", SPEC, client, Route())


def test_an_engine_without_fault_passes_every_check(quick: None, client: RadioPanelClient) -> None:
    told: list[checks.Check] = []
    made = checks.Verification(*services(client), tell=told.append).run()
    names = [name for name, _check in (*checks.FIRST, *checks.CHANGES)]
    assert told == made
    found = {check.name: check.evidence for check in made if check.ok}
    assert set(found) == {"created", "neighbour created", *names, checks.NEIGHBOUR}, checks.table(made)
    assert "440 Hz" in found["published and played"]
    assert "401" in found["wrong credential refused"]
    assert "none lost" in found[checks.NEIGHBOUR]


@pytest.mark.full
@pytest.mark.parametrize(
    ("fault", "check", "reason"),
    [
        ("takes any password", checks.wrong_credential, "an encoder was let in"),
        ("keeps the old password", checks.new_credential, "an encoder was let in"),
        ("sends nothing", checks.published_and_played, "440 Hz was not to be had"),
        ("plays something else", checks.published_and_played, "no tone of ours"),
        ("goes on when suspended", checks.suspended, "its encoder was still sending after 2 seconds"),
        ("can be heard when suspended", checks.suspended, "still answers 200"),
        ("does not come back", checks.unsuspended, "the encoder with the right credential is refused"),
        ("always changed", checks.renamed, "True, True"),
    ],
)
def test_a_fault_is_found_and_told(
    quick: None, client: RadioPanelClient, fault: str, check: Callable[[checks.Subject], str], reason: str
) -> None:
    subject, _beside = services(client)
    client.create(subject.slug)
    client.stations[subject.slug].faults = frozenset([fault])
    if check is checks.unsuspended:
        client.suspend(subject.slug, True)
    with pytest.raises(Misbehaved, match=reason):
        check(subject)


@pytest.mark.full
@pytest.mark.parametrize(
    ("fault", "reason"),
    [("stumbles when others change", "its encoder was sent away"), ("loses pieces", r"[1-9]\d* lost")],
)
def test_a_neighbours_loss_is_found_and_told(quick: None, client: RadioPanelClient, fault: str, reason: str) -> None:
    subject, beside = services(client)
    for service in (subject, beside):
        client.create(service.slug)
        client.stations[service.slug].faults = frozenset([fault])

    def change_the_other() -> None:
        with beside.counted():
            client.name(subject.slug, "Another")
            time.sleep(4)

    with pytest.raises(Misbehaved, match=reason):
        change_the_other()


@pytest.fixture
def node(panel: Panel) -> Iterator[FakeNode]:
    """A node that says that all runs, and has nothing."""
    place = {"name": "verify1", "address": "192.0.2.40", "engines": ["icecast"], "stream_host": "verify.example.net"}
    ports = {"port_range_start": 9200, "port_range_end": 9300, "status": "active"}
    assert panel.request("POST", "/apply", {"document": {"nodes": [{**place, **ports}]}})[0] == 200
    token = panel.request("POST", "/tokens", {"name": "verify", "scope": "node:verify1"})[1]["token"]
    with FakeNode(panel.url, token, "verify1") as made:
        yield made
    panel.request("PUT", "/nodes/verify1", {"status": "draining"})


def test_what_cannot_be_verified_is_named(runner: Runner, owner: str) -> None:
    runner.steps(
        Step(
            MODULE, {"engine": "icecats", "customer": "verify-x"}, error="engine: 'icecats' is none. Use one of icecast"
        ),
        Step(
            MODULE, {"engine": "icecast", "customer": owner}, error="is there already, and what is verified is removed"
        ),
        Step(MODULE, {"engine": "icecast", "customer": "Not a slug"}, error="cannot begin the slugs of services"),
        Step(MODULE, {"engine": "icecast"}, error="missing required arguments: customer"),
    )


def test_the_playbook_fails_with_the_reason_and_leaves_nothing(runner: Runner, panel: Panel, node: FakeNode) -> None:
    playbook = ROOT / "playbooks" / "verify_engine.yml"
    answers = {"engine": "icecast", "verify_engine_node": "verify1", "verify_engine_address": "127.0.0.1"}

    def run(*options: str, **changes: str) -> tuple[int, str, dict[str, dict[str, object]]]:
        code, results, _ = runner.playbook(playbook, {**answers, **changes}, *options)
        return code, "\n".join(str(item.get("msg")) for item in results.values() if item.get("failed")), results

    assert "Unknown: verify_engine_nod. Use verify_engine_ followed by one of node" in run(verify_engine_nod="x")[1]
    assert "engine is empty" in run(engine=" ")[1]
    code, _, results = run("--check")
    assert (code, results["Verify the engine"]["skipped"]) == (0, True)
    code, told, results = run()
    assert code != 0
    # Who is not there turns nobody away: that is no refusal.
    assert "2 of 4 checks of icecast are not ok" in told
    assert "the encoder with the right credential is refused" in told
    made = results["Verify the engine"]["checks"]
    assert isinstance(made, list)
    assert [(item["name"], item["ok"]) for item in made] == [
        ("created", True),
        ("neighbour created", True),
        ("wrong credential refused", False),
        ("published and played", False),
    ]
    assert results["Remove the customer and its services"]["changed"] is True
    left = panel.request("GET", "/customers?search=verify-icecast")[1]
    assert left["items"] == []
    assert panel.request("GET", "/media-services?search=verify-icecast")[1]["items"] == []
