"""What stations have played: what is stored of what nodes tell, what is passed over, and who may read it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from streamfleet_panel import clock, collected
from streamfleet_panel.collected import Batch, played
from streamfleet_panel.models import Account, MediaService, Node, OnAir, PassedOver, PlayedTrack
from tests_support import Api

pytestmark = pytest.mark.django_db


def ago(**delta: float) -> str:
    return (datetime.now(UTC) - timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def line(minutes: float = 1, **more: Any) -> dict[str, Any]:
    return {"time": ago(minutes=minutes), "playlist": "hits", "path": "a.mp3", "title": "A", "artist": "B", **more}


def nested(levels: int = 50_000) -> Any:
    """As deep as no reader of JSON would give it."""
    found: Any = "x"
    for _ in range(levels):
        found = [found]
    return found


def tell(slug: str, *lines: dict[str, Any], feed: str = "played") -> None:
    """As the worker stores what the service's node has answered."""
    node = Node.objects.get(media_services__slug=slug)
    number = collected.place_of(node.pk).number
    assert collected.store(node.pk, number, Batch({feed: [(slug, item) for item in lines]}, {}, False))


def test_a_history_is_read_newest_first(world: None, api: Callable[..., Api]) -> None:
    tell("rock", line(9, title="first"), line(5, title="second", artist=None, playlist=None))
    tell("rock", line(2, title="third", playlist="live", dj="anna", path=None))
    status, answer = api("alice")("GET", "/media-services/rock/played")
    assert (status, answer["count"]) == (200, 3)
    assert [item["title"] for item in answer["items"]] == ["third", "second", "first"]
    assert answer["items"][0] == {
        "at": answer["items"][0]["at"],
        "playlist": "live",
        "path": None,
        "title": "third",
        "artist": "B",
        "dj": "anna",
    }
    assert answer["items"][0]["at"].endswith("Z")
    answer = api("alice")("GET", f"/media-services/rock/played?since={ago(minutes=6)}&limit=1")[1]
    assert (answer["count"], [item["title"] for item in answer["items"]]) == (2, ["third"])
    status, answer = api("alice")("GET", "/media-services/rock/played?since=yesterday")
    assert (status, answer["error"]["errors"][0]["path"]) == (422, "since")


@pytest.mark.parametrize(
    "edge", ["0001-01-01T00:00:00%2B14:00", "0001-01-01T00:00:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59"]
)
def test_the_edge_of_time_is_refused(world: None, api: Callable[..., Api], edge: str) -> None:
    status, answer = api("alice")("GET", f"/media-services/rock/played?since={edge}")
    assert (status, answer["error"]["errors"][0]["path"]) == (422, "since")
    assert answer["error"]["errors"][0]["message"] == "is at the edge of time"


def test_a_history_that_is_told_again_counts_once(world: None) -> None:
    lines = [line(9), line(5)]
    tell("rock", *lines)
    tell("rock", *lines, line(2))
    assert PlayedTrack.objects.count() == 3


def test_a_line_is_known_by_what_is_stored_of_it(world: None) -> None:
    first = line(9)
    tell("rock", first, {**first, "more": nested(), "artist": "B"}, {**first, "more": float("nan")})
    assert PlayedTrack.objects.count() == 1
    tell("rock", {**first, "artist": "C"}, {**first, "title": nested()}, line(8))
    assert PlayedTrack.objects.count() == 4


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"time": None},
        {"time": "yesterday"},
        {"time": "2026-11-27T08:00:00+01:00"},
        {"time": ago(days=100)},
        {"time": ago(days=-1)},
        {"time": ["x"]},
        {"time": nested()},
    ],
)
def test_a_line_without_a_time_of_now_is_passed_over(world: None, bad: dict[str, Any]) -> None:
    tell("rock", bad, line())
    assert PlayedTrack.objects.count() == 1


def test_texts_of_tenants_are_cut_and_cleaned(world: None) -> None:
    tell(
        "rock",
        line(title="a\x00b\x1b[31m\n\u2028\ud800c" + "d" * 999, artist={"x": 1}, dj=7, path=["a"], playlist=None),
    )
    track = PlayedTrack.objects.get()
    assert track.title == ("a b [31m   c" + "d" * 999)[:300]
    assert (track.artist, track.dj, track.path, track.playlist) == (None, None, None, None)


def test_lines_of_services_elsewhere_are_passed_over(world: None) -> None:
    node = Node.objects.get(media_services__slug="rock")
    MediaService.objects.filter(slug="eve-fm").update(node=Node.objects.exclude(pk=node.pk).first())
    batch = Batch({"played": [("eve-fm", line()), ("nobody", line())], "air": [("eve-fm", {"on_air": "x"})]}, {}, False)
    collected.store(node.pk, collected.place_of(node.pk).number, batch)
    assert not PlayedTrack.objects.exists()
    assert not OnAir.objects.exists()


def test_old_lines_go(world: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(played, "TIDY_ONE_IN", 1)
    monkeypatch.setattr(played, "KEPT", 3)
    tell("rock", *(line(minutes) for minutes in range(1, 8)))
    tell("tv", line(50))
    assert PlayedTrack.objects.filter(media_service__slug="rock").count() == 3
    newest = PlayedTrack.objects.filter(media_service__slug="rock").first()
    assert newest is not None
    assert timezone.now() - newest.at < timedelta(minutes=2)
    PlayedTrack.objects.filter(pk=newest.pk).update(at=timezone.now() - played.KEEP - timedelta(hours=1))
    clock.tick()
    assert PlayedTrack.objects.count() == 3


def test_who_is_on_the_air(world: None, api: Callable[..., Api]) -> None:
    call = api("alice")
    nothing = {"media_service": "rock", "dj": None, "connected": [], "reported_at": None, "last": None}
    assert call("GET", "/media-services/rock/air") == (200, nothing)
    anna = {
        "username": "anna",
        "since": "2026-11-27T08:00:00Z",
        "address": "2001:db8::1",
        "protocol": "icecast",
        "format": "mp3",
        "title": "Show",
        "recorded": True,
    }
    tell("rock", {"on_air": "anna", "connected": [anna]}, feed="air")
    tell("rock", line(1, title="Show", dj="anna"))
    answer = call("GET", "/media-services/rock/air")[1]
    assert (answer["dj"], answer["connected"], answer["last"]["dj"]) == ("anna", [anna], "anna")
    tell("rock", {"on_air": None, "connected": []}, feed="air")
    assert call("GET", "/media-services/rock/air")[1]["dj"] is None
    assert OnAir.objects.count() == 1


@pytest.mark.parametrize("connected", [None, "x", 1, {}, ["x"], [None], [[]]])
def test_a_state_that_makes_no_sense_is_no_harm(world: None, connected: Any) -> None:
    tell("rock", {"on_air": {"x": 1}, "connected": connected}, feed="air")
    state = OnAir.objects.get()
    assert (state.dj, state.connected) == (None, [])


def test_no_more_is_kept_of_the_connected_than_can_be(world: None) -> None:
    many = [{"username": "x" * 999, "recorded": "yes", "secret": "y"}] * 500
    tell("rock", {"on_air": "a", "connected": many}, feed="air")
    kept = OnAir.objects.get().connected
    assert len(kept) == played.MOST_CONNECTED
    assert kept[0]["username"] == "x" * 32
    assert kept[0]["recorded"] is False
    assert "secret" not in kept[0]


def test_what_is_not_played_is_shown_to_those_whom_it_concerns(
    world: None, api: Callable[..., Api], run: Callable[..., dict[str, Any]]
) -> None:
    run({"media_services": [{"slug": "rock", "autodj": {"class": "eco"}}]})
    path, call = "/media-services/rock/passed-over", api("alice")
    nothing = {"media_service": "rock", "count": 0, "items": [], "reported_at": None}
    assert call("GET", path) == (200, nothing)
    client = Client()
    client.force_login(Account.objects.get(username="alice"), backend="streamfleet_panel.auth.AccountBackend")
    assert "Not played" not in client.get("/services/rock/").content.decode()
    file = {"path": "<b>.ogg", "reason": "is not called .mp3"}
    tell("rock", {"count": 3, "items": [file]}, feed="passed_over")
    answer = call("GET", path)[1]
    assert answer.pop("reported_at").endswith("Z")
    assert answer == {"media_service": "rock", "count": 3, "items": [file]}
    text = client.get("/services/rock/").content.decode()
    for words in ("Not played", "3 files of", "&lt;b&gt;.ogg: is not called .mp3", "the first of them"):
        assert words in text, words
    for name in ("eve", "rival", "bob"):
        assert api(name)("GET", path)[0] == 404
    # The next takes its place; nothing that was told of an AutoDJ that is off is of now.
    tell("rock", {"count": 1, "items": [file]}, feed="passed_over")
    assert call("GET", path)[1]["count"] == 1
    run({"media_services": [{"slug": "rock", "autodj": {"enabled": False}}]})
    assert call("GET", path)[1] == nothing
    assert "Not played" not in client.get("/services/rock/").content.decode()


def test_a_channel_of_television_tells_what_it_leaves_out(
    world: None, api: Callable[..., Api], run: Callable[..., dict[str, Any]]
) -> None:
    run({"nodes": [{"name": "node1", "engines": ["icecast", "nginx_rtmp", "wowza"]}]})
    channel = {"customer": "bob", "engine": "wowza", "node": "node1"}
    for slug, kind in (("ada-tv", "tv_station"), ("plain", "live")):
        run({"media_services": [{**channel, "slug": slug, "service_type": kind}]})
    file = {"path": "a.mp4", "reason": "it has no sound: add a silent track"}
    for slug in ("ada-tv", "plain"):
        tell(slug, {"count": 1, "items": [file]}, feed="tv_passed_over")
    assert api("bob")("GET", "/media-services/ada-tv/passed-over")[1]["items"] == [file]
    # A channel that plays nothing by itself leaves nothing out, whatever its customer writes there.
    assert api("bob")("GET", "/media-services/plain/passed-over")[1]["items"] == []


@pytest.mark.parametrize(
    ("told", "stored"),
    [
        ({}, (0, [])),
        ({"count": -1, "items": "x"}, (0, [])),
        ({"count": True, "items": [7, None]}, (0, [])),
        ({"count": 1 << 40, "items": [{}]}, (1, [{"path": "", "reason": ""}])),
        ({"count": 9, "items": [{"path": "a\x00" + "b" * 999, "reason": nested()}]},
         (9, [{"path": "a " + "b" * 498, "reason": ""}])),
    ],
    ids=["nothing", "below nothing", "no number", "too many", "no texts"],
)  # fmt: skip
def test_what_makes_no_sense_of_what_is_not_played(world: None, told: dict[str, Any], stored: Any) -> None:
    tell("rock", told, feed="passed_over")
    found = PassedOver.objects.get()
    assert (found.count, found.items) == stored
    tell("rock", {"count": 99, "items": [{}] * 99}, feed="passed_over")
    assert len(PassedOver.objects.get().items) == 50
