"""Mounts one by one: what of their service's list they change, what is refused, and that nothing else is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfleet_panel.api import mounts as api_mounts
from streamfleet_panel.apply import ApiError
from streamfleet_panel.models import AuditLog, MediaService, Node
from tests_support import Api

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
M = "mounts[0]"


@pytest.fixture(autouse=True)
def room(world: None, run: Run) -> None:
    """Rock may have five mounts."""
    run({"media_services": [{"slug": "rock", "max_mounts": 5}]})


def mount(name: str = "/low", **fields: Any) -> dict[str, Any]:
    """A document of one mount of rock."""
    return {"mounts": [{"media_service": "rock", "name": name, **fields}]}


def both(*items: dict[str, Any]) -> dict[str, Any]:
    """A document of several mounts of rock."""
    return {"mounts": [{"media_service": "rock", **item} for item in items]}


def stored(slug: str = "rock") -> dict[str, dict[str, Any]]:
    """The mounts of a service by name, in their order."""
    found = MediaService.objects.get(slug=slug).settings.get("mounts", [])
    return {item["name"]: item for item in found}


def refused(run: Run, document: dict[str, Any], who: str | None = None) -> ApiError:
    def snapshot() -> list[Any]:
        return [list(model.objects.order_by("pk").values_list()) for model in (MediaService, Node, AuditLog)]

    before = snapshot()
    with pytest.raises(ApiError) as caught:
        run(document, who)
    assert snapshot() == before
    return caught.value


def test_a_new_mount_has_the_defaults_and_the_others_stay(world: None, run: Run) -> None:
    answer = run(mount(bitrate_kbps=48), return_objects=True)
    result = answer["results"][0]
    assert (result["kind"], result["key"], result["path"], result["action"]) == ("mount", "rock/low", M, "created")
    assert result["changes"] == {"bitrate_kbps": {"before": None, "after": 48}}
    assert result["object"] == {
        "media_service": "rock",
        "name": "/low",
        "format": "mp3",
        "bitrate_kbps": 48,
        "max_listeners": None,
        "fallback": None,
        "fallback_when_full": False,
        "default": False,
        "listen_urls": ["https://stream.example.net/listen/rock/low"],
    }
    # What players opened before, although the service's list was never named.
    assert list(stored()) == ["/stream", "/low"]
    assert not run(mount(bitrate_kbps=48))["changed"]
    sent_back = {key: value for key, value in result["object"].items() if key != "listen_urls"}
    assert not run({"mounts": [sent_back]})["changed"]
    changed = run(mount(fallback="/stream"), return_objects=True)["results"][0]
    assert changed["changes"] == {"fallback": {"before": None, "after": "/stream"}}
    assert (changed["object"]["bitrate_kbps"], changed["object"]["fallback"]) == (48, "/stream")
    entry = AuditLog.objects.order_by("-pk")[0]
    assert (entry.kind, entry.key, entry.action) == ("mount", "rock/low", "updated")


def test_every_change_reaches_the_service_and_its_node_and_nobody_else(world: None, run: Run) -> None:
    def generations() -> tuple[int, int, int]:
        services = dict(MediaService.objects.values_list("slug", "generation"))
        return Node.objects.get(name="node1").generation, services["rock"], services["eve-fm"]

    node, _, other = generations()
    for number, fields in enumerate([{}, {"format": "aac"}, {"state": "absent"}], 1):
        assert run(mount(**fields))["nodes"] == {"node1": node + number}, fields
        assert generations() == (node + number, node + number, other), fields
    assert run(mount(state="absent"))["nodes"] == {}
    assert run(mount(), dry_run=True)["results"][0]["action"] == "created"
    assert list(stored()) == ["/stream"]


def test_what_players_open_is_one(world: None, run: Run) -> None:
    run(both({"name": "/stream", "default": True}, {"name": "/low"}))
    run(mount(default=True))
    assert {name: item["default"] for name, item in stored().items()} == {"/stream": False, "/low": True}
    assert not run(mount(default=True))["changed"]
    error = refused(run, both({"name": "/stream", "default": True}, {"name": "/low", "default": True})).errors[0]
    assert (error.path, error.message) == (
        "mounts[1].default",
        "/stream is made the default by this document already",
    )
    run(mount(state="absent"))
    assert stored()["/stream"]["default"] is False


def test_mounts_of_one_document_may_refer_to_each_other_in_any_order(world: None, run: Run) -> None:
    run(both({"name": "/a", "fallback": "/b"}, {"name": "/b", "fallback": "/c"}, {"name": "/c"}))
    assert [item["fallback"] for item in stored().values()] == [None, "/b", "/c", None]
    # A chain is turned around in one document.
    run(both({"name": "/a", "fallback": None}, {"name": "/b", "fallback": "/a"}, {"name": "/c", "fallback": "/b"}))
    # And it goes together.
    run(both(*({"name": name, "state": "absent"} for name in ("/a", "/b", "/c"))))
    assert list(stored()) == ["/stream"]


def test_a_new_service_and_its_mounts_are_one_document(world: None, run: Run) -> None:
    service = {"slug": "new-fm", "customer": "bob", "engine": "icecast"}
    document = {"media_services": [service], "mounts": [{"media_service": "new-fm", "name": "/low", "default": True}]}
    assert run(document)["summary"]["created"] == 2
    assert [item["name"] for item in stored("new-fm").values()] == ["/stream", "/low"]
    assert not run(document)["changed"]


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        (mount("low"), f"{M}.name", "has a form that is not accepted"),
        (mount("/a/b"), f"{M}.name", "has a form that is not accepted"),
        (mount(format="wav"), f"{M}.format", "must be one of"),
        (mount(bitrate_kbps="fast"), f"{M}.bitrate_kbps", "must be of type integer or null"),
        (mount(fallback=["/stream"]), f"{M}.fallback", "must be of type string or null"),
        (mount(bitrate=64), f"{M}.bitrate", "is not a field of this kind of object"),
        (mount(id=2), f"{M}.id", "is not a field of this kind of object"),
        (mount(fallback="/nowhere"), f"{M}.fallback", "is not a mount of this service"),
        (mount(fallback="/low"), f"{M}.fallback", "leads back to the mount itself"),
        (
            both({"name": "/low", "fallback": "/stream"}, {"name": "/stream", "fallback": "/low"}),
            "mounts[1].fallback",
            "leads back to the mount itself",
        ),
        (mount("/stream", state="absent"), f"{M}.name", "is the only mount that rock would have left"),
        (mount(bitrate_kbps=512), f"{M}.bitrate_kbps", "is above max_bitrate_kbps of the service (128)"),
        (both(*({"name": f"/m{n}"} for n in range(9))), "mounts[8].name", "10 mounts are more than max_mounts allows"),
        ({"mounts": [{"media_service": "tv", "name": "/low"}]}, f"{M}.media_service", "which has no mounts"),
        ({"mounts": [{"media_service": "none", "name": "/low"}]}, f"{M}.media_service", "there is no such"),
        (
            {**mount(), "media_services": [{"slug": "rock", "mounts": [{"name": "/low"}]}]},
            f"{M}.name",
            "is a mount of a service whose whole list the document has in media_services[0].mounts",
        ),
    ],
)
def test_refused(world: None, run: Run, document: dict[str, Any], path: str, message: str) -> None:
    errors = refused(run, document).errors
    assert [error.path for error in errors[:1]] == [path], errors
    assert message in errors[0].message
    assert errors[0].fix


def test_a_mount_that_others_need_stays(world: None, run: Run) -> None:
    run(both({"name": "/low"}, {"name": "/a", "fallback": "/low"}))
    error = refused(run, mount(state="absent")).errors[0]
    assert (error.path, error.message) == (f"{M}.name", "is what /a falls back to")
    run(mount("/a", fallback=None))
    relay = {"media_service": "rock", "name": "network", "direction": "in", "address": "https://a.example/live"}
    run({"relays": [{**relay, "mount": "/low"}]})
    error = refused(run, mount(state="absent")).errors[0]
    assert (error.path, error.message) == (f"{M}.name", "lacks /low, which the relay network needs")
    run({**mount(state="absent"), "relays": [{**relay, "mount": "/stream"}]})
    # A relay may be given a mount that the same document declares.
    run({**mount("/new"), "relays": [{**relay, "mount": "/new"}]})
    assert list(stored()) == ["/stream", "/a", "/new"]


def test_a_fault_that_was_there_before_does_not_hinder_what_changes_nothing(world: None, run: Run) -> None:
    run(mount())
    MediaService.objects.filter(slug="rock").update(max_mounts=1)
    assert not run(mount())["changed"]
    refused(run, mount("/another"))


def test_shoutcasts_streams_are_mounts_with_a_number(world: None, run: Run) -> None:
    run({"nodes": [{"name": "node1", "engines": ["icecast", "nginx_rtmp", "shoutcast2"]}]})
    run({"media_services": [{"slug": "cast", "customer": "bob", "engine": "shoutcast2"}]})
    me = {"media_service": "cast", "name": "/low"}
    error = refused(run, {"mounts": [me]}).errors[0]
    assert (error.path, error.message) == (f"{M}.id", "is missing")
    error = refused(run, {"mounts": [{**me, "id": 1}]}).errors[0]
    assert (error.path, error.message) == (f"{M}.id", "is that of another entry, too")
    error = refused(run, {"mounts": [{**me, "id": 2, "fallback": "/stream"}]}).errors[0]
    assert error.path == f"{M}.fallback"
    run({"mounts": [{**me, "id": 2, "max_listeners": 5}]})
    assert [item["id"] for item in MediaService.objects.get(slug="cast").settings["streams"]] == [1, 2]


def test_by_the_api(world: None, run: Run, api: Callable[..., Api]) -> None:
    alice = api("alice")
    status, answer = alice("PUT", "/media-services/rock/mounts/low", {"format": "aac"})
    assert (status, answer["action"], answer["object"]["name"]) == (200, "created", "/low")
    assert alice("PUT", "/media-services/rock/mounts/low", {"name": "/low"})[1]["action"] == "unchanged"
    assert alice("PUT", "/media-services/rock/mounts/low", {"name": "/other"})[0] == 422
    listed = alice("GET", "/media-services/rock/mounts")[1]
    assert ([item["name"] for item in listed["items"]], listed["count"]) == (["/stream", "/low"], 2)
    assert alice("GET", "/mounts?media_service=rock&limit=1&offset=1")[1] == {
        "items": [alice("GET", "/media-services/rock/mounts/low")[1]],
        "count": 2,
    }
    assert alice("GET", "/mounts?search=LO")[1]["count"] == 1
    for path in ("/media-services/rock/mounts/none", "/media-services/tv/mounts/low"):
        assert alice("GET", path)[0] == 404
        assert alice("DELETE", path)[0] == 404
    status, answer = alice("DELETE", "/media-services/rock/mounts/low?dry_run=true")
    assert (status, answer["action"], list(stored())) == (200, "deleted", ["/stream", "/low"])
    assert alice("DELETE", "/media-services/rock/mounts/low")[1]["action"] == "deleted"
    assert list(stored()) == ["/stream"]
    assert alice("DELETE", "/media-services/rock/mounts/low")[0] == 404


def test_a_page_loads_the_services_of_its_own_mounts_only(
    world: None, run: Run, api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(mount("/low"))
    root = api("root")
    everything = root("GET", "/mounts")[1]["items"]
    assert len({item["media_service"] for item in everything}) > 1
    loaded: list[str] = []
    plain = api_mounts.mounts_of

    def counted(service: MediaService, engine: Any) -> Any:
        loaded.append(service.slug)
        return plain(service, engine)

    monkeypatch.setattr(api_mounts, "mounts_of", counted)
    for offset, item in enumerate(everything):
        loaded.clear()
        assert root("GET", f"/mounts?limit=1&offset={offset}")[1] == {"items": [item], "count": len(everything)}
        assert loaded == [item["media_service"]]
    assert root("GET", f"/mounts?offset={len(everything)}")[1] == {"items": [], "count": len(everything)}
