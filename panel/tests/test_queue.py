"""Stations' queues: what is put in, in which order, what is refused, and what nodes may tell of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from streamfleet_panel import collected, control, nodedoc, queueing
from streamfleet_panel.access import Actor, Role
from streamfleet_panel.apply import ApiError
from streamfleet_panel.collected import Batch
from streamfleet_panel.models import AuditLog, MediaService, Node, QueuedTrack
from tests_support import Api

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
QUEUE = "/media-services/rock/queue"


@pytest.fixture
def alice(world: None, run: Callable[..., Any], api: Callable[..., Api]) -> Api:
    """The owner of a station with an AutoDJ."""
    run({"media_services": [{"slug": "rock", "autodj": {}}, {"slug": "eve-fm", "autodj": {}}]})
    return api("alice")


def put(call: Api, *files: str, **more: Any) -> dict[str, Any]:
    status, answer = call("POST", QUEUE, {"files": list(files), **more})
    assert status == 200, answer
    return answer


def waiting(call: Api) -> list[str]:
    answer = call("GET", QUEUE)[1]
    assert [item["position"] for item in answer["items"]] == list(range(1, answer["count"] + 1))
    return [item["path"] for item in answer["items"]]


def on_node(slug: str = "rock") -> list[dict[str, str]]:
    """What the document of the service's node has."""
    node = MediaService.objects.get(slug=slug).node
    (service,) = (item for item in nodedoc.document(node)["services"] if item["slug"] == slug)
    return service["queue"]


def tell(slug: str, *entries: Any) -> None:
    """As the worker stores what the service's node has answered."""
    node = Node.objects.get(media_services__slug=slug)
    number = collected.place_of(node.pk).number
    assert collected.store(node.pk, number, Batch({"queue": [(slug, {"items": list(entries)})]}, {}, False))


def test_files_wait_in_their_order_and_where_they_are_wanted(alice: Api) -> None:
    first = put(alice, "a.mp3", "b/c.ogg")
    assert (first["dry_run"], first["count"]) == (False, 2)
    assert [(item["path"], item["position"], item["state"]) for item in first["items"]] == [
        ("a.mp3", 1, "sent"),
        ("b/c.ogg", 2, "sent"),
    ]
    assert put(alice, "first.mp3", position=1)["items"][0]["position"] == 1
    assert put(alice, "third.mp3", position=3)["items"][0]["position"] == 3
    assert put(alice, "last.mp3", position=999)["items"][0]["position"] == 5
    assert waiting(alice) == ["first.mp3", "a.mp3", "third.mp3", "b/c.ogg", "last.mp3"]
    assert [item["path"] for item in on_node()] == waiting(alice)
    assert len({item["id"] for item in on_node()}) == 5
    page = alice("GET", f"{QUEUE}?limit=2&offset=3")[1]
    assert [(item["path"], item["position"]) for item in page["items"]] == [("b/c.ogg", 4), ("last.mp3", 5)]


def test_what_waits_is_not_added_again_where_that_is_wanted(alice: Api) -> None:
    put(alice, "a.mp3")
    generation = MediaService.objects.get(slug="rock").generation
    again = put(alice, "a.mp3", unless_waiting=True)
    assert (again["items"], again["count"], again["generation"]) == ([], 1, generation)
    assert [item["path"] for item in put(alice, "b.mp3", "a.mp3", "b.mp3", unless_waiting=True)["items"]] == ["b.mp3"]
    assert [item["path"] for item in put(alice, "a.mp3", "a.mp3")["items"]] == ["a.mp3", "a.mp3"]
    assert waiting(alice) == ["a.mp3", "b.mp3", "a.mp3", "a.mp3"]


def test_a_dry_run_changes_nothing(alice: Api) -> None:
    before = AuditLog.objects.count()
    status, answer = alice("POST", f"{QUEUE}?dry_run=true", {"files": ["a.mp3"]})
    assert (status, answer["dry_run"], answer["count"]) == (200, True, 1)
    assert answer["items"][0]["id"] is None
    assert (waiting(alice), AuditLog.objects.count()) == ([], before)
    assert alice("POST", f"{QUEUE}?dry_run=true", {"files": ["../a.mp3"]})[0] == 422


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../eve/a.mp3", "contains the segment .."),
        ("a/../../b.mp3", "contains the segment .."),
        ("/etc/passwd.mp3", "begins with a slash"),
        ("a//b.mp3", "has two in a row"),
        ("", "is empty"),
        ("a\nb.mp3", "control character"),
        ("a\0b.mp3", "control character"),
        ("\ud800.mp3", "control character"),
        ("x" * 100_000 + ".mp3", "has 100004 characters, at most 500 fit"),
        (".hidden/a.mp3", "begins with a dot"),
        ("cover.jpg", "is not called as a recording is"),
        ("music", "is not called as a recording is"),
        (7, "must be a text"),
        (None, "must be a text"),
        (["a.mp3"], "must be a text"),
    ],
)
def test_what_cannot_be_a_recording_is_refused_whole(alice: Api, path: Any, message: str) -> None:
    status, answer = alice("POST", QUEUE, {"files": ["good.mp3", path]})
    assert status == 422
    (problem,) = answer["error"]["errors"]
    assert problem["path"] == "files[1]"
    assert message in problem["message"]
    assert problem["fix"]
    assert len(json.dumps(answer)) < 1000
    assert QueuedTrack.objects.count() == 0


@pytest.mark.parametrize("path", ["""a,b="c":d#{1+1} $(id) `id`; 'x' {{ 7*7 }} 📻.mp3""", 'q"\\uote.MP3', " a .flac"])
def test_odd_names_arrive_as_they_are(alice: Api, path: str) -> None:
    put(alice, path)
    assert waiting(alice) == [path]
    assert on_node()[0]["path"] == path


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "files"),
        ({"files": []}, "files"),
        ({"files": "a.mp3"}, "files"),
        ({"files": ["a.mp3"] * 101}, "files"),
        ({"files": ["a.mp3"], "position": 0}, "position"),
        ({"files": ["a.mp3"], "position": True}, "position"),
        ({"files": ["a.mp3"], "position": "1"}, "position"),
        ({"files": ["a.mp3"], "unless_waiting": 1}, "unless_waiting"),
        ({"files": ["a.mp3"], "path": "a.mp3"}, "path"),
    ],
)
def test_bodies_that_make_no_sense_are_refused(alice: Api, body: dict[str, Any], field: str) -> None:
    status, answer = alice("POST", QUEUE, body)
    assert (status, answer["error"]["errors"][0]["path"]) == (422, field)
    assert QueuedTrack.objects.count() == 0


def test_a_full_queue_is_refused(alice: Api) -> None:
    put(alice, *[f"{number}.mp3" for number in range(99)])
    status, answer = alice("POST", QUEUE, {"files": ["a.mp3", "b.mp3"]})
    assert (status, answer["error"]["code"]) == (409, "conflict")
    assert "would make 101 recordings wait, at most 100 may" in answer["error"]["message"]
    assert "collect_seconds" not in answer["error"]["message"]
    assert put(alice, "a.mp3")["count"] == 100
    # Nobody has told of any: it may be that nobody is asked.
    message = alice("POST", QUEUE, {"files": ["b.mp3"]})[1]["error"]["message"]
    assert "the worker's streamfleet_worker_collect_seconds is not 0" in message
    # What is done leaves room.
    tell("rock", {"id": on_node()[0]["id"], "state": "played", "message": ""})
    assert put(alice, "b.mp3")["count"] == 100


def test_only_services_that_can_play_a_queue_have_one(alice: Api, run: Callable[..., Any]) -> None:
    status, answer = alice("POST", "/media-services/tv/queue", {"files": ["a.mp3"]})
    assert (status, "tv has no queue" in answer["error"]["message"]) == (409, True)
    run({"media_services": [{"slug": "rock", "autodj": None}]})
    status, answer = alice("POST", QUEUE, {"files": ["a.mp3"]})
    assert status == 409
    assert "rock has no AutoDJ, which would play it. Switch its AutoDJ on first" in answer["error"]["message"]
    assert alice("POST", "/media-services/rock/actions", {"action": "skip"})[0] == 409
    assert QueuedTrack.objects.count() == 0


def test_nothing_is_skipped_where_the_autodj_is_switched_off(alice: Api, run: Callable[..., Any]) -> None:
    run({"media_services": [{"slug": "rock", "autodj": {"enabled": False}}]})
    status, answer = alice("POST", "/media-services/rock/actions", {"action": "skip"})
    assert status == 409
    assert "The AutoDJ of rock is switched off. Switch it on first: set autodj.enabled" in answer["error"]["message"]
    assert MediaService.objects.get(slug="rock").skip == 0
    # What is queued waits until it is on.
    assert put(alice, "a.mp3")["count"] == 1


@pytest.mark.parametrize("grace", [True, False])
def test_a_service_that_goes_meanwhile_has_no_queue(alice: Api, grace: bool) -> None:
    """Deleted, or purged, between the look who may and the lock."""
    put(alice, "a.mp3")
    service = MediaService.objects.get(slug="rock")
    if grace:
        MediaService.objects.filter(pk=service.pk).update(deleted_at=timezone.now())
    else:
        MediaService.objects.filter(pk=service.pk).delete()
    actor = Actor(Role.SYSTEM, "test")
    for change in (
        lambda: queueing.put(actor, service, {"files": ["b.mp3"]}),
        lambda: queueing.take_out(actor, service, None),
        lambda: queueing.take_out_one(actor, service, "0" * 32),
    ):
        with pytest.raises(ApiError, match="There is no media service rock"):
            change()
    with pytest.raises(ApiError) as refused:
        control.act(actor, service, "skip")
    assert refused.value.code == ("conflict" if grace else "not_found")


def test_an_autodj_that_goes_meanwhile_is_noticed(alice: Api, run: Callable[..., Any]) -> None:
    service = MediaService.objects.get(slug="rock")
    run({"media_services": [{"slug": "rock", "autodj": None}]})
    with pytest.raises(ApiError, match="rock has no AutoDJ"):
        queueing.put(Actor(Role.SYSTEM, "test"), service, {"files": ["b.mp3"]})


def test_some_are_taken_out_together(alice: Api) -> None:
    a, _b, c = (item["id"] for item in put(alice, "a.mp3", "b.mp3", "c.mp3")["items"])
    generation, entries = MediaService.objects.get(slug="rock").generation, AuditLog.objects.count()
    gone = "0" * 32
    assert alice("DELETE", f"{QUEUE}?ids={a},{gone},{c}")[1] == {"removed": 2, "generation": generation + 1}
    assert waiting(alice) == ["b.mp3"]
    assert AuditLog.objects.count() == entries + 1
    assert alice("DELETE", f"{QUEUE}?ids={a},{gone}")[1] == {"removed": 0, "generation": generation + 1}
    # Nobody loses all of a queue by an id that is missing.
    for ids in ("", ",", f"{a},", ",".join([gone] * 101)):
        status, answer = alice("DELETE", f"{QUEUE}?ids={ids}")
        assert (status, answer["error"]["errors"][0]["path"]) == (422, "ids")
    assert waiting(alice) == ["b.mp3"]


def test_one_or_all_are_taken_out(alice: Api) -> None:
    items = put(alice, "a.mp3", "b.mp3", "c.mp3")["items"]
    status, answer = alice("DELETE", f"{QUEUE}/{items[1]['id']}")
    assert (status, answer["removed"]) == (200, 1)
    assert waiting(alice) == ["a.mp3", "c.mp3"]
    assert [item["path"] for item in on_node()] == ["a.mp3", "c.mp3"]
    assert alice("DELETE", f"{QUEUE}/{items[1]['id']}")[0] == 404
    tell("rock", {"id": items[0]["id"], "state": "played", "message": ""})
    assert alice("DELETE", f"{QUEUE}/{items[0]['id']}")[0] == 404
    assert alice("DELETE", QUEUE)[1]["removed"] == 1
    generation = MediaService.objects.get(slug="rock").generation
    assert alice("DELETE", QUEUE)[1] == {"removed": 0, "generation": generation}
    assert on_node() == []


def test_what_became_of_it_is_told_and_no_document_changes_by_that(alice: Api) -> None:
    a, b, c = put(alice, "a.mp3", "b.mp3", "c.mp3")["items"]
    before = on_node()
    tell("rock", *({"id": item["id"], "state": "waiting", "message": "x"} for item in (a, b, c)))
    assert {item["state"] for item in alice("GET", QUEUE)[1]["items"]} == {"waiting"}
    tell(
        "rock",
        {"id": a["id"], "state": "played", "message": ""},
        {"id": b["id"], "state": "failed", "message": "is not in the\nmedia library" + "!" * 500},
        {"id": c["id"], "state": "waiting", "message": ""},
    )
    assert waiting(alice) == ["c.mp3"]
    done = alice("GET", f"{QUEUE}?done=true")[1]
    assert done["count"] == 2
    assert {(item["path"], item["state"], item["position"]) for item in done["items"]} == {
        ("a.mp3", "played", None),
        ("b.mp3", "failed", None),
    }
    message = next(item["message"] for item in done["items"] if item["state"] == "failed")
    assert message.startswith("is not in the media library!")
    assert len(message) == 200
    # The same generation, the same document: a second run changes nothing.
    assert on_node() == before
    # Done is done.
    tell("rock", {"id": a["id"], "state": "waiting", "message": ""}, {"id": b["id"], "state": "played"})
    assert alice("GET", f"{QUEUE}?done=true")[1] == done
    # The next change takes along what is done.
    put(alice, "d.mp3")
    assert [item["path"] for item in on_node()] == ["c.mp3", "d.mp3"]


@pytest.mark.parametrize(
    "entry",
    [
        7,
        None,
        [],
        {},
        {"id": 7, "state": "played"},
        {"id": "x", "state": "played"},
        {"id": "ID", "state": "gone"},
        {"id": "ID", "state": ["played"]},
        {"id": "ID"},
    ],
)
def test_what_makes_no_sense_is_passed_over(alice: Api, entry: Any) -> None:
    name = put(alice, "a.mp3")["items"][0]["id"]
    if isinstance(entry, dict) and entry.get("id") == "ID":
        entry = {**entry, "id": name}
    tell("rock", entry)
    assert waiting(alice) == ["a.mp3"]


def test_a_station_tells_of_its_own_queue_only(alice: Api) -> None:
    name = put(alice, "a.mp3")["items"][0]["id"]
    tell("eve-fm", {"id": name, "state": "played", "message": ""})
    assert waiting(alice) == ["a.mp3"]


def test_what_is_done_is_forgotten_in_the_end(alice: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queueing, "MOST_DONE", 3)
    for number in range(6):
        name = put(alice, f"{number}.mp3")["items"][0]["id"]
        tell("rock", {"id": name, "state": "played", "message": ""})
    put(alice, "last.mp3")
    done = alice("GET", f"{QUEUE}?done=true")[1]["items"]
    assert [item["path"] for item in done] == ["5.mp3", "4.mp3", "3.mp3"]


def test_what_is_told_waits_for_who_changes_the_service(alice: Api) -> None:
    """Otherwise a generation may rise between the reading of it and the noting of what was done with it."""
    name = put(alice, "a.mp3")["items"][0]["id"]
    with CaptureQueriesContext(connection) as captured:
        tell("rock", {"id": name, "state": "played", "message": ""})
        put(alice, "b.mp3")
    said = [query["sql"].replace('"', "").replace("`", "") for query in captured]
    locks = [number for number, sql in enumerate(said) if "SELECT" in sql and "panel_mediaservice" in sql]
    if connection.features.has_select_for_update:
        locks = [number for number in locks if said[number].endswith("FOR UPDATE")]
    first = [number for number, sql in enumerate(said) if "panel_queuedtrack" in sql]
    told, written = (min(first), next(n for n in first if said[n].startswith("INSERT")))
    assert [number for number in locks if number < told]
    assert [number for number in locks if told < number < written]


def test_skipping_is_a_number_that_grows(alice: Api) -> None:
    node = MediaService.objects.get(slug="rock").node

    def told() -> int:
        return next(item["skip"] for item in nodedoc.document(node)["services"] if item["slug"] == "rock")

    assert told() == 0
    status, answer = alice("POST", "/media-services/rock/actions", {"action": "skip"})
    assert (status, told()) == (200, 1)
    assert answer["generation"] == MediaService.objects.get(slug="rock").generation
    alice("POST", "/media-services/rock/actions", {"action": "stop"})
    status, answer = alice("POST", "/media-services/rock/actions", {"action": "skip"})
    assert (status, told()) == (409, 1)
    assert "rock cannot be skipped, it is stopped" in answer["error"]["message"]


def test_the_audit_log_says_what_was_queued(alice: Api) -> None:
    put(alice, "a.mp3")
    alice("DELETE", QUEUE)
    entries = AuditLog.objects.filter(action="queue").order_by("pk")
    assert [entry.changes["queue"] for entry in entries] == [
        {"before": None, "after": ["a.mp3"]},
        {"before": ["a.mp3"], "after": None},
    ]


def test_names_of_recordings_are_those_that_the_player_knows() -> None:
    source = (ROOT / "roles" / "autodj" / "files" / "streamfleet_autodj" / "library.py").read_text()
    line = next(line for line in source.splitlines() if line.startswith("SUFFIXES = "))
    assert line == f"SUFFIXES = ({', '.join(json.dumps(suffix) for suffix in queueing.SUFFIXES)})"
