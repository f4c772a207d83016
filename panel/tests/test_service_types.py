"""Types of services of one engine: what each has, and what it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfleet_panel.apply import ApiError
from streamfleet_panel.models import MediaService, Node
from streamfleet_panel.nodedoc import document

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def channel(world: None, run: Run) -> Callable[..., dict[str, Any]]:
    """``channel(service_type, …)`` declares a channel of Wowza and returns it."""
    run({"nodes": [{"name": "node1", "engines": ["icecast", "nginx_rtmp", "wowza"]}]})

    def declare(kind: str, slug: str = "films", **fields: Any) -> dict[str, Any]:
        service = {"slug": slug, "customer": "bob", "engine": "wowza", "service_type": kind, "node": "node1", **fields}
        found: dict[str, Any] = run({"media_services": [service]}, return_objects=True)["results"][0]["object"]
        return found

    return declare


def refusal(channel: Callable[..., dict[str, Any]], kind: str, **fields: Any) -> dict[str, Any]:
    with pytest.raises(ApiError) as raised:
        channel(kind, **fields)
    assert len(raised.value.errors) == 1, raised.value.errors
    return raised.value.errors[0].as_dict()


def test_a_field_of_another_type_is_refused_unless_it_says_nothing(channel: Callable[..., dict[str, Any]]) -> None:
    told = refusal(channel, "low_latency", segment_seconds=6)
    assert (told["path"], told["value"]) == ("media_services[0].segment_seconds", 6)
    assert told["message"] == "is not for services of type low_latency"
    assert "services of type live" in told["fix"]
    assert MediaService.objects.filter(slug="films").count() == 0
    made = channel("low_latency")
    # What was read can be sent back.
    again = channel("low_latency", segment_seconds=made["segment_seconds"])
    assert again["generation"] == made["generation"]
    assert channel("live", "other-tv", segment_seconds=6)["segment_seconds"] == 6


def test_on_demand_has_a_library_and_no_encoder(channel: Callable[..., dict[str, Any]]) -> None:
    made = channel("on_demand", media_folder="films")
    assert (made["media_folder"], made["connection"]) == ("films", [])
    (url,) = made["listen_urls"]
    assert url.endswith("/hls/films/<path of a file>/playlist.m3u8")
    service = MediaService.objects.get(slug="films")
    assert service.credentials == {}
    told = refusal(channel, "on_demand", publish_password="a-password-of-no-use")
    assert (told["path"], told["value"]) == ("media_services[0].publish_password", None)
    assert told["message"] == "is not for services of type on_demand"
    told = refusal(channel, "on_demand", media_folder="../other")
    assert (told["path"], told["value"]) == ("media_services[0].media_folder", "../other")
    item = next(item for item in document(service.node)["services"] if item["slug"] == "films")
    assert item["settings"]["media_folder"] == "films"
    assert item["credentials"] == {"publish_password": None, "stream_password": None}


def test_a_relay_names_what_it_takes_over_and_nobody_sends_to_it(channel: Callable[..., dict[str, Any]]) -> None:
    told = refusal(channel, "stream_relay")
    assert told["path"] == "media_services[0].stream_address"
    assert told["message"] == "is missing: a service of type stream_relay needs it"
    address = "rtmp://video.example.org/live/one"
    made = channel("stream_relay", stream_address=address, segment_seconds=6)
    assert (made["stream_address"], made["radio_address"], made["connection"]) == (address, None, [])
    assert made["listen_urls"][0].endswith("/hls/films/playlist.m3u8")
    service = MediaService.objects.get(slug="films")
    assert service.credentials == {}
    item = next(item for item in document(service.node)["services"] if item["slug"] == "films")
    assert item["settings"]["stream_address"] == address
    for kind, field, bad in (
        ("stream_relay", "stream_address", "rtmp://192.168.0.2/live/one"),
        ("stream_relay", "stream_address", "http://video.example.org/film.mp4"),
        ("stream_relay", "stream_address", "rtsp://admin:secret@camera.example.org/"),
        ("shoutcast_relay", "radio_address", "https://radio.example.org/live"),
        ("shoutcast_relay", "radio_address", "http://localhost:8000/live"),
        ("live", "stream_address", address),
    ):
        told = refusal(channel, kind, slug="other", **{field: bad})
        assert told["path"] == f"media_services[0].{field}"
    login = {"stream_username": "viewer", "stream_password": "cameras-secret"}
    made = channel("stream_relay", "camera", stream_address="rtsp://camera.example.org/one", **login)
    assert (made["stream_username"], "stream_password" in made) == ("viewer", False)
    assert refusal(channel, "live", slug="other", stream_password="cameras-secret")["value"] is None
    assert channel("shoutcast_relay", "radio", radio_address="http://radio.example.org:8000/live")["engine"] == "wowza"


def test_a_channel_that_plays_by_itself_has_playlists_and_a_live_source(
    channel: Callable[..., dict[str, Any]], run: Run
) -> None:
    made = channel("tv_station", timezone="Europe/Prague")
    assert [item["label"] for item in made["connection"]] == ["Server", "Stream key", "User", "Password"]
    assert made["listen_urls"][0].endswith("/hls/films/playlist.m3u8")
    channel("live", "other-tv")
    day = {"media_service": "films", "name": "day", "folder": "day"}
    news = {"media_service": "films", "name": "news", "type": "scheduled", "files": ["news/First.MP4", "news/two.mov"]}
    noon = {"media_service": "films", "name": "noon", "playlist": "news", "start": "12:00", "end": "13:00"}
    found = run({"playlists": [day, news], "schedules": [noon]})
    assert found["summary"]["created"] == 3
    assert run({"playlists": [day, news], "schedules": [noon]})["summary"]["unchanged"] == 3
    items = {item["slug"]: item for item in document(Node.objects.get(name="node1"))["services"]}
    assert [item["name"] for item in items["films"]["playlists"]] == ["day", "news"]
    assert [item["playlist"] for item in items["films"]["schedules"]] == ["news"]
    assert (items["films"]["settings"]["timezone"], items["films"]["library_mb"]) == ("Europe/Prague", None)
    assert {"playlists", "schedules"}.isdisjoint(items["other-tv"])
    assert {"djs", "queue", "relays", "skip"}.isdisjoint(items["films"])


@pytest.mark.parametrize(
    ("kind", "item", "path", "message"),
    [
        (
            "playlists",
            {"media_service": "films", "name": "a", "files": ["a.mp4", "song.mp3"]},
            "playlists[0].files[1]",
            "is not called as what a service of type tv_station plays",
        ),
        (
            "playlists",
            {"media_service": "live-tv", "name": "a", "folder": "."},
            "playlists[0].media_service",
            "is a service of Wowza Streaming Engine of the type live, which has no playlists",
        ),
        (
            "djs",
            {"media_service": "films", "username": "anna"},
            "djs[0].media_service",
            "is a service of Wowza Streaming Engine, which has no DJs",
        ),
        (
            "schedules",
            {"media_service": "films", "name": "a", "dj": "anna", "start": "12:00", "end": "13:00"},
            "schedules[0].dj",
            "is not a DJ of this service",
        ),
    ],
)
def test_what_it_cannot_play_is_refused(
    channel: Callable[..., dict[str, Any]], run: Run, kind: str, item: dict[str, Any], path: str, message: str
) -> None:
    channel("tv_station")
    channel("live", "live-tv")
    with pytest.raises(ApiError) as raised:
        run({kind: [item]})
    assert [(error.path, error.message) for error in raised.value.errors] == [(path, message)]


@pytest.mark.parametrize("name", ["record_minutes", "dvr_hours"])
def test_what_plays_by_itself_is_recorded_kept_and_scaled_as_live_is(
    channel: Callable[..., dict[str, Any]], name: str
) -> None:
    assert refusal(channel, "tv_station", **{name: 5})["message"] == f"{name} needs disk_quota_mb"
    assert channel("tv_station", **{name: 5}, disk_quota_mb=500)[name] == 5
    small = {"renditions": [{"height": 144, "video_kbps": 100}]}
    channel("tv_station", record_minutes=5, dvr_hours=None, disk_quota_mb=500, **small)
    told = refusal(channel, "tv_station", dvr_hours=5)
    assert told["message"] == "cannot be had together with dvr_hours"
    (item,) = (item for item in document(Node.objects.get(name="node1"))["services"] if item["slug"] == "films")
    assert (item["settings"]["record_minutes"], item["settings"]["renditions"]) == (5, small["renditions"])


def test_a_relay_is_recorded_and_neither_kept_nor_scaled(channel: Callable[..., dict[str, Any]], run: Run) -> None:
    user = {"customer": "bob", "name": "studio", "password": "correct horse battery"}
    run({"media_users": [user]})
    node = Node.objects.get(name="node1")
    for kind, name, address in (
        ("stream_relay", "stream_address", "rtmp://video.example.org/live/one"),
        ("shoutcast_relay", "radio_address", "http://radio.example.org:8000/live"),
    ):
        own = {name: address, "slug": kind.replace("_", "-")}
        assert refusal(channel, kind, **own, record_minutes=5)["message"] == "record_minutes needs disk_quota_mb"
        channel(kind, **own, record_minutes=5, disk_quota_mb=500)
        item = next(item for item in document(node)["services"] if item["slug"] == own["slug"])
        assert (item["settings"]["record_minutes"], item["library_mb"]) == (5, 500)
        assert "bob.studio" in [item["login"] for item in document(node)["media_users"]]
        channel(kind, **own, record_minutes=None)
        for fields in ({"dvr_hours": 5}, {"renditions": [{"height": 144, "video_kbps": 100}]}):
            assert refusal(channel, kind, **own, **fields)["message"] == f"is not for services of type {kind}"


def test_what_is_of_one_type_only(channel: Callable[..., dict[str, Any]]) -> None:
    assert refusal(channel, "live", timezone="Europe/Prague")["path"] == "media_services[0].timezone"
    assert refusal(channel, "tv_station", timezone="Europe/Nowhere")["message"].startswith("is not a time zone")


def test_a_channel_that_is_recorded_has_a_library_and_a_limit(channel: Callable[..., dict[str, Any]], run: Run) -> None:
    told = refusal(channel, "live", record_minutes=60)
    assert (told["path"], told["message"]) == ("media_services[0].record_minutes", "record_minutes needs disk_quota_mb")
    told = refusal(channel, "on_demand", record_minutes=60, disk_quota_mb=500)
    assert told["message"] == "is not for services of type on_demand"
    told = refusal(channel, "live", dvr_hours=24)
    assert (told["path"], told["message"]) == ("media_services[0].dvr_hours", "dvr_hours needs disk_quota_mb")
    assert refusal(channel, "low_latency", dvr_hours=24, disk_quota_mb=500)["path"] == "media_services[0].dvr_hours"
    run({"media_users": [{"customer": "bob", "name": "studio", "password": "correct horse battery"}]})
    node = Node.objects.get(name="node1")
    channel("live", record_minutes=60, disk_quota_mb=500)
    assert "bob.studio" in [item["login"] for item in document(node)["media_users"]]
    item = next(item for item in document(node)["services"] if item["slug"] == "films")
    assert (item["settings"]["record_minutes"], item["limits"]["disk_quota_mb"]) == (60, 500)
    # What the whole library may have goes with it, since recordings can be moved there.
    channel("live", "more-films", record_minutes=60, disk_quota_mb=200)
    assert [item.get("library_mb") for item in document(node)["services"] if item["engine"] == "wowza"] == [700, 700]
    channel("live", "more-films", record_minutes=None)
    found = {item["slug"]: item.get("library_mb", "none") for item in document(node)["services"]}
    assert (found["films"], found["more-films"]) == (500, "none")
    channel("live", record_minutes=None)
    assert "bob.studio" not in [item["login"] for item in document(node)["media_users"]]


def test_what_cannot_run_together_is_refused(channel: Callable[..., dict[str, Any]]) -> None:
    small = {"renditions": [{"height": 480, "video_kbps": 1200}]}
    kept = {"dvr_hours": 24, "disk_quota_mb": 500}
    told = refusal(channel, "live", **small, **kept)
    assert (told["path"], told["message"]) == (
        "media_services[0].renditions",
        "cannot be had together with dvr_hours",
    )
    # Nor one after the other; what says nothing is nothing.
    channel("live", **kept, renditions=[])
    assert refusal(channel, "live", **small)["path"] == "media_services[0].renditions"
    channel("live", **small, dvr_hours=None)
    assert refusal(channel, "live", dvr_hours=24)["message"] == "cannot be had together with dvr_hours"


@pytest.mark.parametrize("quota", [0, 1, 499])
def test_what_is_kept_needs_room_for_some_minutes(channel: Callable[..., dict[str, Any]], quota: int) -> None:
    told = refusal(channel, "live", dvr_hours=24, disk_quota_mb=quota)
    assert (told["path"], told["value"]) == ("media_services[0].disk_quota_mb", quota)
    assert told["message"] == "is too little for dvr_hours, which needs at least 500"
    channel("live", dvr_hours=24, disk_quota_mb=500)
    assert refusal(channel, "live", disk_quota_mb=quota)["path"] == "media_services[0].disk_quota_mb"
    channel("live", disk_quota_mb=quota, dvr_hours=None)
    channel("live", "recorded-tv", record_minutes=5, disk_quota_mb=quota)


CAMERA = "rtsp://camera.example.net/one"
LOGIN = {"stream_username": "viewer", "stream_password": "camera-secret"}


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"stream_username": "viewer"}, "stream_password", "is missing: stream_username goes with it"),
        ({"stream_password": "camera-secret"}, "stream_username", "is missing: stream_password goes with it"),
    ],
)
def test_a_log_in_has_both(
    channel: Callable[..., dict[str, Any]], fields: dict[str, str], path: str, message: str
) -> None:
    told = refusal(channel, "stream_relay", stream_address=CAMERA, **fields)
    assert (told["path"], told["value"], told["message"]) == (f"media_services[0].{path}", None, message)
    channel("stream_relay", stream_address=CAMERA, **LOGIN)
    other = ({"stream_username", "stream_password"} - fields.keys()).pop()
    assert refusal(channel, "stream_relay", **{other: None})["message"] == message


@pytest.mark.parametrize("address", ["rtmp://video.example.net/live/one", "https://video.example.net/one.m3u8"])
def test_only_cameras_have_a_log_in(channel: Callable[..., dict[str, Any]], address: str) -> None:
    with pytest.raises(ApiError) as raised:
        channel("stream_relay", stream_address=address, **LOGIN)
    found = {problem.path.partition(".")[2]: problem.message for problem in raised.value.errors}
    assert set(found) == {"stream_username", "stream_password"}
    assert all(message.startswith("is not for a stream_address by ") for message in found.values())
    assert "camera-secret" not in str([problem.as_dict() for problem in raised.value.errors])


@pytest.mark.parametrize(
    "address", ["rtsp://elsewhere.example.net/one", "rtsp://camera.example.net:8554/one", "rtsp://1.1.1.1/one"]
)
def test_a_cameras_password_goes_to_no_other_server(channel: Callable[..., dict[str, Any]], address: str) -> None:
    channel("stream_relay", stream_address=CAMERA, **LOGIN)
    told = refusal(channel, "stream_relay", stream_address=address)
    assert (told["path"], told["value"]) == ("media_services[0].stream_address", address)
    assert told["message"] == "is another server, which must not get the old stream_password"
    # Not by way of no address, either.
    assert "stream_password" in refusal(channel, "stream_relay", stream_address=address, stream_username="other")["fix"]
    channel("stream_relay", stream_address="rtsp://CAMERA.example.net:554/two")
    channel("stream_relay", stream_address=address, stream_password="another-secret")
    assert MediaService.objects.get(slug="films").credentials["stream_password"] == "another-secret"
    channel("stream_relay", stream_address=CAMERA, stream_username=None, stream_password=None)
    assert MediaService.objects.get(slug="films").credentials.get("stream_password") is None


def test_its_customer_may_log_in_for_media(channel: Callable[..., dict[str, Any]], run: Run) -> None:
    user = {"customer": "bob", "name": "studio", "password": "correct horse battery"}
    run({"media_users": [user]})
    node = Node.objects.get(name="node1")
    assert "bob.studio" not in [item["login"] for item in document(node)["media_users"]]
    channel("live")
    assert "bob.studio" not in [item["login"] for item in document(node)["media_users"]]
    channel("on_demand", "more-films", disk_quota_mb=500)
    found = {item["login"]: item["disk_quota_mb"] for item in document(node)["media_users"]}
    assert found["bob.studio"] == 500


@pytest.mark.parametrize(
    ("kind", "name", "message", "fix"),
    [
        (
            "stream_relay",
            "stream_password",
            "is set by hand, so it cannot be made anew",
            "Give stream_password its new value in the service.",
        ),
        (
            "stream_relay",
            "publish_password",
            "is not for services of type stream_relay",
            "Credentials of this service that can be made anew: none.",
        ),
        (
            "live",
            "stream_password",
            "is not for services of type live",
            "Credentials of this service that can be made anew: publish_password.",
        ),
    ],
)
def test_only_what_the_panel_makes_is_made_anew(
    channel: Callable[..., dict[str, Any]], api: Callable[..., Any], kind: str, name: str, message: str, fix: str
) -> None:
    channel(kind, **({"stream_address": CAMERA, **LOGIN} if kind == "stream_relay" else {}))
    before = MediaService.objects.get(slug="films")
    status, answer = api("bob")("POST", "/media-services/films/credentials/rotate", {"names": [name]})
    assert (status, answer["error"]["code"]) == (422, "invalid_document")
    assert answer["error"]["errors"] == [{"path": "names", "value": name, "message": message, "fix": fix}]
    after = MediaService.objects.get(slug="films")
    assert (after.credentials, after.generation) == (before.credentials, before.generation)


def test_what_the_panel_makes_is_made_anew(channel: Callable[..., dict[str, Any]], api: Callable[..., Any]) -> None:
    channel("live")
    before = MediaService.objects.get(slug="films").credentials["publish_password"]
    status, answer = api("bob")("POST", "/media-services/films/credentials/rotate", {"names": ["publish_password"]})
    assert status == 200
    assert answer["credentials"]["publish_password"] not in (None, before)
