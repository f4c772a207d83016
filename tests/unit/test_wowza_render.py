"""A channel's files for Wowza: no tenant's text becomes an element of its own, and off the air nothing is allowed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from streamfleet.engine import File, Instance, RenderError, instances_of, load_renderer
from streamfleet_tv import videos

from tests.doubles.panel import playlist, schedule
from tests.doubles.panel import wowza_channel as channel
from tests.doubles.wowza.caster import fault_of
from tests.doubles.wowza.configuration import Application
from tests.doubles.wowza.transcoder import Template

ROOT = Path(__file__).resolve().parents[2]
render = load_renderer(ROOT, "wowza")
SPEC = yaml.safe_load((ROOT / "roles/wowza/engine/spec.yml").read_text())
NODE = {"node": "n1", "stream_host": "stream.example.net"}
A = ("rock-tv", 200001)
STATES = ["stopped", "suspended", "disabled", "over_quota", "deleted"]

#: Text that means something to somebody: to XML, to Wowza's places and password file, a shell, a template.
HOSTILE = [
    "secret</Value><Value>x",
    "]]>secret-secret",
    "<!--secret-secret",
    "&secret-secret;",
    "secret\nother user",
    "secret\rother user",
    "secret other",
    "secret\tother",
    "secret\x85other",
    "secret\u2028other",
    "secret\0secret",
    "${com.wowza.wms.ConfigHome}",
    "#secret-secret",
    '"secret-secret"',
    "$(reboot)",
    "{{ 7*7 }}",
    "../../secret",
    "pässword",
    "secret\ud800",
    "",
    "x" * 129,
]


def xml(instance: Instance) -> ET.Element:
    return ET.fromstring(instance.files[0].content)


def files(instance: Instance) -> dict[str, File]:
    return {file.path.rpartition("/")[2]: file for file in instance.files}


def settings(tmp_path: Path, instance: Instance) -> Application:
    """What the double reads out of it."""
    place = tmp_path / "conf" / instance.slug
    place.mkdir(parents=True)
    (place / "Application.xml").write_text(instance.files[0].content)
    return Application(tmp_path, instance.slug)


def test_a_channel_as_a_whole(tmp_path: Path) -> None:
    instance = render(channel(*A, limits={"max_listeners": 7}), NODE)
    assert instance is not None
    found = files(instance)
    assert set(found) == {"Application.xml", "publish.password", "rock-tv.json"}
    assert found["publish.password"].content == "rock-tv publish-rock-tv-secret\n"
    assert {file.group for name, file in found.items() if name != "rock-tv.json"} == {"streamfleet-wowza"}
    assert {file.mode for file in found.values()} == {"0640"}
    assert found["publish.password"].kind == "key"
    assert json.loads(found["rock-tv.json"].content) == {"port": 1938, "hls": "/rock-tv/live"}
    assert (instance.unit, instance.ports, instance.listen) == ("streamfleet-wowza@rock-tv.service", [], [])
    app = settings(tmp_path, instance)
    assert (app.accept, app.packetized, app.played, app.viewers) == (True, True, True, 7)
    assert (app.password_needed, app.one_publisher, app.segment_seconds) == (True, True, 2.0)
    assert app.password_file == tmp_path / "conf/rock-tv/publish.password"
    assert [app.may(app.write_access, name) for name in ("live", "other", "")] == [True, False, False]
    assert not app.may(app.read_access, "live")
    assert {item.text for item in xml(instance).iter() if item.tag in ("PublishMethod", "PlayMethod")} == {"block"}


def test_low_latency_is_another_type_of_stream_with_short_segments(tmp_path: Path) -> None:
    live = settings(tmp_path / "live", render(channel(*A), NODE))
    low = settings(tmp_path / "low", render(channel(*A, service_type="low_latency"), NODE))
    assert (live.stream_type, low.stream_type) == ("live", "live-lowlatency")
    assert (live.segment_seconds, low.segment_seconds) == (2.0, 1.0)


PLAYLISTS = [playlist("day", folder="day"), playlist("news", type="scheduled", files=["news/one.mp4"], weight=1)]
NOON = [{"days": None, "start": "12:00", "end": "13:00"}]


def tv(**changes: Any) -> list[Instance]:
    """A channel that plays by itself: its application, and what plays it."""
    own = {"service_type": "tv_station", "settings": {"timezone": "Europe/Prague"}}
    calendar = [schedule("noon", playlist="news", start="12:00", end="13:00")]
    given = {**own, "playlists": PLAYLISTS, "schedules": calendar, **changes}
    made = render(channel(*A, **given), NODE)
    assert isinstance(made, list)
    return made


def test_what_plays_by_itself_is_an_application_and_a_process_of_the_customers(tmp_path: Path) -> None:
    instance, programme = tv(limits={"max_listeners": 7})
    found = files(instance)
    assert set(found) == {"Application.xml", "publish.password", "rock-tv.json"}
    # Viewers get what is played; a broadcaster has the name of every channel's stream.
    assert json.loads(found["rock-tv.json"].content) == {"port": 1938, "hls": "/rock-tv/air"}
    app = settings(tmp_path, instance)
    assert (app.stream_type, app.packetized, app.password_needed, app.one_publisher) == ("live", True, True, True)
    assert [app.may(app.write_access, name) for name in ("live", "air", "other", "")] == [True, True, False, False]
    assert not app.may(app.read_access, "live")
    # What plays it looks at the live stream as a viewer.
    assert app.viewers == 8
    assert (programme.key, programme.unit) == ("rock-tv+tv", "streamfleet-wowza-tv@rock-tv.service")
    assert (programme.ports, programme.listen, programme.group) == ([1941, 1938], [], None)
    assert programme.directories == ["/var/lib/streamfleet/media/200001"]
    own = files(programme)
    assert {file.path.rpartition("/")[0] for file in own.values()} == {"/etc/streamfleet/instances/tv/rock-tv"}
    assert {(file.group, file.mode) for file in own.values()} == {("sf200001", "0640")}
    assert json.loads(own["settings.json"].content) == {
        "application": "rock-tv",
        "stream": "air",
        "live": "live",
        "port": 1941,
        "hls_port": 1938,
        "segment_seconds": 2,
        "library": "/var/lib/streamfleet/media/200001",
        "timezone": "Europe/Prague",
        "seed": 2096882518,
    }
    found_playlists = json.loads(own["playlists.json"].content)
    assert [(item["name"], item["active"]) for item in found_playlists] == [("day", None), ("news", NOON)]
    assert (own["publish.json"].kind, json.loads(own["publish.json"].content)) == (
        "key",
        {"password": "publish-rock-tv-secret"},
    )


@pytest.mark.parametrize("state", STATES)
def test_what_plays_by_itself_is_off_the_air_with_its_channel(tmp_path: Path, state: str) -> None:
    instance, programme = tv(state=state)
    assert set(files(instance)) == {"Application.xml"}
    assert settings(tmp_path, instance).write_access == ""
    assert programme.state == state
    assert set(files(programme)) == {"settings.json", "playlists.json"}


def test_only_another_customer_restarts_what_plays() -> None:
    base = tv()
    for changes in (
        {"playlists": []},
        {"schedules": []},
        {"settings": {"timezone": "UTC"}},
        {"name": "Other"},
        {"credentials": {"publish_password": "another-secret"}},
    ):
        assert [item.fingerprints for item in tv(**changes)] == [item.fingerprints for item in base], changes
    instance, programme = tv(settings={"segment_seconds": 5})
    assert instance.fingerprints != base[0].fingerprints
    assert programme.fingerprints == base[1].fingerprints


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"settings": {"timezone": "Europe/../../etc/passwd"}}, "settings.timezone"),
        ({"playlists": [playlist("day", folder="../day")]}, "playlists[0].folder"),
        ({"playlists": [playlist("day", files=["a\nb.mp4"])]}, "playlists[0].files[0]"),
        ({"schedules": [schedule("late", playlist="news", start="25:00", end="01:00")]}, "schedules[0].start"),
        ({"credentials": {"publish_password": "a b"}}, "credentials.publish_password"),
        ({"limits": {"max_listeners": "5"}}, "max_listeners"),
    ],
)
def test_what_it_cannot_be_told_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RenderError) as raised:
        tv(**changes)
    assert raised.value.field == field


def test_on_demand_plays_a_folder_of_the_customers_own_library(tmp_path: Path) -> None:
    instance = render(channel(*A, service_type="on_demand", settings={"media_folder": "films/old.ones"}), NODE)
    assert isinstance(instance, Instance)
    found = files(instance)
    assert set(found) == {"Application.xml", "library.json", "rock-tv.json"}
    assert json.loads(found["rock-tv.json"].content) == {"port": 1938, "hls": "/rock-tv/_definst_", "files": True}
    grant = found["library.json"]
    assert json.loads(grant.content) == {"library": "/var/lib/streamfleet/media/200001", "folder": "films/old.ones"}
    # The customer's own user reads it, and Wowza's has no business with it.
    assert (grant.path, grant.group) == ("/etc/streamfleet/instances/wowzalibrary/rock-tv/library.json", "sf200001")
    assert instance.directories == ["/var/lib/streamfleet/media/200001"]
    app = settings(tmp_path, instance)
    assert (app.app_type, app.stream_type, app.packetized, app.played) == ("VOD", "default", False, True)
    assert app.storage == Path("/run/streamfleet/wowzamedia/200001/films/old.ones")
    assert (app.write_access, app.read_access, app.passwords()) == ("", "", {})
    whole = render(channel(*A, service_type="on_demand", settings={"media_folder": "."}), NODE)
    assert settings(tmp_path / "whole", whole).storage == Path("/run/streamfleet/wowzamedia/200001")


@pytest.mark.parametrize("state", STATES)
def test_off_the_air_nothing_is_played_on_demand(tmp_path: Path, state: str) -> None:
    instance = render(channel(*A, service_type="on_demand", state=state), NODE)
    assert isinstance(instance, Instance)
    assert set(files(instance)) == {"Application.xml", "library.json"}
    assert not settings(tmp_path, instance).played


#: Those of them that hold a character which no address has.
NO_ADDRESS = [text for text in HOSTILE if not re.fullmatch(r"[A-Za-z0-9/._~!$&'()*+,;=:@%?-]*", text)]
RELAYED = [
    ("stream_relay", "stream_address", "rtmp://video.example.net/live/one", "liverepeater"),
    ("stream_relay", "stream_address", "rtsp://camera.example.net/one?channel=1", "rtp"),
    ("stream_relay", "stream_address", "https://video.example.net/one/list.m3u8?key=1", "applehls"),
    ("stream_relay", "stream_address", "HTTP://video.example.net:8080/list.m3u8", "applehls"),
    ("shoutcast_relay", "radio_address", "http://radio.example.net:8000/stream", "shoutcast"),
]


@pytest.mark.parametrize(("kind", "field", "address", "caster"), RELAYED)
def test_a_relay_names_what_is_fetched_and_takes_no_encoder(
    tmp_path: Path, kind: str, field: str, address: str, caster: str
) -> None:
    instance = render(channel(*A, service_type=kind, settings={field: address}), NODE)
    assert isinstance(instance, Instance)
    found = files(instance)
    assert set(found) == {"Application.xml", "live.stream", "relay.json", "rock-tv.json"}
    assert found["live.stream"].content == f"{address}\n"
    assert json.loads(found["relay.json"].content) == {"address": address, "caster": caster}
    assert json.loads(found["rock-tv.json"].content) == {"port": 1938, "hls": "/rock-tv/live.stream"}
    app = settings(tmp_path, instance)
    assert (app.app_type, app.stream_type, app.packetized, app.played) == ("Live", "live", True, True)
    assert (app.write_access, app.read_access, app.passwords()) == ("", "", {})
    # Wowza finds the file beside its Application.xml, and no other channel's.
    assert (app.storage, app.interleaved) == (tmp_path / "conf/rock-tv", True)
    assert fault_of(caster, address) == ""
    other = render(channel(*A, service_type=kind, settings={field: address.replace(".net", ".org")}), NODE)
    assert isinstance(other, Instance)
    assert instance.fingerprints != other.fingerprints
    prop = SPEC["fields"][field]
    assert re.search(prop["schema"]["pattern"], address)
    assert prop["service_types"] == [kind]


def camera(name: object, password: object, address: str = "rtsp://camera.example.net/one") -> dict[str, Any]:
    login = {"stream_address": address, "stream_username": name}
    return channel(*A, service_type="stream_relay", settings=login, credentials={"stream_password": password})


def test_a_camera_is_logged_in_to_and_nobody_sees_with_what() -> None:
    instance = render(camera("viewer", "cameras-secret"), NODE)
    assert isinstance(instance, Instance)
    found = files(instance)
    assert found["live.stream"].content == "rtsp://viewer:cameras-secret@camera.example.net/one\n"
    assert found["live.stream"].kind == "key"
    assert [name for name, file in found.items() if "secret" in file.content] == ["live.stream"]


@pytest.mark.parametrize(
    ("service", "field"),
    [
        (camera("viewer", None), "credentials.stream_password"),
        (camera(None, "cameras-secret"), "settings.stream_username"),
        (camera("viewer", "cameras-secret", "rtmp://video.example.net/live/one"), "settings.stream_username"),
        *[(camera(text, "cameras-secret"), "settings.stream_username") for text in HOSTILE],
        *[(camera("viewer", text), "credentials.stream_password") for text in HOSTILE],
        (camera("viewer", "cameras-secret@127.0.0.1"), "credentials.stream_password"),
    ],
)
def test_a_login_that_would_say_something_else_is_refused(service: dict[str, Any], field: str) -> None:
    with pytest.raises(RenderError) as raised:
        render(service, NODE)
    assert raised.value.field == field
    assert "cameras-secret" not in f"{raised.value} {raised.value.value}"


@pytest.mark.parametrize("state", STATES)
def test_a_relay_off_the_air_names_nothing_to_fetch(state: str) -> None:
    settings_ = {"stream_address": "rtmp://video.example.net/live/one"}
    instance = render(channel(*A, service_type="stream_relay", state=state, settings=settings_), NODE)
    assert set(files(instance)) == {"Application.xml"}


@pytest.mark.parametrize(
    ("kind", "address", "said"),
    [
        ("stream_relay", None, "is not an address"),
        ("stream_relay", "http://video.example.net/film.mp4", "is no list of HLS"),
        ("stream_relay", "http://video.example.net/film.mp4?x=.m3u8", "is no list of HLS"),
        ("stream_relay", "udp://video.example.net:10000", "has the scheme udp"),
        ("stream_relay", "file:///etc/passwd", "has the scheme file"),
        ("stream_relay", "rtmp://10.0.0.1/live/one", "not on the public Internet"),
        ("stream_relay", "rtmp://video.example.net:22/live/one", "names port 22"),
        ("stream_relay", "rtsp://admin:secret-secret@camera.example.net/", "holds a user name or password"),
        ("stream_relay", "http://169.254.169.254/x.m3u8", "not on the public Internet"),
        ("shoutcast_relay", "https://radio.example.net/one", "has the scheme https"),
        ("shoutcast_relay", "http://[::1]:8000/one", "not on the public Internet"),
        *[("stream_relay", f"http://video.example.net/{text}.m3u8", "holds a character") for text in NO_ADDRESS],
        *[("shoutcast_relay", f"http://radio.example.net/{text}", "holds a character") for text in NO_ADDRESS],
    ],
)
def test_no_address_that_nobody_fetches_for_a_tenant(kind: str, address: str | None, said: str) -> None:
    field = "stream_address" if kind == "stream_relay" else "radio_address"
    with pytest.raises(RenderError) as raised:
        render(channel(*A, service_type=kind, settings={field: address}), NODE)
    assert raised.value.field == f"settings.{field}"
    assert said in raised.value.message
    assert "admin:secret" not in str(raised.value)


@pytest.mark.parametrize(
    "text", [*HOSTILE, "..", ".hidden", "a/../b", "a//b", "/a", "a/", "a/.b", "a/b\n", "a b", 7, None]
)
def test_no_hostile_folder_gets_into_a_file(text: object) -> None:
    with pytest.raises(RenderError) as raised:
        render(channel(*A, service_type="on_demand", settings={"media_folder": text}), NODE)
    assert raised.value.field == "settings.media_folder"


def test_a_type_of_service_that_the_role_does_not_have_is_refused() -> None:
    with pytest.raises(RenderError) as raised:
        render(channel(*A, service_type="radio"), NODE)
    assert raised.value.field == "service_type"


#: Types that are recorded: the settings that they need, the stream, and what is said of one without pictures.
RECORDED: list[tuple[str, dict[str, str], str, dict[str, bool]]] = [
    ("live", {}, "live", {}),
    ("low_latency", {}, "live", {}),
    ("tv_station", {}, "live", {}),
    ("stream_relay", {"stream_address": "rtmp://video.example.net/live/one"}, "live.stream", {}),
    ("shoutcast_relay", {"radio_address": "http://radio.example.net:8000/one"}, "live.stream", {"pictures": False}),
]


@pytest.mark.parametrize(("kind", "own", "stream", "more"), RECORDED)
def test_a_channel_that_is_recorded_says_so_in_a_file_of_its_own(
    kind: str, own: dict[str, str], stream: str, more: dict[str, bool]
) -> None:
    def made(settings_: dict[str, Any], **changes: Any) -> Instance:
        made_of = {"service_type": kind, "playlists": [], "schedules": [], **changes}
        return instances_of(render(channel(*A, settings={**own, **settings_}, **made_of), NODE))[0]

    kept, limits = {"record_minutes": 30}, {"disk_quota_mb": 500}
    instance, plain = made(kept, limits=limits), made({})
    record = files(instance)["record.json"]
    said = {"uid": 200001, "quota_mb": 500, "minutes": 30, "running": True, "stream": stream, **more}
    assert json.loads(record.content) == said
    assert (record.path, record.group) == ("/etc/streamfleet/instances/wowza/rock-tv/record.json", "streamfleet-wowza")
    assert (instance.directories, plain.directories) == (["/var/lib/streamfleet/media/200001"], [])
    limited = made(kept, limits=limits, library_mb=700)
    assert json.loads(files(limited)["record.json"].content)["library_mb"] == 700
    with pytest.raises(RenderError):
        made(kept, limits=limits, library_mb="700")
    # Nobody is interrupted for it.
    assert instance.fingerprints == plain.fingerprints
    off = made(kept, limits=limits, state="suspended")
    assert json.loads(files(off)["record.json"].content)["running"] is False


def test_what_plays_by_itself_is_kept_and_scaled_as_viewers_see_it(tmp_path: Path) -> None:
    instance, programme = tv(settings={"dvr_hours": 2}, limits={"disk_quota_mb": 500})
    app = settings(tmp_path / "kept", instance)
    assert (app.dvr, app.window) == (Path("/var/lib/streamfleet-wowza/dvr/200001/rock-tv"), 7200)
    assert json.loads(files(instance)["dvr.json"].content) == {"uid": 200001, "quota_mb": 500}
    route = {"port": 1938, "hls": "/rock-tv/air", "archive": True}
    assert json.loads(files(instance)["rock-tv.json"].content) == route
    # What plays it goes on, whatever becomes of what is kept.
    plain, same = tv()
    assert programme.fingerprints == same.fingerprints
    assert instance.fingerprints != plain.fingerprints
    wanted = [{"height": 240, "video_kbps": 400}]
    small, _programme = tv(settings={"renditions": wanted})
    assert json.loads(files(small)["rock-tv.json"].content)["hls"] == "/rock-tv/ngrp:air_all"
    app = settings(tmp_path / "small", small)
    place = tmp_path / "small/conf/rock-tv/air.xml"
    place.write_text(files(small)["air.xml"].content)
    assert Template(place).groups == {"all": ["source", "240p"]}
    # A broadcaster's stream becomes a part of that one: it is not encoded a second time.
    assert (app.template("air"), app.template("live"), app.template("airs")) == (place, None, None)
    off, _programme = tv(settings={"renditions": wanted}, state="stopped")
    assert set(files(off)) == {"Application.xml"}
    with pytest.raises(RenderError, match="cannot be had together with dvr_hours"):
        tv(settings={"renditions": wanted, "dvr_hours": 2}, limits={"disk_quota_mb": 500})
    with pytest.raises(RenderError, match="set disk_quota_mb, too"):
        tv(settings={"dvr_hours": 2}, limits={"disk_quota_mb": None})


@pytest.mark.parametrize("kind", ["stream_relay", "shoutcast_relay", "low_latency", "on_demand"])
def test_what_a_type_does_not_have_is_not_in_its_files(tmp_path: Path, kind: str) -> None:
    own = next((dict(item[1]) for item in RECORDED if item[0] == kind), {})
    more = {"dvr_hours": 2, "renditions": [{"height": 240, "video_kbps": 400}]}
    kept = render(channel(*A, service_type=kind, settings={**own, **more}, limits={"disk_quota_mb": 500}), NODE)
    assert isinstance(kept, Instance)
    assert kept.files == instances_of(render(channel(*A, service_type=kind, settings=own), NODE))[0].files


def test_what_was_sent_is_kept_for_as_long_as_is_said(tmp_path: Path) -> None:
    wanted = {"settings": {"dvr_hours": 2}, "limits": {"disk_quota_mb": 500}}
    instance, plain = render(channel(*A, **wanted), NODE), render(channel(*A), NODE)
    assert isinstance(instance, Instance)
    assert isinstance(plain, Instance)
    app = settings(tmp_path / "on", instance)
    assert (app.dvr, app.window) == (Path("/var/lib/streamfleet-wowza/dvr/200001/rock-tv"), 7200)
    assert json.loads(files(instance)["dvr.json"].content) == {"uid": 200001, "quota_mb": 500}
    # With nothing to keep it in there is none: it would begin anew for ever.
    none = render(channel(*A, settings={"dvr_hours": 2}, limits={"disk_quota_mb": 0}), NODE)
    assert isinstance(none, Instance)
    assert "dvr.json" not in files(none)
    assert settings(tmp_path / "none", none).dvr is None
    assert none.fingerprints == plain.fingerprints
    route = {"port": 1938, "hls": "/rock-tv/live", "archive": True}
    assert json.loads(files(instance)["rock-tv.json"].content) == route
    assert settings(tmp_path / "plain", plain).dvr is None
    assert instance.fingerprints != plain.fingerprints
    # Off the air nothing is kept any more, and what there is stays.
    off = render(channel(*A, **wanted, state="stopped"), NODE)
    assert isinstance(off, Instance)
    assert settings(tmp_path / "off", off).dvr is None
    assert "dvr.json" in files(off)
    low = render(channel(*A, **wanted, service_type="low_latency"), NODE)
    assert settings(tmp_path / "low", low).dvr is None


@pytest.mark.parametrize("kind", ["live", "low_latency", "on_demand"])
def test_a_channel_without_any_of_it_has_the_file_that_it_always_had(kind: str) -> None:
    """Another one would be another fingerprint: every channel would be interrupted by an upgrade of this repository."""
    sections = [item.tag for item in xml(render(channel(*A, service_type=kind), NODE)).find("Application")]
    assert sections == [
        *("Name", "AppType", "Description", "Connections", "Streams", "HTTPStreamers", "Client", "RTP", "WebRTC"),
        *("LiveStreamPacketizer", "Modules", "Properties"),
    ]


def test_renditions_are_a_template_of_the_channels_own(tmp_path: Path) -> None:
    wanted = [{"height": 480, "video_kbps": 1200}, {"height": 240, "video_kbps": 400}]
    instance = render(channel(*A, settings={"renditions": wanted}), NODE)
    assert isinstance(instance, Instance)
    found = files(instance)
    assert json.loads(found["rock-tv.json"].content)["hls"] == "/rock-tv/ngrp:live_all"
    app = settings(tmp_path, instance)
    place = tmp_path / "conf/rock-tv/live.xml"
    assert app.template("live") is None
    place.write_text(found["live.xml"].content)
    # Another stream that whoever has the password publishes is not encoded.
    assert (app.template("live"), app.template("live2")) == (place, None)
    template = Template(place)
    assert template.encodes == {"source": None, "480p": (480, 1200000), "240p": (240, 400000)}
    assert template.groups == {"all": ["source", "480p", "240p"]}
    widths = [int(item.text or 0) for item in ET.fromstring(found["live.xml"].content).iter("Width")]
    assert widths == [854, 426]
    other = render(channel(*A, settings={"renditions": wanted[:1]}), NODE)
    assert isinstance(other, Instance)
    assert instance.fingerprints != other.fingerprints
    plain = render(channel(*A), NODE)
    assert isinstance(plain, Instance)
    assert settings(tmp_path / "plain", plain).template("live") is None
    off = render(channel(*A, settings={"renditions": wanted}, state="stopped"), NODE)
    assert set(files(off)) == {"Application.xml"}


@pytest.mark.parametrize(
    ("renditions", "field"),
    [
        ("480p", ""),
        ([{"height": 480, "video_kbps": 1200}] * 5, ""),
        ([{"height": 480}], "[0]"),
        ([{"height": 480, "video_kbps": 1200, "codec": "x"}], "[0]"),
        (["480p"], "[0]"),
        ([{"height": 480, "video_kbps": 1200}] * 2, "[1].height"),
        *[
            ([{"height": value, "video_kbps": 1200}], "[0].height")
            for value in (143, 2161, True, "480", 480.0, *HOSTILE)
        ],
        *[([{"height": 480, "video_kbps": value}], "[0].video_kbps") for value in (99, 20001, True, None, *HOSTILE)],
    ],
)
def test_renditions_that_cannot_be_are_refused(renditions: object, field: str) -> None:
    with pytest.raises(RenderError) as raised:
        render(channel(*A, settings={"renditions": renditions}), NODE)
    assert raised.value.field == f"settings.renditions{field}"


def test_renditions_and_what_was_sent_are_not_had_together() -> None:
    both = {"renditions": [{"height": 480, "video_kbps": 1200}], "dvr_hours": 2}
    with pytest.raises(RenderError, match="cannot be had together with dvr_hours"):
        render(channel(*A, settings=both, limits={"disk_quota_mb": 5}), NODE)


@pytest.mark.parametrize(("hours", "quota"), [(0, 5), (8761, 5), ("2", 5), (True, 5), (2, None)])
def test_what_is_kept_has_a_window_and_a_limit(hours: object, quota: object) -> None:
    with pytest.raises(RenderError) as raised:
        render(channel(*A, settings={"dvr_hours": hours}, limits={"disk_quota_mb": quota}), NODE)
    assert raised.value.field == "settings.dvr_hours"


@pytest.mark.parametrize(("minutes", "quota"), [(0, 5), (1441, 5), ("30", 5), (True, 5), (30, None), (30, -1)])
def test_recordings_have_a_length_and_a_limit(minutes: object, quota: object) -> None:
    with pytest.raises(RenderError) as raised:
        render(channel(*A, settings={"record_minutes": minutes}, limits={"disk_quota_mb": quota}), NODE)
    assert raised.value.field == "settings.record_minutes"


@pytest.mark.parametrize("state", STATES)
def test_off_the_air_nothing_is_allowed(tmp_path: Path, state: str) -> None:
    instance = render(channel(*A, state=state, reason="unpaid"), NODE)
    assert instance is not None
    assert list(files(instance)) == ["Application.xml"]
    app = settings(tmp_path, instance)
    assert (app.accept, app.packetized, app.played, app.read_access, app.write_access) == (False, False, False, "", "")
    assert app.password_needed
    assert (instance.state, instance.reason) == (state, "unpaid")


def test_the_change_matrix_is_what_the_fingerprints_say() -> None:
    def fingerprints(**changes: Any) -> dict[str, str]:
        instance = render(channel(*A, **changes), NODE)
        assert instance is not None
        return instance.fingerprints

    base = fingerprints()
    assert set(base) == {"reload"}
    assert fingerprints(name="Other ]]>") == base
    assert fingerprints(credentials={"publish_password": "another-secret"}) == base
    for changes in ({"settings": {"segment_seconds": 5}}, {"limits": {"max_listeners": 5}}):
        assert fingerprints(**changes) != base
    kept = {"settings": {"record_minutes": 5}, "limits": {"disk_quota_mb": 5}}
    assert fingerprints(**kept) == base
    unnoticed = dict.fromkeys(("name", "publish_password", "timezone", "record_minutes"), "none")
    assert SPEC["change_matrix"] == {**unnoticed, "*": "reload"}


@pytest.mark.parametrize("text", HOSTILE)
def test_no_hostile_password_gets_into_a_file(text: str) -> None:
    with pytest.raises(RenderError) as raised:
        render(channel(*A, credentials={"publish_password": text}), NODE)
    assert raised.value.field == "credentials.publish_password"
    assert raised.value.value == "********"
    assert not text or text not in str(raised.value)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_hostile_slug_gets_into_a_file(text: str) -> None:
    with pytest.raises(RenderError) as raised:
        render(channel(text, 200001), NODE)
    assert raised.value.field == "slug"


@given(st.text())
def test_names_and_reasons_change_nothing(text: str) -> None:
    instance, plain = render(channel(*A, name=text, reason=text), NODE), render(channel(*A), NODE)
    assert instance is not None
    assert plain is not None
    assert instance.files == plain.files


@pytest.mark.parametrize("value", [0, 21, -1, True, None, "4", 2.5, "4</Value>"])
def test_what_is_no_number_of_seconds_is_refused(value: object) -> None:
    with pytest.raises(RenderError) as raised:
        render(channel(*A, settings={"segment_seconds": value}), NODE)
    assert raised.value.field == "settings.segment_seconds"


@pytest.mark.parametrize("value", [0, -1, True, "5", 2**31])
def test_limits_that_wowza_cannot_hold_are_refused(value: object) -> None:
    with pytest.raises(RenderError) as raised:
        render(channel(*A, limits={"max_listeners": value}), NODE)
    assert raised.value.field == "max_listeners"


def test_without_a_limit_there_is_no_property() -> None:
    instance = render(channel(*A), NODE)
    assert instance is not None
    assert "securityPlayMaximumConnections" not in instance.files[0].content


def test_a_missing_password_is_named(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="is missing") as raised:
        render(channel(*A, credentials={"publish_password": None}), NODE)
    assert raised.value.value is None


def test_role_and_renderer_name_the_same_port_and_places() -> None:
    role = yaml.safe_load((ROOT / "roles/wowza/vars/main.yml").read_text())
    instance = render(channel(*A), NODE)
    assert instance is not None
    assert json.loads(files(instance)["rock-tv.json"].content)["port"] == role["_streamfleet_wowza_hls_port"]
    assert instance.files[0].path.startswith(role["_streamfleet_wowza_instances"])
    assert instance.files[0].group == role["_streamfleet_wowza_user"]
    film = render(channel(*A, service_type="on_demand"), NODE)
    assert isinstance(film, Instance)
    assert f">{role['_streamfleet_wowza_media']}/200001<" in files(film)["Application.xml"].content
    assert files(film)["library.json"].path.startswith(f"{role['_streamfleet_wowza_grants']}/")
    assert film.directories == [f"{role['_streamfleet_wowza_libraries']}/200001"]
    instance, programme = tv()
    told = json.loads(files(programme)["settings.json"].content)
    ports = [role[f"_streamfleet_wowza_{name}_port"] for name in ("tv", "hls")]
    assert ([told["port"], told["hls_port"]], programme.ports) == (ports, ports)
    assert SPEC["host_ports"]["RTMP of channels that play by themselves"] == {
        "port": role["_streamfleet_wowza_tv_port"]
    }
    assert files(programme)["settings.json"].path.startswith(f"{role['_streamfleet_wowza_tv_instances']}/")
    assert tuple(SPEC["by_type"]["tv_station"]["files"]) == videos.SUFFIXES
    unit = role["_streamfleet_wowza_media"].strip("/").replace("/", "-") + ".mount"
    assert role["_streamfleet_wowza_mount"] == unit
    pattern = SPEC["credentials"]["publish_password"]["schema"]["pattern"]
    assert re.fullmatch(pattern, channel(*A)["credentials"]["publish_password"])
