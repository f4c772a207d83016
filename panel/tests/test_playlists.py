"""Playlists: what is stored, refused, deleted, pruned; and what of it services and nodes notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfleet_panel import clock, nodedoc
from streamfleet_panel.apply import ApiError, playlists
from streamfleet_panel.models import AuditLog, MediaService, Node, Playlist
from tests_support import Api

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
L = "playlists[0]"


def playlist(**fields: Any) -> dict[str, Any]:
    """A document of one new playlist of rock."""
    return {"playlists": [{"media_service": "rock", "name": "new", "folder": ".", **fields}]}


def stored(name: str = "new", slug: str = "rock") -> Playlist:
    return Playlist.objects.get(media_service__slug=slug, name=name)


def generations() -> tuple[int, int, int]:
    """Of the node, of rock and of another service."""
    services = dict(MediaService.objects.values_list("slug", "generation"))
    return Node.objects.get(name="node1").generation, services["rock"], services["eve-fm"]


def refused(run: Run, document: dict[str, Any], who: str | None = None, **options: Any) -> ApiError:
    before = list(Playlist.objects.order_by("pk").values_list())
    with pytest.raises(ApiError) as caught:
        run(document, who, **options)
    assert list(Playlist.objects.order_by("pk").values_list()) == before
    return caught.value


# --- stored and changed ---------------------------------------------------------------------------------------------


def test_a_new_playlist_has_the_defaults(world: None, run: Run) -> None:
    answer = run(playlist(), return_objects=True)
    result = answer["results"][0]
    assert (result["kind"], result["key"], result["path"], result["action"]) == ("playlist", "rock/new", L, "created")
    created = dict(result["object"])
    assert created.pop("created_at")
    assert created == {
        "media_service": "rock",
        "name": "new",
        "enabled": True,
        "type": "rotation",
        "folder": ".",
        "files": None,
        "order": "shuffle",
        "weight": 1,
        "active": None,
        "every_tracks": None,
        "every_minutes": None,
        "label": None,
    }
    assert not run(playlist())["changed"]


def test_every_change_reaches_the_service_and_its_node_and_nobody_else(world: None, run: Run) -> None:
    node, _, other = generations()
    for number, fields in enumerate(({}, {"weight": 3}, {"enabled": False}, {"state": "absent"}), 1):
        answer = run(playlist(**fields))
        assert answer["nodes"] == {"node1": node + number}, fields
        assert generations() == (node + number, node + number, other), fields
    # A label is the panel's own business.
    assert run({"playlists": [{"media_service": "rock", "name": "day"}]}, label="x")["nodes"] == {}
    assert run(playlist(state="absent"))["changed"] is False


def test_a_playlist_may_change_its_type(world: None, run: Run) -> None:
    run(playlist(weight=9))
    assert refused(run, playlist(type="jingle")).errors[0].path == f"{L}.every_tracks"
    run(playlist(type="jingle", every_minutes=15))
    assert refused(run, playlist(type="rotation")).errors[0].fix == "Set every_minutes: null, or type: jingle."
    # What was read can be sent back: the weight is kept for when it counts again.
    answer = run(playlist(type="scheduled", every_minutes=None, weight=9, active=[{"start": "08:00", "end": "08:00"}]))
    assert set(answer["results"][0]["changes"]) == {"type", "every_minutes", "active"}
    assert stored().active == [{"days": None, "start": "08:00", "end": "08:00"}]


def test_folder_and_files_take_each_others_place_by_name_only(world: None, run: Run) -> None:
    run(playlist())
    error = refused(run, playlist(files=["a.mp3"]))
    assert [(problem.path, problem.fix) for problem in error.errors] == [(f"{L}.files", "Set folder: null as well.")]
    run(playlist(folder=None, files=["b/ä ö.mp3", "a.mp3", "a.mp3"]))
    assert (stored().folder, stored().files, stored().file_count) == (None, ["b/ä ö.mp3", "a.mp3", "a.mp3"], 3)
    run(playlist(folder="x", files=None))
    assert (stored().folder, stored().files, stored().file_count) == ("x", None, 0)


def test_days_in_another_order_mean_the_same(world: None, run: Run) -> None:
    run(playlist(active=[{"days": ["sun", "mon"], "start": "00:00", "end": "23:59"}]))
    assert stored().active == [{"days": ["mon", "sun"], "start": "00:00", "end": "23:59"}]
    assert not run(playlist(active=[{"days": ["sun", "mon"], "start": "00:00", "end": "23:59"}]))["changed"]


def test_declared_along_with_the_service_and_its_owner_in_any_order(run: Run) -> None:
    run(
        {
            "playlists": [{"media_service": "fm", "name": "all", "folder": "."}],
            "media_services": [{"slug": "fm", "customer": "ann", "engine": "icecast", "autodj": {}}],
            "customers": [{"username": "ann"}],
            "nodes": [{"name": "n", "address": "192.0.2.1", "engines": ["icecast"]}],
        }
    )
    assert stored("all", "fm").media_service.settings["autodj"]["crossfade_seconds"] == 3
    assert AuditLog.objects.get(kind="playlist").owner == stored("all", "fm").media_service.customer


def test_the_same_name_in_two_services(world: None, run: Run) -> None:
    document = {"playlists": [{"media_service": slug, "name": "x", "folder": slug} for slug in ("rock", "eve-fm")]}
    assert run(document)["summary"]["created"] == 2
    assert (stored("x").folder, stored("x", "eve-fm").folder) == ("rock", "eve-fm")


# --- refused --------------------------------------------------------------------------------------------------------

TIMES = {"start": "22:00", "end": "02:00"}
BAD: list[tuple[dict[str, Any], str, Any, str]] = [
    # document, path, value, part of the message
    ({"playlists": [{"name": "x"}]}, f"{L}.media_service", None, "is missing"),
    ({"playlists": [{"media_service": "rock"}]}, f"{L}.name", None, "is missing"),
    (playlist(name="Night"), f"{L}.name", "Night", "form"),
    (playlist(name="a/b"), f"{L}.name", "a/b", "form"),
    (playlist(media_service="../x"), f"{L}.media_service", "../x", "form"),
    ({"playlists": playlist()["playlists"] * 2}, "playlists[1].name", "rock/new", f"is the key of {L}"),
    (playlist(media_service="ghost"), f"{L}.media_service", "ghost", "there is no such media service"),
    (playlist(media_service="tv"), f"{L}.media_service", "tv", "a service of Nginx RTMP, which has no playlists"),
    (playlist(colour="red"), f"{L}.colour", None, "is not a field"),
    (playlist(enabled="yes"), f"{L}.enabled", "yes", "must be true or false"),
    (playlist(type="random"), f"{L}.type", "random", "one of rotation, scheduled, jingle"),
    (playlist(order="backwards"), f"{L}.order", "backwards", "one of shuffle, sequential"),
    (playlist(weight=0), f"{L}.weight", 0, "between 1 and 100"),
    (playlist(weight=101), f"{L}.weight", 101, "between 1 and 100"),
    (playlist(weight=None), f"{L}.weight", None, "may not be null"),
    (playlist(folder=None), f"{L}.folder", None, "is missing, and so is files"),
    (playlist(files=["a.mp3"]), f"{L}.files", '["a.mp3"]', "goes not with folder"),
    (playlist(folder=""), f"{L}.folder", "", "is empty"),
    (playlist(folder="/music"), f"{L}.folder", "/music", "begins with a slash"),
    (playlist(folder="music/"), f"{L}.folder", "music/", "ends with a slash"),
    (playlist(folder="a//b"), f"{L}.folder", "a//b", "two in a row"),
    (playlist(folder=".."), f"{L}.folder", "..", "the segment .."),
    (playlist(folder="a/../../b"), f"{L}.folder", "a/../../b", "the segment .."),
    (playlist(folder="./a"), f"{L}.folder", "./a", "the segment ."),
    (playlist(folder="a\nb"), f"{L}.folder", "a\nb", "line break"),
    (playlist(folder="a\x00b"), f"{L}.folder", "a\x00b", "control character"),
    (playlist(folder="\ud800"), f"{L}.folder", "\\ud800", "control character"),
    (playlist(folder="x" * 501), f"{L}.folder", "x" * 97 + "…", "501 characters"),
    (playlist(folder=7), f"{L}.folder", 7, "must be a text"),
    (playlist(folder=None, files="a.mp3"), f"{L}.files", "a.mp3", "must be a list"),
    (playlist(folder=None, files=[]), f"{L}.files", "[]", "is empty"),
    (playlist(folder=None, files=["a", "../b"]), f"{L}.files[1]", "../b", "the segment .."),
    (playlist(folder=None, files=["."]), f"{L}.files[0]", ".", "the segment ."),
    (playlist(folder=None, files=["a", None]), f"{L}.files[1]", None, "must be a text"),
    (playlist(active=[]), f"{L}.active", "[]", "is empty"),
    (playlist(active=TIMES), f"{L}.active", '{"start": "22:00", "end": "02:00"}', "must be a list"),
    (playlist(active=["22:00"]), f"{L}.active[0]", "22:00", "must be a mapping"),
    (playlist(active=[TIMES] * 101), f"{L}.active", None, "101 items, at most 100 fit"),
    (playlist(active=[TIMES, {"start": "22:00"}]), f"{L}.active[1].end", None, "is missing"),
    (playlist(active=[{**TIMES, "start": 1320}]), f"{L}.active[0].start", 1320, "must be a text"),
    (playlist(active=[{**TIMES, "end": "24:00"}]), f"{L}.active[0].end", "24:00", "not a time of day"),
    (playlist(active=[{**TIMES, "end": "2:00"}]), f"{L}.active[0].end", "2:00", "not a time of day"),
    (playlist(active=[{**TIMES, "day": "mon"}]), f"{L}.active[0].day", None, "is not a field of a time"),
    (playlist(active=[{**TIMES, "days": []}]), f"{L}.active[0].days", "[]", "must be a list of days"),
    (playlist(active=[{**TIMES, "days": ["fri", "freitag"]}]), f"{L}.active[0].days[1]", "freitag", "is not a day"),
    (playlist(active=[{**TIMES, "days": [["fri"]]}]), f"{L}.active[0].days[0]", '["fri"]', "is not a day"),
    (playlist(active=[{**TIMES, "days": ["fri", "fri"]}]), f"{L}.active[0].days[1]", "fri", "twice"),
    (playlist(type="scheduled", active=[TIMES], weight=2), f"{L}.weight", 2, "means nothing for the type scheduled"),
    (playlist(type="jingle"), f"{L}.every_tracks", None, "a jingle needs one"),
    (playlist(type="jingle", every_tracks=1, every_minutes=1), f"{L}.every_minutes", 1, "goes not with every_tracks"),
    (playlist(type="jingle", every_tracks=1001), f"{L}.every_tracks", 1001, "between 1 and 1000"),
    (playlist(type="jingle", every_minutes=1441), f"{L}.every_minutes", 1441, "between 1 and 1440"),
    (playlist(every_tracks=3), f"{L}.every_tracks", 3, "means nothing for the type rotation"),
]


@pytest.mark.parametrize(("document", "path", "value", "message"), BAD, ids=[f"{b[1]}-{b[3]}" for b in BAD])
def test_bad_input(world: None, run: Run, document: Any, path: str, value: Any, message: str) -> None:
    for dry_run in (True, False):
        error = refused(run, document, dry_run=dry_run)
        assert error.status == 422
        found = [problem for problem in error.errors if problem.path == path]
        assert found, error.as_dict()
        assert message in found[0].message
        assert found[0].value == value or message.startswith("101")
        assert found[0].fix
        error.as_dict()["error"]["message"].encode()


def test_one_fault_is_told_once(world: None, run: Run) -> None:
    both = {"media_services": [{"slug": "fm", "customer": "bob", "engine": "winamp"}]}
    error = refused(run, {**both, **playlist(media_service="fm", weight=0, type="jingle")})
    assert [problem.path for problem in error.errors] == ["media_services[0].engine", f"{L}.weight"]


def test_at_most_200_playlists_with_20000_files(world: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playlists, "MOST_PLAYLISTS", 5)
    monkeypatch.setattr(playlists, "MOST_FILES", 6)
    three = {"playlists": [{"media_service": "rock", "name": f"p{n}", "folder": "."} for n in range(3)]}
    run(three)
    error = refused(run, playlist())
    assert [(problem.path, problem.value) for problem in error.errors] == [(L, 6)]
    assert error.errors[0].message == "rock would have 6 playlists, at most 5 fit"
    # One goes, one comes. The jingles name two files already.
    gone = {"media_service": "rock", "name": "p0", "state": "absent"}
    new = playlist(folder=None, files=["a", "b", "c", "d"])["playlists"][0]
    run({"playlists": [new, gone]})
    error = refused(run, playlist(folder=None, files=["a", "b", "c", "d", "e"]))
    assert [(problem.path, problem.value) for problem in error.errors] == [(f"{L}.files", 7)]
    # What makes it no worse is always possible.
    monkeypatch.setattr(playlists, "MOST_PLAYLISTS", 1)
    monkeypatch.setattr(playlists, "MOST_FILES", 1)
    run(playlist(folder=None, files=["a", "b", "c"], enabled=False))


def test_a_list_of_10000_files(world: None, run: Run) -> None:
    files = [f"music/{n}.mp3" for n in range(10_000)]
    assert "at most 10000 fit" in refused(run, playlist(folder=None, files=[*files, "one more"])).errors[0].message
    run(playlist(folder=None, files=files))
    assert stored().files == files
    entry = AuditLog.objects.get(kind="playlist", key="rock/new")
    assert entry.changes["files"]["after"] == [*files[:100], "… and 9900 more"]


def test_keys_of_full_length_reach_the_audit_log(world: None, run: Run) -> None:
    slug, name = "s" * 63, "n" * 63
    run({"media_services": [{"slug": slug, "customer": "bob", "engine": "icecast"}]})
    run(playlist(media_service=slug, name=name))
    assert AuditLog.objects.filter(kind="playlist", key=f"{slug}/{name}").count() == 1


# --- whose ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["alice", "shop", "root"])
def test_whoever_may_change_the_service_may_change_its_playlists(world: None, run: Run, who: str) -> None:
    run(playlist(type="jingle", every_tracks=2, enabled=False), who)
    run(playlist(state="absent"), who)
    entries = AuditLog.objects.filter(kind="playlist", key="rock/new").order_by("pk")
    assert [(entry.action, entry.actor_name) for entry in entries] == [("created", who), ("deleted", who)]
    assert {entry.owner.username for entry in entries if entry.owner} == {"alice"}


@pytest.mark.parametrize("who", ["bob", "eve", "rival"])
def test_foreign_playlists_are_told_from_none_by_nobody(world: None, run: Run, who: str) -> None:
    there = {"playlists": [{"media_service": "rock", "name": "jingles", "weight": 2}]}
    none = {"playlists": [{"media_service": "ghost", "name": "jingles", "weight": 2}]}
    answers = [refused(run, document, who).as_dict() for document in (there, none)]
    assert answers[0] == {
        "error": {
            "code": "invalid_document",
            "message": f"{L}.media_service: there is no such media service",
            "errors": [
                {
                    "path": f"{L}.media_service",
                    "value": "rock",
                    "message": "there is no such media service",
                    "fix": "Name an existing media service, or declare it as well.",
                }
            ],
        }
    }
    assert str(answers[1]) == str(answers[0]).replace("rock", "ghost")
    gone = {"playlists": [{"media_service": "rock", "name": "day", "state": "absent"}]}
    assert run(gone, who, return_objects=True)["results"][0] == {
        "kind": "playlist",
        "key": "rock/day",
        "path": L,
        "action": "unchanged",
        "changes": {},
    }
    assert stored("day").enabled


# --- with the service, and by label ---------------------------------------------------------------------------------


def test_they_go_and_come_back_with_their_service(world: None, api: Callable[..., Api]) -> None:
    root = api("root")
    assert root("GET", "/media-services/rock/playlists")[1]["count"] == 2
    root("DELETE", "/customers/alice")
    assert root("GET", "/media-services/rock/playlists")[0] == 404
    assert root("GET", "/media-services/rock/playlists/day")[0] == 404
    assert root("GET", "/playlists?media_service=rock")[1]["count"] == 0
    status, answer = root("PUT", "/media-services/rock/playlists/day", {"weight": 2})
    assert (status, answer["error"]["errors"][0]["message"]) == (422, "this media service is deleted")
    root("POST", "/customers/alice/restore")
    assert root("GET", "/media-services/rock/playlists")[1]["count"] == 2


def test_purging_the_service_purges_them(world: None, run: Run, settings: Any) -> None:
    run({"media_services": [{"slug": "rock", "state": "absent"}]})
    settings.GRACE_DAYS = -1
    node = Node.objects.get(name="node1")
    document = nodedoc.document(node)
    report = {item["slug"]: {"generation": item["generation"], "state": item["state"]} for item in document["services"]}
    body = {"epoch": document["epoch"], "generation": document["generation"], "services": report}
    nodedoc.store_status(node, body)
    clock.tick()
    assert not MediaService.objects.filter(slug="rock").exists()
    assert set(Playlist.objects.values_list("media_service__slug", flat=True)) == {"shop-fm", "eve-fm"}


def test_a_deleted_services_playlist_can_still_be_given_up(world: None, run: Run) -> None:
    both = {
        "media_services": [{"slug": "rock", "state": "absent"}],
        "playlists": [{"media_service": "rock", "name": "day", "state": "absent"}],
    }
    assert run(both)["summary"]["deleted"] == 2
    assert not run(both)["changed"]
    run({"media_services": [{"slug": "rock"}]})
    assert list(Playlist.objects.filter(media_service__slug="rock").values_list("name", flat=True)) == ["jingles"]


def test_none_in_a_document_that_deletes_their_service_or_its_owner(world: None, run: Run) -> None:
    for document in (
        {"media_services": [{"slug": "rock", "state": "absent"}]},
        {"customers": [{"username": "alice", "state": "absent"}]},
    ):
        assert refused(run, {**document, **playlist()}).errors[0].message == "this media service is deleted"


def test_prune(world: None, run: Run) -> None:
    two = {"playlists": [*playlist(name="a")["playlists"], *playlist(name="b", media_service="eve-fm")["playlists"]]}
    run(two, label="lists")
    assert not run(two, label="lists", prune=True)["changed"]
    one = {"playlists": two["playlists"][:1]}
    before = generations()
    # Only within reach.
    assert not run(one, "shop", label="lists", prune=True)["changed"]
    predicted = run(one, label="lists", prune=True, dry_run=True)
    answer = run(one, label="lists", prune=True)
    assert answer == {**predicted, "dry_run": False}
    assert [(item["key"], item["path"], item["action"]) for item in answer["results"]] == [
        ("rock/a", L, "unchanged"),
        ("eve-fm/b", "", "deleted"),
    ]
    assert generations() == (before[0] + 1, before[1], before[0] + 1)
    error = refused(run, {}, label="lists", prune=True, max_delete=0)
    assert (error.code, error.errors[0].value) == ("max_delete_exceeded", "rock/a")
    # A customer prunes its own.
    assert run({}, "alice", label="lists", prune=True)["summary"]["deleted"] == 1


def test_prune_leaves_to_a_service_what_comes_back_with_it(world: None, run: Run) -> None:
    everything = {
        "customers": [{"username": "ann"}],
        "media_services": [{"slug": "fm", "customer": "ann", "engine": "icecast"}],
        "playlists": [{"media_service": "fm", "name": "all", "folder": "."}],
    }
    run(everything, label="x")
    answer = run({}, label="x", prune=True)
    assert {item["kind"] for item in answer["results"]} == {"customer", "media_service"}
    back = {"customers": everything["customers"], "media_services": everything["media_services"]}
    run(back, label="x")
    assert stored("all", "fm").label == "x"


# --- routes ---------------------------------------------------------------------------------------------------------


def test_one_by_its_address(api: Callable[..., Api]) -> None:
    call = api("alice")
    path = "/media-services/rock/playlists/night"
    body = {"type": "scheduled", "folder": "quiet", "active": [TIMES]}
    assert call("GET", path)[0] == 404
    status, answer = call("PUT", f"{path}?dry_run=true", body)
    assert (status, answer["action"], answer["path"]) == (200, "created", "")
    assert call("GET", path)[0] == 404
    status, answer = call("PUT", f"{path}?label=mine", {**body, "media_service": "rock", "name": "night"})
    assert (status, answer["key"], answer["object"]["label"]) == (200, "rock/night", "mine")
    assert answer["nodes"] == {"node1": Node.objects.get(name="node1").generation}
    assert call("GET", path) == (200, answer["object"])
    assert call("PUT", path, body)[1]["action"] == "unchanged"
    # What was read can be sent back.
    read = {name: value for name, value in answer["object"].items() if name not in ("label", "created_at")}
    assert call("PUT", path, read)[1]["action"] == "unchanged"
    for name in ("media_service", "name"):
        status, answer = call("PUT", path, {**body, name: "other"})
        assert (status, answer["error"]["errors"][0]["path"]) == (422, name)
    assert call("DELETE", f"{path}?dry_run=true")[1]["action"] == "deleted"
    assert call("DELETE", path)[1]["action"] == "deleted"
    assert call("DELETE", path)[0] == 404


def test_lists(api: Callable[..., Api], run: Run) -> None:
    run({"playlists": [{"media_service": "rock", "name": "jingles"}]}, label="x")
    root = api("root")

    def found(path: str) -> list[str]:
        status, answer = root("GET", path)
        assert (status, answer["count"]) == (200, len(answer["items"]))
        return [f"{item['media_service']}/{item['name']}" for item in answer["items"]]

    assert found("/playlists") == ["eve-fm/day", "rock/day", "rock/jingles", "shop-fm/day"]
    assert found("/media-services/rock/playlists") == ["rock/day", "rock/jingles"]
    assert found("/media-services/rock/playlists?type=jingle") == ["rock/jingles"]
    assert found("/playlists?label=x") == found("/playlists?search=JING") == ["rock/jingles"]
    assert found("/playlists?media_service=shop-fm&type=rotation") == ["shop-fm/day"]
    assert found("/media-services/tv/playlists") == []
    assert root("GET", "/media-services/ghost/playlists")[0] == 404
