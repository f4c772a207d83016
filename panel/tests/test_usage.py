"""What services use: what nodes tell of it, who sees it, beside which limits, in the API and on the pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from streamfleet_panel import clock, collected, transfer
from streamfleet_panel.collected import Batch
from streamfleet_panel.models import MB, Account, Listening, MediaService, Node, Usage
from tests_support import Api

pytestmark = pytest.mark.django_db
AT = 1795777200
SOURCE = {"mount": "/stream", "kind": "encoder", "since": AT, "announced_kbps": 128, "kbps": 131}
DROP = {"at": AT, "mount": "/stream", "kbps": 320, "limit_kbps": 128}


def used(slug: str = "rock", **changes: Any) -> dict[str, Any]:
    return {
        "slug": slug, "uid": MediaService.objects.get(slug=slug).customer.uid, "listeners": 12,
        "month": transfer.month_of(timezone.now()), "listeners_peak": 40, "sources": [SOURCE],
        "disk_bytes": MB + 1, "library_bytes": 5 * MB, "drops": [DROP], **changes,
    }  # fmt: skip


def tell(*items: tuple[str, dict[str, Any]], node: str = "node1") -> None:
    """A batch of the node's, as the collection stores it."""
    pk = Node.objects.get(name=node).pk
    assert collected.store(pk, collected.place_of(pk).number, Batch({"usage": list(items)}, {}, False))


def test_what_is_told_is_shown_beside_the_limits(
    world: None, api: Callable[..., Api], run: Callable[..., dict[str, Any]]
) -> None:
    run({"media_services": [{"slug": "rock", "max_listeners": 50, "max_bitrate_kbps": 128, "disk_quota_mb": 500}]})
    tell(("rock", used()))
    _, shown = api("alice")("GET", "/media-services/rock/usage")
    assert shown.pop("reported_at").endswith("Z")
    limits = {name: shown.pop(name) for name in ("max_mounts", "monthly_transfer_mb")}
    service = MediaService.objects.get(slug="rock")
    assert limits == {name: getattr(service, name) for name in limits}
    assert shown == {
        "media_service": "rock", "customer": "alice", "node": "node1", "engine": "icecast",
        "listeners": 12, "listeners_peak": 40, "max_listeners": 50,
        "sources": [{**SOURCE, "since": "2026-11-27T11:00:00Z"}], "max_bitrate_kbps": 128,
        "dropped_sources": [{**DROP, "at": "2026-11-27T11:00:00Z"}], "mounts": 1,
        "transferred_mb": 0, "own_files_mb": 2, "library_mb": 5, "library_quota_mb": None,
        "disk_quota_mb": 500,
    }  # fmt: skip


def test_current_values_replace_those_of_before_and_the_peak_stays(world: None) -> None:
    for listeners, told, peak in ((12, 40, 40), (50, 3, 50), (None, 0, 50)):
        tell(("rock", used(listeners=listeners, listeners_peak=told)))
        row = Usage.objects.get()
        assert (row.listeners, row.listeners_peak) == (listeners, peak)
    Usage.objects.update(month="2020-01")
    tell(("rock", used(listeners=2, listeners_peak=999, month="2020-01")))
    assert Usage.objects.get().listeners_peak == 2, "of another month"


def test_nobody_tells_of_what_is_not_his(world: None) -> None:
    mine = used()
    tell(("rock", mine), node="node2")
    tell(("tv", mine), ("nobody", used()))
    for other in (mine["uid"] + 1, str(mine["uid"]), None):
        tell(("rock", {**mine, "uid": other}))
    assert not Usage.objects.exists()


@pytest.mark.parametrize(
    ("changes", "name", "stored"),
    [
        ({"listeners": -1}, "listeners", None),
        ({"listeners": True}, "listeners", None),
        ({"listeners": 1 << 40}, "listeners", None),
        ({"disk_bytes": 1 << 70}, "disk_bytes", None),
        ({"sources": "x"}, "sources", None),
        ({"sources": [7, {}]}, "sources", [
            {"mount": "", "kind": "encoder", "since": None, "announced_kbps": None, "kbps": None}
        ]),
        ({"drops": [{**DROP, "at": "now"}, 7, {**DROP, "kbps": None}]}, "drops", []),
        ({"drops": None}, "drops", []),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_known(world: None, changes: dict[str, Any], name: str, stored: Any) -> None:
    tell(("rock", used(**changes)))
    assert getattr(Usage.objects.get(), name) == stored


def test_texts_fit_the_database(world: None) -> None:
    tell(("rock", used(sources=[{**SOURCE, "mount": "/\x00\ud800" + "m" * 999, "kind": "moon"}] * 99)))
    found = Usage.objects.get().sources
    assert (len(found), len(found[0]["mount"]), found[0]["kind"]) == (32, 100, "encoder")


def test_who_sees_which(world: None, api: Callable[..., Api]) -> None:
    tell(("rock", used()))
    seen = {}
    for name in ("root", "shop", "rival", "alice", "eve", "bob"):
        _, answer = api(name)("GET", "/usage?limit=1000")
        seen[name] = {item["media_service"] for item in answer["items"]}
        assert answer["count"] == len(seen[name])
    assert {"rock", "tv"} <= seen["alice"]
    assert seen["alice"] <= seen["shop"] <= seen["root"]
    assert not seen["alice"] & seen["rival"]
    (one,) = api("root")("GET", "/usage?media_service=rock&customer=alice&engine=icecast&node=node1&search=ro")[1][
        "items"
    ]
    assert one["listeners"] == 12
    assert api("root")("GET", "/usage?media_service=rock&node=node2")[1]["items"] == []
    assert api("eve")("GET", "/media-services/rock/usage")[0] == 404


@pytest.mark.parametrize("state", [{"suspended": True}, {"enabled": False}, {"stopped": True}, {"over_quota": True}])
def test_off_the_air_nobody_listens_whatever_was_told_last(
    world: None, api: Callable[..., Api], run: Callable[..., dict[str, Any]], state: dict[str, bool]
) -> None:
    node = {"name": "node1", "engines": ["icecast", "nginx_rtmp"]}
    channel = {
        "slug": "film", "name": "film", "customer": "alice", "engine": "nginx_rtmp", "max_bitrate_kbps": 320,
    }  # fmt: skip
    run({"nodes": [node], "media_services": [channel]})
    # Nothing more is told of a channel whose route is gone.
    tell(("film", used("film")), ("rock", used(listeners=3)))
    MediaService.objects.filter(slug="film").update(**state)
    _, shown = api("alice")("GET", "/media-services/film/usage")
    assert (shown["listeners"], shown["sources"], shown["listeners_peak"]) == (0, [], 40)
    assert api("alice")("GET", "/customers/alice/usage")[1]["listeners"] == 3
    _, other = api("alice")("GET", "/media-services/rock/usage")
    assert (other["listeners"], len(other["sources"])) == (3, 1)


def test_of_a_node_that_tells_no_more_nobody_is_shown_as_live(world: None, api: Callable[..., Api]) -> None:
    tell(("rock", used()))
    tell_running(listens())
    for minutes, listeners, count in ((14, 12, 1), (16, None, 0)):
        Usage.objects.update(reported_at=timezone.now() - timedelta(minutes=minutes))
        _, shown = api("alice")("GET", "/media-services/rock/usage")
        assert (shown["listeners"], shown["sources"] is None) == (listeners, listeners is None)
        assert (shown["listeners_peak"], shown["own_files_mb"]) == (40, 2)
        assert api("alice")("GET", "/customers/alice/usage")[1]["listeners"] == (listeners or 0)
        _, running = api("alice")("GET", "/media-services/rock/listener-sessions?running=true")
        assert running["count"] == count


def test_a_reseller_sees_the_sum_beside_its_plan(world: None, api: Callable[..., Api]) -> None:
    tell(("rock", used()), ("tv", used("tv", listeners=3, library_bytes=4 * MB, disk_bytes=None)))
    _, shown = api("shop")("GET", "/customers/shop/usage")
    assert (shown["listeners"], shown["disk_mb"]) == (15, 7)
    plan = Account.objects.get(username="shop").reseller_plan
    assert plan is not None
    assert (shown["reseller_plan"], shown["max_listeners"]) == (plan.name, plan.max_listeners)
    services = MediaService.objects.filter(
        Q(customer__username="shop") | Q(customer__reseller__username="shop"), deleted_at=None
    )
    assert shown["media_services"] == services.count()
    listeners = [service.max_listeners for service in services if service.engine == "icecast"]
    assert shown["granted"]["listeners"] == sum(number or 0 for number in listeners)
    assert shown["customers"] == Account.objects.filter(reseller__username="shop", deleted_at=None).count()
    _, own = api("alice")("GET", "/customers/alice/usage")
    assert (own["reseller_plan"], own["max_listeners"], own["listeners"]) == (None, None, 15)
    assert api("alice")("GET", "/customers/shop/usage")[0] == 404


def test_the_portal_shows_it_in_words(world: None, run: Callable[..., dict[str, Any]]) -> None:
    run({"media_services": [{"slug": "rock", "max_listeners": 50, "max_bitrate_kbps": 128}]})
    client = Client()
    client.force_login(Account.objects.get(username="alice"), backend="streamfleet_panel.auth.AccountBackend")
    before = client.get("/services/rock/").content.decode()
    assert "Nothing has been measured yet" in before
    assert "not known" in before
    tell(("rock", used()))
    text = client.get("/services/rock/").content.decode()
    for words in ("12 of 50", "At most 40 at once", "131 of 128 kbit/s", "/stream sent 320 kbit/s, 128 are allowed"):
        assert words in text, words
    assert '<meter class="bar" min="0" max="50" value="12"' in text


def test_the_limit_of_a_library_is_that_of_all_who_share_it(
    world: None, api: Callable[..., Api], run: Callable[..., dict[str, Any]]
) -> None:
    station = {"customer": "bob", "engine": "icecast", "node": "node1"}
    late, rock = ({**station, "slug": f"bob-{name}", "autodj": {}} for name in ("late", "rock"))
    plain = {**station, "slug": "bob-plain"}
    run({"media_services": [{**rock, "disk_quota_mb": 500}, {**late, "disk_quota_mb": 300}, plain]})
    tell(("bob-rock", used("bob-rock")))
    client = Client()
    client.force_login(Account.objects.get(username="bob"), backend="streamfleet_panel.auth.AccountBackend")

    def shown(page: str) -> str:
        return client.get(page).content.decode()

    quotas = {item["media_service"]: item["library_quota_mb"] for item in api("bob")("GET", "/usage")[1]["items"]}
    assert (quotas["bob-rock"], quotas["bob-late"]) == (800, 800)
    meter = '5 of 800 MB<meter class="bar" min="0" max="800" value="5"'
    # Among what the service uses, and beside its playlists.
    assert shown("/services/bob-rock/").count(meter) == 2
    assert shown("/media/").count(meter) == 1
    assert "Media library" not in shown("/services/bob-plain/"), "which has nothing to do with it"
    run({"media_services": [{"slug": name, "disk_quota_mb": 0} for name in ("bob-rock", "bob-late")]})
    assert '5 of 0 MB<meter class="bar" min="0" max="1" value="1"' in shown("/media/")
    run({"media_services": [{"slug": "bob-late", "disk_quota_mb": None}]})
    assert "5 MB<span" in shown("/media/")
    # Where nothing uses it any more there is none.
    run({"media_services": [{"slug": name, "autodj": None} for name in ("bob-rock", "bob-late")]})
    assert "What is stored" not in shown("/media/")


def test_the_administrator_sees_listeners_in_the_list(world: None, run: Callable[..., dict[str, Any]]) -> None:
    run({"media_services": [{"slug": "rock", "max_listeners": 50}]})
    tell(("rock", used()))
    client = Client()
    client.force_login(Account.objects.get(username="root"), backend="streamfleet_panel.auth.AccountBackend")
    assert "12 of 50" in client.get("/admin/panel/mediaservice/").content.decode()


def test_statements_do_not_grow(world: None, api: Callable[..., Api]) -> None:
    ask, counts = api("root"), []
    # What is noted the first time only: that a token is used, that a node tells something.
    tell(("rock", used()))
    ask("GET", "/usage")
    for many in (1, 20):
        if many > 1:
            MediaService.objects.bulk_create(_more(many - 1))
        slugs = ["rock", *(f"more{number}" for number in range(many - 1))]
        told = [(slug, used(slug)) for slug in slugs]
        with CaptureQueriesContext(connection) as stored:
            tell(*told)
        with CaptureQueriesContext(connection) as listed:
            assert ask("GET", "/usage?limit=1000")[1]["count"] >= many
        with CaptureQueriesContext(connection) as summed:
            assert ask("GET", "/customers/alice/usage")[1]["listeners"] == 12 * many
        counts.append((len(stored), len(listed), len(summed)))
    assert counts[0] == counts[1]


def _more(count: int) -> list[MediaService]:
    """Services like rock."""
    rock = MediaService.objects.get(slug="rock")
    names = [field.attname for field in MediaService._meta.concrete_fields if not field.primary_key]
    same = {name: getattr(rock, name) for name in names} | {"port": None}
    return [MediaService(**{**same, "slug": f"more{number}"}) for number in range(count)]


def listens(**changes: Any) -> dict[str, Any]:
    return {
        "name": "7", "source": "web", "mount": "/stream", "address": "", "agent": "VLC/3", "started": AT, "bytes": None,
        **changes,
    }  # fmt: skip


def tell_running(*rows: Any, slug: str = "rock", uid: int | None = None) -> None:
    node = Node.objects.get(name="node1").pk
    uid = uid or MediaService.objects.get(slug=slug).customer.uid
    items = {"running": [(slug, {"slug": slug, "uid": uid, "sessions": list(rows)})]}
    assert collected.store(node, collected.place_of(node).number, Batch(items, {}, False))


def test_who_listens_now(world: None, api: Callable[..., Api], settings: Any) -> None:
    tell_running(listens())
    late = listens(source="direct", address="203.0.113.7", mount="/low", agent="Kodi", started=AT + 60, bytes=700)
    tell_running(listens(), late)

    def found(query: str = "", path: str = "/media-services/rock/listener-sessions") -> list[str]:
        status, answer = api("alice")("GET", f"{path}?running=true&{query}")
        assert status == 200
        assert answer["count"] >= len(answer["items"])
        return [item["agent"] for item in answer["items"]]

    assert found() == found("media_service=rock", "/listener-sessions") == ["Kodi", "VLC/3"]
    assert found("limit=1&offset=1") == found("source=web") == found("search=vlc") == ["VLC/3"]
    assert found("mount=/low") == found("address=203.0.113.7") == ["Kodi"]
    _, answer = api("alice")("GET", "/media-services/rock/listener-sessions?running=true&source=direct")
    (one,) = answer["items"]
    assert len(one.pop("id")) == 32
    assert one.pop("seconds") >= 0
    assert one == {
        "media_service": "rock", "source": "direct", "mount": "/low", "address": "203.0.113.7", "agent": "Kodi",
        "started_at": "2026-11-27T11:01:00Z", "ended_at": None, "bytes": 700,
    }  # fmt: skip
    assert api("alice")("GET", "/listener-sessions")[1]["items"] == [], "none that has ended"
    settings.SESSION_ADDRESSES = "none"
    tell_running(late)
    assert api("alice")("GET", "/media-services/rock/listener-sessions?running=true")[1]["items"][0]["address"] == ""


def test_who_listens_now_is_for_whom_it_concerns(world: None, api: Callable[..., Api]) -> None:
    path = "/media-services/rock/listener-sessions?running=true"
    tell_running(listens(), uid=4)
    assert api("alice")("GET", path)[1]["items"] == [], "of an earlier customer's"
    tell_running(listens())
    assert api("shop")("GET", path)[1]["count"] == 1
    for name in ("eve", "rival", "bob"):
        assert api(name)("GET", path)[0] == 404
        assert api(name)("GET", "/listener-sessions?running=true&media_service=rock")[0] == 404
    assert api(worker=True)("GET", path)[0] == 403
    for query, where in (("", "running"), ("media_service=rock&since=2026-11-27T13:00:00Z", "since")):
        status, answer = api("root")("GET", f"/listener-sessions?running=true&{query}")
        assert (status, answer["error"]["errors"][0]["path"]) == (422, where)


def test_off_the_air_nobody_listens(world: None, api: Callable[..., Api], run: Callable[..., dict[str, Any]]) -> None:
    tell_running(listens())
    run({"media_services": [{"slug": "rock", "suspended": True}]})
    assert api("alice")("GET", "/media-services/rock/listener-sessions?running=true")[1]["count"] == 0


def test_who_listened_long_ago_is_forgotten(world: None, settings: Any) -> None:
    tell_running(listens())
    settings.SESSION_DAYS = 30
    for days, left in ((29, 1), (31, 0)):
        Listening.objects.update(reported_at=timezone.now() - timedelta(days=days))
        clock.tick()
        assert Listening.objects.count() == left


@pytest.mark.parametrize(
    "row", [7, {}, listens(source="moon"), listens(address="here"), listens(started="now"), listens(started=None)]
)
def test_a_listener_who_makes_no_sense_is_passed_over(world: None, row: Any) -> None:
    tell_running(row, listens(agent="a\x00b" + "c" * 999))
    (told,) = Listening.objects.get().sessions
    assert (told["agent"][:2], len(told["agent"])) == ("ab", 255)
    tell_running(*[listens()] * 300)
    assert len(Listening.objects.get().sessions) == 200
