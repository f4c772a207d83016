"""Sessions of listeners and monthly transfer: what nodes tell, what is kept of it, who sees it, and the limit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from streamfleet_panel import clock, collected, transfer
from streamfleet_panel.collected import Batch, sessions
from streamfleet_panel.models import MB, AuditLog, ListenerSession, MediaService, Node, Transfer
from tests_support import Api

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
FIRST, SECOND = "a" * 32, "b" * 32


def session(number: int = 1, slug: str = "rock", **changes: Any) -> dict[str, Any]:
    ended = timezone.now().timestamp() - 60
    return {
        "id": f"{number:032x}", "slug": slug, "source": "web", "mount": "/stream", "address": "203.0.113.7",
        "agent": "VLC/3", "started": ended - 90.5, "ended": ended, "bytes": 1_500_000, **changes,
    }  # fmt: skip


def sent(size: int, slug: str = "rock", month: str | None = None, counter: str = FIRST) -> dict[str, Any]:
    return {"slug": slug, "month": month or transfer.month_of(timezone.now()), "bytes": size, "counter": counter}


def tell(node: str = "node1", **feeds: list[Any]) -> None:
    """A batch of the node's, as the collection stores it."""
    place = Node.objects.get(name=node)
    number = collected.place_of(place.pk).number
    items = {name: [("", item) for item in found] for name, found in feeds.items()}
    assert collected.store(place.pk, number, Batch(items, {}, False))


def total(slug: str = "rock") -> int:
    return sum(Transfer.objects.filter(media_service__slug=slug).values_list("bytes", flat=True))


def test_a_session_is_stored_once(world: None) -> None:
    told = [session(1), session(2, address="2001:db8::7", source="direct"), session(1)]
    for _ in range(2):
        tell(sessions=told)
    assert [row.name[-1] for row in ListenerSession.objects.order_by("name")] == ["1", "2"]
    row = ListenerSession.objects.get(name=f"{1:032x}")
    assert (row.media_service.slug, row.address, row.bytes, row.mount) == ("rock", "203.0.113.7", 1_500_000, "/stream")
    assert (row.ended_at - row.started_at).total_seconds() == pytest.approx(90.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"slug": "nobody"}, {"slug": None}, {"id": "x"}, {"id": 7}, {"source": "moon"}, {"bytes": -1}, {"bytes": True},
        {"bytes": 1 << 70}, {"address": "here"}, {"address": None}, {"started": "now"}, {"ended": float("inf")},
        {"ended": 1.0}, {"ended": 1 << 32}, {"started": None},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_passed_over(world: None, changes: dict[str, Any]) -> None:
    tell(sessions=[session(1, **changes), session(2)])
    assert [row.name for row in ListenerSession.objects.all()] == [f"{2:032x}"]


def test_texts_fit_the_database(world: None) -> None:
    tell(sessions=[session(1, agent="a\x00\ud800b" + "c" * 999, mount="/" + "m" * 999)])
    row = ListenerSession.objects.get()
    assert (row.agent[:3], len(row.agent), len(row.mount)) == ("abc", 255, 100)


def test_a_node_tells_of_its_own_services_only(world: None) -> None:
    tell("node2", sessions=[session(1)], transfer=[sent(1000)])
    assert not ListenerSession.objects.exists()
    assert total() == 0


def test_a_slug_has_nothing_of_its_earlier_customers(world: None) -> None:
    uid = MediaService.objects.get(slug="rock").customer.uid
    for other in (uid + 1, str(uid), None):
        tell(sessions=[{**session(1), "uid": other}], transfer=[{**sent(9000), "uid": other}])
    assert not ListenerSession.objects.exists()
    assert total() == 0
    tell(sessions=[{**session(1), "uid": uid}, session(2)], transfer=[{**sent(5000), "uid": uid}])
    assert ListenerSession.objects.count() == 2
    assert total() == 5000


@pytest.mark.parametrize(
    ("kept", "four", "six"),
    [
        ("full", "203.0.113.7", "2001:db8:1:2::7"),
        ("network", "203.0.113.0/24", "2001:db8:1::/48"),
        ("none", "", ""),
    ],
)
def test_addresses_are_kept_as_far_as_the_operator_wants(
    world: None, settings: Any, kept: str, four: str, six: str
) -> None:
    settings.SESSION_ADDRESSES = kept
    tell(sessions=[session(1), session(2, address="2001:db8:1:2::7")])
    assert list(ListenerSession.objects.order_by("name").values_list("address", flat=True)) == [four, six]


def test_old_sessions_go(world: None, settings: Any) -> None:
    tell(sessions=[session(1), session(2)])
    settings.SESSION_DAYS = 30
    ListenerSession.objects.filter(name=f"{1:032x}").update(ended_at=timezone.now() - timedelta(days=31))
    Transfer.objects.create(media_service=MediaService.objects.get(slug="rock"), month="2020-01", counter=FIRST)
    clock.tick()
    assert [row.name for row in ListenerSession.objects.all()] == [f"{2:032x}"]
    assert not Transfer.objects.filter(month="2020-01").exists()


def test_transfer_is_counted_once(world: None) -> None:
    for size, meant in ((1000, 1000), (1000, 1000), (5000, 5000), (3000, 5000)):
        tell(transfer=[sent(size)])
        assert total() == meant
    tell(transfer=[sent(6000), sent(9000), sent(8000)])
    assert total() == 9000
    # The node was made anew, and begins at nothing.
    tell(transfer=[sent(400, counter=SECOND)])
    tell(transfer=[sent(700, counter=SECOND)])
    assert total() == 9700


def test_transfer_that_is_read_again_counts_once_though_the_counter_has_changed(world: None) -> None:
    history = [sent(1000), sent(5000), sent(400, counter=SECOND), sent(700, counter=SECOND)]
    tell(transfer=history)
    assert total() == 5700
    # All at once, then as two answers, and the first counter goes on.
    tell(transfer=history)
    assert total() == 5700
    for part in (history[:1], history[1:3], history[3:], [sent(5100)]):
        tell(transfer=part)
    assert total() == 5800


def test_no_more_than_some_counters_are_remembered(world: None) -> None:
    for number in range(40):
        tell(transfer=[sent(10, counter=f"{number:032x}")])
    row = Transfer.objects.get()
    assert (row.bytes, row.counter, row.counted) == (400, f"{39:032x}", 10)
    assert row.earlier == [[f"{number:032x}", 10] for number in range(39 - sessions.MOST_EARLIER, 39)]


@pytest.mark.parametrize(
    "changes",
    [{"month": "2020-01"}, {"month": "2999-01"}, {"month": 7}, {"counter": "x"}, {"bytes": -5}, {"bytes": "5"}],
)
def test_transfer_that_makes_no_sense_is_passed_over(world: None, changes: dict[str, Any]) -> None:
    tell(transfer=[{**sent(1000), **changes}])
    assert total() == 0


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(timezone, "now", lambda: moment)


def test_the_limit_takes_off_the_air_and_the_new_month_lets_on_again(
    world: None, run: Run, api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, datetime(2026, 11, 30, 23, 59, 50, tzinfo=UTC))
    run({"media_services": [{"slug": "rock", "monthly_transfer_mb": 2}]})
    tell(transfer=[sent(2 * MB - 1)])
    clock.tick()
    assert not MediaService.objects.get(slug="rock").over_quota
    tell(transfer=[sent(2 * MB)])
    generation = Node.objects.get(name="node1").generation
    clock.tick()
    clock.tick()
    service = MediaService.objects.get(slug="rock")
    assert service.desired_state() == ("over_quota", "the 2 MB of 2026-11 are used up")
    assert service.generation == Node.objects.get(name="node1").generation == generation + 1
    entry = AuditLog.objects.first()
    assert entry is not None
    assert (entry.actor_name, entry.changes["over_quota"]) == ("clock", {"before": False, "after": True})
    _, shown = api("alice")("GET", "/media-services/rock")
    assert (shown["over_quota"], shown["transferred_mb"]) == (True, 2)
    assert shown["status"]["message"] == "the 2 MB of 2026-11 are used up"
    assert api("alice")("POST", "/media-services/rock/actions", {"action": "start"})[0] == 409
    # No document lifts it that does not lift the limit.
    run({"media_services": [{"slug": "rock", "suspended": False, "name": "Rock"}]})
    clock.tick()
    assert MediaService.objects.get(slug="rock").over_quota
    at(monkeypatch, datetime(2026, 12, 1, 0, 0, 5, tzinfo=UTC))
    clock.tick()
    assert MediaService.objects.get(slug="rock").desired_state() == ("running", "")
    tell(transfer=[sent(2 * MB + 7, month="2026-11"), sent(3 * MB)])
    clock.tick()
    assert MediaService.objects.get(slug="rock").over_quota_reason == "the 2 MB of 2026-12 are used up"


@pytest.mark.parametrize("limit", [3, None])
def test_a_higher_limit_lets_on_again_and_no_suspension_goes_with_it(world: None, run: Run, limit: int | None) -> None:
    run({"media_services": [{"slug": "rock", "monthly_transfer_mb": 1, "suspended": True, "suspend_reason": "unpaid"}]})
    tell(transfer=[sent(2 * MB), sent(9 * MB, slug="tv")])
    clock.tick()
    assert MediaService.objects.get(slug="rock").over_quota
    assert not MediaService.objects.get(slug="tv").over_quota
    run({"media_services": [{"slug": "rock", "monthly_transfer_mb": limit}]})
    clock.tick()
    service = MediaService.objects.get(slug="rock")
    assert not service.over_quota
    assert service.desired_state() == ("suspended", "unpaid")


def test_who_sees_which_sessions(world: None, api: Callable[..., Api]) -> None:
    tell(sessions=[session(1), session(2, slug="eve-fm"), session(3, slug="tv", source="hls", mount="")])
    seen = {}
    for name in ("root", "shop", "rival", "alice", "eve", "bob"):
        _, answer = api(name)("GET", "/listener-sessions")
        seen[name] = {(item["media_service"], item["id"][-1]) for item in answer["items"]}
        assert answer["count"] == len(seen[name])
    alice, eve = {("rock", "1"), ("tv", "3")}, {("eve-fm", "2")}
    everybody = alice | eve
    assert seen == {"root": everybody, "shop": alice, "rival": eve, "alice": alice, "eve": eve, "bob": set()}
    for machine in ({"node": "node1"}, {"worker": True}):
        assert api(**machine)("GET", "/listener-sessions")[0] == 403
        assert api(**machine)("GET", "/media-services/rock/listener-sessions")[0] == 403


def test_filters(world: None, api: Callable[..., Api]) -> None:
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    for number, changes in enumerate(
        [{}, {"address": "2001:db8::7"}, {"source": "direct", "mount": "/low"}, {"slug": "tv", "agent": "Kodi"}]
    ):
        tell(sessions=[session(number, **changes)])
    for number, row in enumerate(ListenerSession.objects.order_by("name")):
        ListenerSession.objects.filter(pk=row.pk).update(ended_at=now + timedelta(hours=number))

    def found(query: str, path: str = "/listener-sessions") -> list[str]:
        return [item["id"][-1] for item in api("alice")("GET", f"{path}?{query}")[1]["items"]]

    assert found("") == ["3", "2", "1", "0"]
    assert found("limit=2&offset=1") == ["2", "1"]
    assert found("", "/media-services/rock/listener-sessions") == ["2", "1", "0"]
    assert found("media_service=tv") == ["3"]
    assert found("address=2001:db8::7") == ["1"]
    assert found("source=direct") == found("mount=/low") == ["2"]
    assert found("search=kodi") == ["3"]
    assert found("since=2026-11-27T13:00:00Z&until=2026-11-27T15:00:00Z") == ["2", "1"]
    for query in ("since=2026-11-27T13:00:00", "until=yesterday", "source=moon", "limit=100000"):
        status, answer = api("alice")("GET", f"/listener-sessions?{query}")
        assert status == 422
        assert answer["error"]["errors"][0]["path"] == query.partition("=")[0]


@pytest.mark.parametrize("edge", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("path", ["/listener-sessions", "/media-services/rock/listener-sessions"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_the_edge_of_time_is_refused(world: None, api: Callable[..., Api], path: str, name: str, edge: str) -> None:
    status, answer = api("alice")("GET", f"{path}?{name}={edge}")
    assert (status, answer["error"]["code"]) == (422, "invalid_document")
    problem = answer["error"]["errors"][0]
    assert (problem["path"], problem["message"]) == (name, "is at the edge of time")


def test_statements_do_not_grow_with_what_is_told(world: None, django_assert_max_num_queries: Any) -> None:
    many = [session(number) for number in range(400)]
    slugs = ("rock", "tv")
    for size in (1, 2):
        with django_assert_max_num_queries(14):
            tell(sessions=many, transfer=[sent(size * 1000 + n, slug=slug) for slug in slugs for n in range(300)])
    assert ListenerSession.objects.count() == 400
