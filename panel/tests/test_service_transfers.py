"""Transfers of services between nodes: what may begin, what each step makes of both nodes' documents, and its end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from streamfleet_panel import access, collected, nodedoc, service_transfers
from streamfleet_panel.hold_times import HoldTimes
from streamfleet_panel.models import (
    AuditLog,
    ListenerSession,
    MediaService,
    Node,
    ServiceStatus,
    ServiceTransfer,
    Transfer,
    Usage,
)
from tests_support import Api, stand

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA87XWuBJn2PerAcsbHAuAzufLtl4aLjavEPODNG1Rzn"
AUTODJ = {"enabled": True}


@pytest.fixture
def fleet(world: None, run: Run) -> None:
    """A second node with Icecast, and a station of ada's with an AutoDJ."""
    stand("transfers", lambda: make_fleet(run))


def make_fleet(run: Run) -> None:
    run(
        {
            "nodes": [
                {
                    "name": "far",
                    "address": "192.0.2.20",
                    "engines": ["icecast"],
                    "stream_host": "far.example.net",
                    "port_range_start": 8100,
                    "port_range_end": 8110,
                    "host_key": KEY,
                },
                {"name": "third", "address": "192.0.2.30", "engines": ["flussonic"]},
                {
                    "name": "video",
                    "address": "192.0.2.40",
                    "engines": ["nginx_rtmp"],
                    "stream_host": "video.example.net",
                    "host_key": KEY,
                },
            ],
            "customers": [{"username": "ada"}],
            "media_services": [
                {"slug": "jazz", "customer": "ada", "engine": "icecast", "node": "node1"},
                {"slug": "soul", "customer": "ada", "engine": "icecast", "node": "node1"},
                {"slug": "cam", "customer": "bob", "engine": "flussonic", "node": "third"},
            ],
        }
    )
    run({"media_services": [{"slug": "jazz", "autodj": AUTODJ}]})


@pytest.fixture
def root(fleet: None, api: Callable[..., Api]) -> Api:
    return api("root")


def begin(root: Api, *slugs: str, to: str = "far", **more: Any) -> tuple[int, Any]:
    return root("POST", "/transfers", {"services": list(slugs), "to": to, **more})


def step(root: Api, one: dict[str, Any], name: str, **more: Any) -> tuple[int, Any]:
    """Ask for a step; for those that end a hold, of the hold that there is."""
    if name in service_transfers.ENDING and not more:
        more = {"hold": ServiceTransfer.objects.values_list("hold", flat=True).get(pk=one["id"])}
    return root("POST", f"/transfers/{one['id']}/steps", {"step": name, **more})


def told(name: str) -> dict[str, dict[str, Any]]:
    """The services of a node's document by their slugs."""
    document = nodedoc.document(Node.objects.get(name=name))
    return {service["slug"]: service for service in document["services"]}


def generation(name: str) -> int:
    return int(Node.objects.values_list("generation", flat=True).get(name=name))


def reported(name: str, **failed: str) -> None:
    """The node says that it has done what it was told, but for those that failed, each with a message."""
    node = Node.objects.get(name=name)
    document = nodedoc.document(node)
    services = {
        item["slug"]: {"generation": item["generation"], "state": item["state"], "message": ""}
        for item in document["services"]
    }
    for slug, message in failed.items():
        services[slug] |= {"state": "failed", "message": message}
    body = {"epoch": document["epoch"], "generation": document["generation"], "services": services}
    nodedoc.store_status(node, body)


def test_a_transfer_from_the_first_step_to_its_release(root: Api) -> None:
    before = told("node1")["jazz"]
    ports = {"port": before["port"], "live_port": before["settings"]["live_port"]}
    status, answer = begin(root, "jazz")
    one = answer["transfer"]
    assert (status, answer["new"], one["state"]) == (201, True, "copying")
    assert one["services"][0]["source_ports"] == one["services"][0]["target_ports"] == ports
    assert one["services"][0]["opens"] == sorted(ports.values())
    assert one["libraries"] == [{"customer": "ada", "uid": before["uid"], "keep": False}]
    assert (one["target"]["address"], one["target"]["host_key"]) == ("192.0.2.20", KEY)
    assert told("node1")["jazz"] == before
    assert "jazz" not in told("far")

    assert step(root, one, "hold")[1]["transfer"]["state"] == "holding"
    held = told("node1")["jazz"]
    pairs = sorted([[port, port] for port in ports.values()])
    assert (held["state"], held["forward"]) == ("moved", {"address": "192.0.2.20", "ports": pairs})
    assert "library_mb" not in held
    assert "jazz" not in told("far")

    reported("node1")
    assert root("GET", "/media-services/jazz/status")[1]["state"] == "moved"
    assert step(root, one, "switch")[1]["transfer"]["state"] == "switched"
    there = told("far")["jazz"]
    assert {**there, "generation": 0} == {**before, "generation": 0}
    left = told("node1")["jazz"]
    assert (left["state"], left["port"], left["forward"]) == ("moved", ports["port"], held["forward"])
    assert (left["playlists"], left["queue"], left["domains"]) == ([], [], [])
    # The former node needs passwords of its own kind for its files, and learns none of the other's.
    assert {name: value is None for name, value in left["credentials"].items()} == {
        name: value is None for name, value in there["credentials"].items()
    }
    assert not {value for value in left["credentials"].values() if value} & set(there["credentials"].values())
    assert told("node1")["jazz"] == left
    assert root("GET", "/media-services/jazz/status")[1]["state"] == "pending"
    reported("far")
    reported("node1")
    assert root("GET", "/media-services/jazz")[1]["node"] == "far"
    assert root("GET", "/media-services/jazz/status")[1]["state"] == "running"

    assert step(root, one, "finish")[0] == 409
    assert step(root, one, "release")[1]["transfer"]["state"] == "releasing"
    assert told("node1")["jazz"]["state"] == "deleted"
    status, answer = step(root, one, "finish")
    assert (status, "has not reported yet" in answer["error"]["message"]) == (409, True)
    reported("node1")
    generation = Node.objects.get(name="node1").generation
    for _again in range(2):
        assert step(root, one, "finish") == (200, {"transfer": None})
    assert "jazz" not in told("node1")
    assert Node.objects.get(name="node1").generation == generation + 1
    assert told("far")["jazz"]["state"] == "running"
    assert not ServiceTransfer.objects.exists()
    done = AuditLog.objects.filter(key="jazz", action__startswith="transfer").order_by("pk")
    assert [entry.action.partition(" ")[2] for entry in done] == ["begin", "hold", "switch", "release", "finish"]
    assert begin(root, "jazz") == (200, {"transfer": None, "new": False})


def test_steps_asked_for_again_are_no_error_and_others_are(root: Api) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    again = begin(root, "jazz")
    assert (again[0], again[1]["new"], again[1]["transfer"]["id"]) == (200, False, one["id"])
    for name in ("switch", "release", "back", "finish"):
        status, answer = step(root, one, name)
        assert (status, answer["error"]["code"]) == (409, "conflict"), name
    for name, state in (("hold", "holding"), ("switch", "switched"), ("release", "releasing")):
        if name == "release":
            reported("far")
        for _again in range(2):
            assert step(root, one, name)[1]["transfer"]["state"] == state
    assert step(root, one, "undo")[0] == 409
    assert step(root, one, "jump")[0] == 422
    assert root("POST", "/transfers/999/steps", {"step": "hold"})[0] == 404


def test_undo_before_the_switch(root: Api) -> None:
    before = told("node1")["jazz"]
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    assert step(root, one, "resume")[1]["transfer"]["state"] == "copying"
    assert {**told("node1")["jazz"], "generation": 0} == {**before, "generation": 0}
    step(root, one, "hold")
    given_up = step(root, one, "undo")[1]["transfer"]
    assert (given_up["state"], given_up["reached"]) == ("clearing", False)
    assert told("node1")["jazz"]["state"] == "running"
    # A service of this name that it may have is somebody's: it is told of none that it is to delete.
    assert "jazz" not in told("far")
    assert step(root, one, "finish") == (200, {"transfer": None})


def test_undo_after_the_switch(root: Api, run: Run) -> None:
    before = told("node1")["jazz"]
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    step(root, one, "switch")
    run({"media_services": [{"slug": "jazz", "genre": "jazz"}]})
    assert step(root, one, "undo")[1]["transfer"]["state"] == "returning"
    off = told("far")["jazz"]
    assert (off["state"], off["forward"]) == ("moved", None)
    assert ServiceTransfer.objects.get(pk=one["id"]).reached
    assert told("node1")["jazz"]["state"] == "moved"
    for _again in range(2):
        assert step(root, one, "resume")[1]["transfer"]["state"] == "switched"
    assert told("far")["jazz"]["state"] == "running"
    step(root, one, "undo")
    assert step(root, one, "back")[1]["transfer"]["state"] == "clearing"
    back = told("node1")["jazz"]
    assert (back["state"], back["port"], back["settings"]["genre"]) == ("running", before["port"], "jazz")
    assert told("far")["jazz"]["state"] == "deleted"
    reported("far")
    assert step(root, one, "finish")[0] == 200


def test_nothing_is_released_that_the_other_node_may_not_have(root: Api) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    switched = step(root, one, "switch")[1]["transfer"]
    assert switched["unsettled"] == f"far has not reported since the switch (generation {generation('far')})"
    status, answer = step(root, one, "release")
    assert (status, "node1 has the only copy that is known to be good" in answer["error"]["message"]) == (409, True)
    reported("far", jazz="it does not start")
    status, answer = step(root, one, "release")
    assert (status, "jazz failed on far: it does not start" in answer["error"]["message"]) == (409, True)
    assert step(root, one, "release", force="yes")[0] == 422
    Node.objects.filter(name="far").update(status="disabled")
    assert step(root, one, "release", force=True)[0] == 409
    Node.objects.filter(name="far").update(status="active")
    reported("far")
    assert root("GET", f"/transfers/{one['id']}")[1]["unsettled"] == ""
    assert step(root, one, "release")[0] == 200


def test_what_fails_for_its_own_reasons_is_released_when_that_is_meant(root: Api) -> None:
    one = begin(root, "jazz", "soul")[1]["transfer"]
    step(root, one, "hold")
    step(root, one, "switch")
    assert step(root, one, "release", force=True)[0] == 409
    reported("far", jazz="a setting", soul="another")
    status, answer = step(root, one, "release")
    assert (status, "soul failed on far: another. Mend or suspend" in answer["error"]["message"]) == (409, True)
    assert step(root, one, "release", force=True)[1]["transfer"]["state"] == "releasing"


def test_a_service_that_fails_already_takes_nobody_off_the_air(root: Api) -> None:
    reported("node1", jazz="a setting that cannot be rendered")
    status, answer = begin(root, "jazz", "soul")
    problems = [(problem["value"], problem["message"]) for problem in answer["error"]["errors"]]
    assert (status, problems) == (422, [("jazz", "failed on node1: a setting that cannot be rendered")])
    reported("node1")
    one = begin(root, "jazz", "soul")[1]["transfer"]
    reported("node1", jazz="a setting that cannot be rendered")
    status, answer = step(root, one, "hold")
    assert (status, "jazz failed on node1: a setting" in answer["error"]["message"]) == (409, True)
    assert told("node1")["soul"]["state"] == "running"
    reported("node1")
    assert step(root, one, "hold")[0] == 200


def test_a_release_is_taken_back_until_it_is_at_its_end(root: Api) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    step(root, one, "switch")
    reported("far")
    step(root, one, "release")
    assert told("node1")["jazz"]["state"] == "deleted"
    for _again in range(2):
        assert step(root, one, "resume")[1]["transfer"]["state"] == "switched"
    left = told("node1")["jazz"]
    assert (left["state"], left["forward"]["address"]) == ("moved", "192.0.2.20")
    # Whether the target has them is asked anew.
    assert step(root, one, "release")[0] == 409
    assert step(root, one, "undo")[1]["transfer"]["state"] == "returning"


def test_documents_and_steps_take_no_more_queries_for_more_services(
    root: Api, django_assert_max_num_queries: Any
) -> None:
    one = begin(root, "jazz", "soul")[1]["transfer"]
    step(root, one, "hold")
    with django_assert_max_num_queries(60) as asked:
        step(root, one, "switch")
    changes = [query["sql"] for query in asked if query["sql"].startswith("UPDATE") and "mediaservice" in query["sql"]]
    assert changes == [], "each row by itself locks them out of order"
    # With the node itself, and the domains of what it has no more.
    with django_assert_max_num_queries(12):
        assert {"jazz", "soul"} <= set(told("node1"))


def test_a_node_that_is_dead_is_not_waited_for(root: Api) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    step(root, one, "switch")
    Node.objects.filter(name="far").update(status="disabled")
    assert step(root, one, "undo")[1]["transfer"]["target"]["status"] == "disabled"
    assert step(root, one, "back")[1]["transfer"]["state"] == "clearing"
    assert told("node1")["jazz"]["state"] == "running"
    assert step(root, one, "finish") == (200, {"transfer": None})


def test_nothing_goes_back_to_a_node_that_is_dead(root: Api) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    step(root, one, "switch")
    reported("far")
    Node.objects.filter(name="node1").update(status="disabled")
    status, answer = step(root, one, "undo")
    assert (status, "node1 is disabled" in answer["error"]["message"]) == (409, True)
    assert step(root, one, "release")[0] == 200
    assert step(root, one, "finish")[0] == 200


def test_a_run_that_was_given_up_does_not_end_the_hold_of_another(root: Api) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    first = step(root, one, "hold")[1]["transfer"]["hold"]
    second = step(root, one, "hold")[1]["transfer"]["hold"]
    status, answer = step(root, one, "switch", hold=first)
    assert (status, "another run holds the services" in answer["error"]["message"]) == (409, True)
    for nothing in ({"hold": None}, {"hold": "1"}, {"hold": True}):
        assert step(root, one, "switch", **nothing)[0] == 422
    # Nor does it give back what the other one holds.
    assert step(root, one, "resume", hold=first)[0] == 409
    assert told("node1")["jazz"]["state"] == "moved"
    assert step(root, one, "switch", hold=second)[1]["transfer"]["state"] == "switched"
    # Who has lost the answer to the switch does not hear that the services are where they were.
    assert step(root, one, "resume", hold=second)[0] == 409


def test_changes_reach_the_node_that_forwards(root: Api, run: Run) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    step(root, one, "switch")
    before, other = generation("node1"), generation("far")
    run({"media_services": [{"slug": "jazz", "genre": "jazz"}]})
    assert (generation("node1"), generation("far")) == (before + 1, other + 1)
    assert root("POST", "/media-services/jazz/actions", {"action": "restart"})[0] < 300
    assert (generation("node1"), generation("far")) == (before + 2, other + 2)


def test_what_was_heard_before_is_counted_after(root: Api) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    step(root, one, "switch")
    node, jazz = Node.objects.get(name="node1"), MediaService.objects.get(slug="jazz")
    now = timezone.now()
    heard = {"slug": "jazz", "id": "0" * 32, "source": "direct", "address": "192.0.2.9", "bytes": 7}
    heard |= {"started": now.timestamp() - 60, "ended": now.timestamp()}
    sent = {"slug": "jazz", "month": now.strftime("%Y-%m"), "counter": "1" * 32, "bytes": 7}
    listeners = {"slug": "jazz", "listeners": 5}
    items = {"sessions": [("", heard)], "transfer": [("", sent)], "usage": [("jazz", listeners)]}
    source = ListenerSession.Source.values[0]
    heard["source"] = source
    place = collected.place_of(node.pk)
    assert collected.store(node.pk, place.number, collected.Batch(items, {}, False))
    assert ListenerSession.objects.filter(media_service=jazz).count() == 1
    assert Transfer.objects.get(media_service=jazz).bytes == 7
    # What there is at the moment is the other node's to say.
    assert not Usage.objects.filter(media_service=jazz).exists()
    assert root("GET", f"/transfers/{one['id']}")[1]["services"][0]["listeners"] is None
    far = Node.objects.get(name="far")
    assert collected.store(far.pk, collected.place_of(far.pk).number, collected.Batch(items, {}, False))
    assert root("GET", f"/transfers/{one['id']}")[1]["services"][0]["listeners"] == 5


def test_ports_that_are_taken_there_become_others(root: Api, run: Run) -> None:
    first = told("node1")["jazz"]["port"]
    run({"media_services": [{"slug": "far-fm", "customer": "bob", "engine": "icecast", "node": "far", "port": first}]})
    one = begin(root, "jazz")[1]["transfer"]
    given = one["services"][0]
    assert given["target_ports"]["port"] not in (first, *given["source_ports"].values())
    # They are kept for it, on both nodes.
    taken = given["target_ports"]["port"]
    with pytest.raises(Exception, match="is taken on far by jazz"):
        run({"media_services": [{"slug": "far-fm", "port": taken}]})
    step(root, one, "hold")
    step(root, one, "switch")
    assert told("far")["jazz"]["port"] == taken
    with pytest.raises(Exception, match="is taken on node1 by jazz"):
        run({"media_services": [{"slug": "soul", "port": first}]})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"services": ["jazz"], "to": "none"}, "there is no such node"),
        ({"services": ["nobody"], "to": "far"}, "there is no such service"),
        ({"services": ["jazz"], "to": "node2"}, "this node is draining"),
        ({"services": ["cam"], "to": "far"}, "cannot be transferred: they share the ports of one server"),
        ({"services": ["tv"], "to": "far"}, "does not run nginx_rtmp"),
        ({"services": [], "to": "far"}, "names no services"),
        ({"services": ["jazz"], "customer": "ada", "to": "far"}, "one of services, customer and node"),
        ({"customer": "nobody", "to": "far"}, "has no service"),
        ({"services": "jazz", "to": "far"}, "must be a list of slugs"),
        ({"services": ["jazz"], "to": "far", "dry_run": "yes"}, "must be true or false"),
        ({"services": ["jazz"]}, "must be a name"),
        ({"services": ["jazz"], "to": "far", "when": "later"}, "is not a field of this call"),
    ],
)
def test_what_cannot_begin_is_refused_with_the_reason(root: Api, body: dict[str, Any], message: str) -> None:
    status, answer = root("POST", "/transfers", body)
    assert status == 422
    problems = answer["error"]["errors"]
    assert any(message in problem["message"] for problem in problems), problems
    assert all(problem["fix"] for problem in problems)
    assert not ServiceTransfer.objects.exists()


def test_services_that_are_to_come_have_their_room(root: Api) -> None:
    Node.objects.filter(name="far").update(max_media_services=1)
    assert begin(root, "jazz")[0] == 201
    status, answer = begin(root, "soul")
    assert (status, "has 1 services, and max_media_services is 1" in answer["error"]["message"]) == (422, True)


def test_a_dry_run_begins_nothing(root: Api) -> None:
    generation = Node.objects.get(name="far").generation
    status, answer = begin(root, "jazz", dry_run=True)
    assert (status, answer["new"], answer["transfer"]["id"]) == (200, True, None)
    assert not ServiceTransfer.objects.exists()
    assert Node.objects.get(name="far").generation == generation


def test_a_library_goes_as_a_whole_and_into_no_other(root: Api, run: Run) -> None:
    run({"media_services": [{"slug": "soul", "autodj": AUTODJ}]})
    status, answer = begin(root, "jazz")
    assert (status, "soul plays the media library of ada, too" in answer["error"]["message"]) == (422, True)
    status, answer = begin(root, "jazz", "soul")
    assert status == 201
    step(root, answer["transfer"], "undo")
    reported("far")
    assert step(root, answer["transfer"], "finish")[0] == 200
    run({"media_services": [{"slug": "far-fm", "customer": "ada", "engine": "icecast", "node": "far"}]})
    run({"media_services": [{"slug": "far-fm", "autodj": AUTODJ}]})
    status, answer = begin(root, "jazz", "soul")
    assert (status, "has a media library on far already" in answer["error"]["message"]) == (422, True)


def test_all_of_a_customer_and_all_of_a_node(root: Api, run: Run) -> None:
    dry = root("POST", "/transfers", {"customer": "ada", "to": "far", "dry_run": True})[1]["transfer"]
    assert [item["slug"] for item in dry["services"]] == ["jazz", "soul"]
    status, answer = root("POST", "/transfers", {"node": "third", "to": "far"})
    assert (status, "share the ports of one server" in str(answer)) == (422, True)
    assert "Services of icecast, nginx_rtmp, shoutcast2, icecast_kh can." in str(answer)
    one = root("POST", "/transfers", {"customer": "ada", "to": "far"})[1]["transfer"]
    for name in ("hold", "switch"):
        step(root, one, name)
    again = root("POST", "/transfers", {"customer": "ada", "to": "far"})
    assert (again[0], again[1]["transfer"]["id"], again[1]["transfer"]["state"]) == (200, one["id"], "switched")
    for query in ("customer=ada", "media_service=soul", "node=node1"):
        assert [item["id"] for item in root("GET", f"/transfers?{query}")[1]["items"]] == [one["id"]], query
    assert root("GET", "/transfers?media_service=eve-fm")[1]["count"] == 0


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"media_services": [{"slug": "jazz", "state": "absent"}]}, "cannot be deleted meanwhile"),
        ({"customers": [{"username": "ada", "state": "absent"}]}, "cannot be deleted meanwhile"),
        ({"media_services": [{"slug": "jazz", "port": 8250}]}, "its ports cannot change meanwhile"),
        ({"media_services": [{"slug": "jazz", "autodj": None}]}, "its ports cannot change meanwhile"),
        ({"media_services": [{"slug": "soul", "autodj": AUTODJ}]}, "is being transferred, with jazz"),
        ({"nodes": [{"name": "far", "state": "absent"}]}, "are being transferred from or to this node"),
    ],
)
def test_documents_do_not_get_in_the_way(root: Api, run: Run, document: dict[str, Any], message: str) -> None:
    begin(root, "jazz")
    with pytest.raises(Exception, match=message):
        run(document)


def test_a_station_of_shoutcast_is_sent_on_at_both_of_its_ports(root: Api, run: Run) -> None:
    """And one of Icecast-KH at its own; neither goes to a node that lacks its engine."""
    engines = ["icecast", "icecast_kh", "shoutcast2"]
    run({"nodes": [{"name": "node1", "engines": [*engines, "nginx_rtmp"]}]})
    station = {"customer": "ada", "node": "node1"}
    services = [{**station, "slug": "cast", "engine": "shoutcast2"}, {**station, "slug": "kh", "engine": "icecast_kh"}]
    run({"media_services": services})
    messages = {problem["path"]: problem["message"] for problem in begin(root, "cast", "kh")[1]["error"]["errors"]}
    assert messages == {
        "services[0]": "far does not run shoutcast2; it runs icecast",
        "services[1]": "far does not run icecast_kh; it runs icecast",
    }
    run({"nodes": [{"name": "far", "engines": engines}]})
    # Its first port is somebody's there, so both are others.
    here = MediaService.objects.get(slug="cast").port
    assert here is not None
    run({"media_services": [{"slug": "there", "customer": "ada", "engine": "icecast", "node": "far", "port": here}]})
    one = begin(root, "cast", "kh")[1]["transfer"]
    step(root, one, "hold")
    held = told("node1")
    there = {item["slug"]: item["target_ports"]["port"] for item in one["services"]}
    assert there["cast"] not in (here, here + 1)
    assert held["cast"]["forward"]["ports"] == [[here, there["cast"]], [here + 1, there["cast"] + 1]]
    assert held["kh"]["forward"]["ports"] == [[held["kh"]["port"], there["kh"]]]
    step(root, one, "switch")
    assert {slug: told("far")[slug]["port"] for slug in there} == there


def test_services_that_a_killed_run_holds_come_back_by_the_clock(root: Api) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    assert service_transfers.tick(access.system("clock")) == 0
    late = timezone.now() - service_transfers.HELD_AT_MOST - timedelta(seconds=1)
    ServiceTransfer.objects.update(held_at=late)
    assert service_transfers.tick(access.system("clock")) == 1
    assert told("node1")["jazz"]["state"] == "running"
    assert step(root, one, "switch")[0] == 409


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_clock_that_jumps_gives_back_neither_late_nor_early(
    root: Api, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    lived = [5000.0]
    monkeypatch.setattr(service_transfers, "_HOLD_TIMES", HoldTimes(lambda: lived[0]))
    clock, most = access.system("clock"), service_transfers.HELD_AT_MOST.total_seconds()
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    assert service_transfers.tick(clock) == 0
    now = timezone.now() + jump
    monkeypatch.setattr(service_transfers.timezone, "now", lambda: now)
    lived[0] += most - 5
    assert service_transfers.tick(clock) == 0
    lived[0] += 10
    assert service_transfers.tick(clock) == 1


def test_holds_are_timed_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def lived(which: int) -> float:
        asked.append(which)
        return 5.0

    monkeypatch.setattr(time, "clock_gettime", lived)
    assert service_transfers._HOLD_TIMES.over({}, timezone.now(), service_transfers.HELD_AT_MOST) == []
    assert asked == [time.CLOCK_BOOTTIME]


def test_services_that_a_killed_undo_holds_stay_where_they_are_by_the_clock(root: Api) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    step(root, one, "hold")
    step(root, one, "switch")
    assert step(root, one, "undo")[1]["transfer"]["state"] == "returning"
    assert told("far")["jazz"]["state"] == "moved"
    ServiceTransfer.objects.update(held_at=timezone.now() - service_transfers.HELD_AT_MOST - timedelta(seconds=1))
    assert service_transfers.tick(access.system("clock")) == 1
    assert told("far")["jazz"]["state"] == "running"
    assert root("GET", f"/transfers/{one['id']}")[1]["state"] == "switched"


def test_a_process_that_starts_on_a_clock_that_was_set_back_waits_no_longer_than_a_hold_may_last() -> None:
    lived = [10.0]
    times, most = HoldTimes(lambda: lived[0]), timedelta(minutes=15)
    now = timezone.now()
    held = {1: now + timedelta(hours=5), 2: now - timedelta(minutes=14), 3: now - timedelta(minutes=16)}
    assert times.over(held, now, most) == [3]
    lived[0] += 61
    assert times.over({1: held[1], 2: held[2]}, now, most) == [2]
    # One that is held anew has all of its time.
    held[2] = now
    lived[0] += 840
    assert times.over({1: held[1], 2: held[2]}, now, most) == [1]


def test_the_clock_gives_back_what_is_held_still_and_goes_on_over_what_ended(
    root: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [begin(root, slug)[1]["transfer"] for slug in ("jazz", "soul")]
    for one in made:
        step(root, one, "hold")
    late = timezone.now() - service_transfers.HELD_AT_MOST - timedelta(seconds=1)
    ServiceTransfer.objects.update(held_at=late)
    done, ended = service_transfers.step, made[1]["id"]

    def meanwhile(actor: access.Actor, found: ServiceTransfer, name: str, **more: Any) -> ServiceTransfer | None:
        """The latest is at its end before the clock comes to it; the other one is taken up again."""
        ServiceTransfer.objects.filter(pk=ended).delete()
        return done(actor, found, name, **more)

    with monkeypatch.context() as patched:
        patched.setattr(service_transfers, "step", meanwhile)
        assert service_transfers.tick(access.system("clock")) == 1
    step(root, made[0], "hold")
    clock = done(access.system("clock"), ServiceTransfer.objects.get(pk=made[0]["id"]), "resume", held_at=late)
    assert clock is not None
    assert clock.state == "holding"


def test_a_library_is_kept_where_another_station_of_the_customer_stays(root: Api) -> None:
    """Its AutoDJ is off, and its files are there."""
    one = begin(root, "jazz")[1]["transfer"]
    assert one["libraries"][0]["keep"] is False
    step(root, one, "hold")
    step(root, one, "switch")
    assert root("GET", f"/transfers/{one['id']}")[1]["libraries"][0]["keep"] is True


def test_a_library_is_not_kept_where_the_transfer_has_brought_it(root: Api, run: Run) -> None:
    """Another station of the customer is on that node, and has no library there: nothing else would remove it."""
    run({"media_services": [{"slug": "beside", "node": "far", "customer": "ada", "engine": "icecast"}]})
    one = begin(root, "jazz")[1]["transfer"]
    assert one["libraries"][0]["keep"] is False
    status, answer = step(root, one, "undo")
    assert (status, answer["transfer"]["state"]) == (200, "clearing")
    assert answer["transfer"]["libraries"][0]["keep"] is False


def test_it_is_administrators_business(root: Api, api: Callable[..., Api]) -> None:
    one = begin(root, "jazz")[1]["transfer"]
    for other in (api("alice"), api("shop"), api(worker=True), api(node="node1")):
        assert other("GET", "/transfers")[0] == 403
        assert begin(other, "jazz")[0] == 403
        assert other("GET", f"/transfers/{one['id']}")[0] in (403, 404)
        assert step(other, one, "hold")[0] in (403, 404)
    assert MediaService.objects.get(slug="jazz").node.name == "node1"
    assert not ServiceStatus.objects.filter(state="moved").exists()


def digest(key: str) -> str:
    """By which the former node knows a key."""
    return hashlib.sha256(b"sent on " + key.encode()).hexdigest()


def test_a_channel_goes_and_the_former_node_is_told_who_is_sent_on_and_no_key(root: Api, run: Run) -> None:
    key = MediaService.objects.get(slug="tv").credentials["stream_key"]
    Node.objects.filter(name="video").update(facts={"host_ports": {"nginx_rtmp": {"RTMP": 1945}}})
    status, answer = begin(root, "tv", to="video")
    assert status == 201
    one = answer["transfer"]
    assert [(item["source_ports"], item["target_ports"], item["opens"]) for item in one["services"]] == [({}, {}, [])]
    before = told("node1")["tv"]
    assert (before["state"], "digests" in before) == ("running", False)
    step(root, one, "hold")
    # Nobody has it on the air: there is nowhere to send anybody, and who comes is no stranger.
    held = told("node1")["tv"]
    assert (held["state"], held["forward"]) == ("moved", None)
    assert held["digests"] == {"stream_key": [{"digest": digest(key), "expires": None}]}
    step(root, one, "switch")
    former, now = told("node1")["tv"], told("video")["tv"]
    ports = former["forward"].pop("host_ports")
    assert former["forward"] == {
        "node": "video",
        "address": "192.0.2.40",
        "stream_host": "video.example.net",
        "open": True,
    }
    assert (ports["RTMP"], ports["RTMPS"]) == (1945, 1936)
    assert former["digests"] == held["digests"]
    assert key not in str(former)
    # What the other node knows the key by is none of it.
    assert hashlib.sha256(key.encode()).hexdigest() not in str(former)
    assert (now["state"], now["credentials"], "digests" in now) == ("running", {"stream_key": key}, False)
    reported("video")
    step(root, one, "undo")
    assert [told(name)["tv"]["state"] for name in ("node1", "video")] == ["moved", "moved"]
    # Viewers have what the other node has sent, until it is this one's turn.
    assert (told("node1")["tv"]["forward"]["open"], told("video")["tv"]["forward"]) == (False, None)
    assert told("video")["tv"]["digests"] == held["digests"]
    step(root, one, "back")
    assert told("node1")["tv"]["state"] == "running"
    assert told("video")["tv"]["state"] == "deleted"


def test_who_is_sent_on_changes_with_the_keys_and_the_state(root: Api, run: Run) -> None:
    old = MediaService.objects.get(slug="tv").credentials["stream_key"]
    one = begin(root, "tv", to="video")[1]["transfer"]
    for name in ("hold", "switch"):
        step(root, one, name)
    before = generation("node1")
    rotated = root("POST", "/media-services/tv/credentials/rotate", {"overlap_seconds": 3600})[1]
    new = rotated["credentials"]["stream_key"]
    assert generation("node1") > before
    now = told("node1")["tv"]["digests"]["stream_key"]
    assert {item["digest"]: item["expires"] is None for item in now} == {digest(new): True, digest(old): False}
    run({"media_services": [{"slug": "tv", "suspended": True}]})
    assert "digests" not in told("node1")["tv"]


def test_a_channel_goes_to_no_node_that_is_known_by_its_name_alone(root: Api) -> None:
    Node.objects.filter(name="video").update(address="video.example.net")
    status, answer = begin(root, "tv", to="video")
    assert status == 422
    (problem,) = answer["error"]["errors"]
    assert (problem["path"], problem["value"]) == ("to", "video")
    assert "the name video.example.net" in problem["message"]
    assert "streamfleet_node_address" in problem["fix"]


@pytest.mark.parametrize(("node", "path"), [("node1", "services"), ("video", "to")])
def test_a_channel_goes_from_and_to_no_node_without_a_name_of_its_streams(root: Api, node: str, path: str) -> None:
    Node.objects.filter(name=node).update(stream_host="", address="2001:db8::7")
    status, answer = begin(root, "tv", to="video")
    assert status == 422
    (problem,) = answer["error"]["errors"]
    assert (problem["path"], problem["value"]) == (path, node)
    assert "has no stream_host" in problem["message"]
    assert "streamfleet_stream_host" in problem["fix"]
    # Stations have ports of their own.
    Node.objects.filter(name="far").update(stream_host="")
    assert begin(root, "jazz", to="far")[0] == 201
