"""An AutoDJ's files, and what its station offers it: data only, the same feeds on both sides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from streamfleet.engine import Instance, RenderError, instances_of, load_renderer
from streamfleet.feeds import feeds_of

from tests.doubles.panel import autodj, dj, playlist, schedule, station

ROOT = Path(__file__).resolve().parents[2]
render = load_renderer(ROOT, "autodj")
render_station = load_renderer(ROOT, "icecast")
NODE = {"node": "n1", "stream_host": "stream.example.net"}
A = ("rock-fm", 200001, 8100)


def service(*mounts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    settings = {**autodj(), **({"mounts": list(mounts)} if mounts else {}), **changes.pop("settings", {})}
    return station(*A, settings=settings, **changes)


def rendered(wanted: dict[str, Any]) -> Instance:
    (instance,) = instances_of(render(wanted, NODE))
    return instance


def settings_of(wanted: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(rendered(wanted).files[0].content)
    return data


def station_of(wanted: dict[str, Any]) -> ET.Element:
    (instance,) = instances_of(render_station(wanted, NODE))
    return ET.fromstring(instance.files[0].content)


def mount_of(root: ET.Element, name: str) -> ET.Element:
    return next(entry for entry in root.findall("mount") if entry.findtext("mount-name") == name)


def test_a_station_without_an_autodj_has_no_such_instance() -> None:
    assert render(station(*A), NODE) == []
    assert feeds_of(station(*A)) == []
    without = station(*A)
    del without["settings"]["autodj"]  # a document of an older panel
    assert render(without, NODE) == []


def test_the_instance() -> None:
    instance = rendered(service())
    assert instance.key == "rock-fm+autodj"
    assert instance.unit == "streamfleet-autodj@rock-fm.service"
    assert instance.directories == [f"/var/lib/streamfleet/{name}/200001" for name in ("media", "media-index")]
    assert (instance.ports, instance.listen) == ([8100], [])
    assert [file.path.rpartition("/")[2] for file in instance.files] == [
        "settings.json",
        "playlists.json",
        "queue.json",
    ]
    for file in instance.files:
        assert (file.owner, file.group, file.mode, file.validate) == ("root", "sf200001", "0640", "json")
    assert settings_of(service()) == {
        "port": 8100,
        "password": "autodj-rock-fm-secret",
        "feeds": [{"mount": "/autodj-mp3-128", "format": "mp3", "bitrate_kbps": 128}],
        "live": None,
        "library": "/var/lib/streamfleet/media/200001",
        "index": "/var/lib/streamfleet/media-index/200001",
        "timezone": "UTC",
        "crossfade_seconds": 3,
        "smart_crossfade": True,
        "minimum_track_seconds": 10,
        "seed": settings_of(service())["seed"],
    }


def test_the_seed_is_the_given_one_or_the_stations_own() -> None:
    assert settings_of(service(settings=autodj(seed=7)))["seed"] == 7
    assert settings_of(service(settings=autodj(seed=0)))["seed"] == 0
    other = {**service(), "slug": "jazz-fm"}
    assert settings_of(service())["seed"] == settings_of(service())["seed"] != settings_of(other)["seed"]


@pytest.mark.parametrize(
    ("mounts", "limit", "feeds"),
    [
        ([{"name": "/a"}], None, {"/autodj-mp3-128": ("/a",)}),
        ([{"name": "/a"}], 64, {"/autodj-mp3-64": ("/a",)}),
        (
            [
                {"name": "/a", "format": "mp3", "bitrate_kbps": 128},
                {"name": "/b", "format": "mp3", "bitrate_kbps": 128},
                {"name": "/c", "format": "opus", "bitrate_kbps": 96},
            ],
            None,
            {"/autodj-mp3-128": ("/a", "/b"), "/autodj-opus-96": ("/c",)},
        ),
        ([{"name": "/a", "fallback": "/b"}, {"name": "/b"}], None, {"/autodj-mp3-128": ("/b",)}),
        ([{"name": "/a", "bitrate_kbps": 100}], None, {"/autodj-mp3-96": ("/a",)}),
        ([{"name": "/a", "bitrate_kbps": 8}], None, {"/autodj-mp3-32": ("/a",)}),
        ([{"name": "/a", "bitrate_kbps": 2000}], None, {"/autodj-mp3-320": ("/a",)}),
        ([{"name": "/a", "format": "opus", "bitrate_kbps": 8}], None, {"/autodj-opus-16": ("/a",)}),
        ([{"name": "/a", "format": "aac", "bitrate_kbps": 2000}], None, {"/autodj-aac-320": ("/a",)}),
        ([{"name": "/a", "format": "ogg", "bitrate_kbps": 160}], None, {"/autodj-ogg-160": ("/a",)}),
        ([{"name": "/a", "format": "flac", "bitrate_kbps": 900}], None, {"/autodj-flac": ("/a",)}),
    ],
)
def test_one_feed_for_each_encoding(mounts: list[dict[str, Any]], limit: int | None, feeds: dict[str, Any]) -> None:
    wanted = service(*mounts, limits={"max_bitrate_kbps": limit})
    assert {feed.mount: feed.serves for feed in feeds_of(wanted)} == feeds
    assert [feed["mount"] for feed in settings_of(wanted)["feeds"]] == list(feeds)
    root = station_of(wanted)
    for name, serves in feeds.items():
        hidden = mount_of(root, name)
        assert hidden.findtext("hidden") == "1"
        assert hidden.findtext("password") == "autodj-rock-fm-secret"
        assert hidden.find("fallback-mount") is None
        for public in serves:
            assert mount_of(root, f"/_relay-{public[1:]}").findtext("fallback-mount") == name
            assert mount_of(root, public).findtext("fallback-override") == "1"
            assert mount_of(root, public).findtext("password") == "source-rock-fm-secret"
    assert root.findtext("limits/sources") == str(2 * len(mounts) + len(feeds))


def test_a_fallback_of_ones_own_stays() -> None:
    root = station_of(service({"name": "/a", "fallback": "/b"}, {"name": "/b"}))
    assert mount_of(root, "/_relay-a").findtext("fallback-mount") == "/b"
    assert mount_of(root, "/_relay-b").findtext("fallback-mount") == "/autodj-mp3-128"


def test_hidden_mounts_are_never_proxied_and_as_closed_as_the_others() -> None:
    wanted = service(credentials={"listener_password": "let-me-in"})
    (instance,) = instances_of(render_station(wanted, NODE))
    route = next(file for file in instance.files if file.kind == "route")
    assert json.loads(route.content) == {
        "port": 8100,
        "mounts": ["/stream"],
        "default": "/stream",
        "max_bitrate_kbps": 128,
    }
    root = station_of(wanted)
    public, hidden = mount_of(root, "/stream"), mount_of(root, "/autodj-mp3-128")
    access = [ET.tostring(entry.find("authentication") or ET.Element("none")).strip() for entry in (public, hidden)]
    assert access[0] == access[1]
    assert b"listeners.htpasswd" in access[0]


@pytest.mark.parametrize(
    ("mounts", "limit"),
    [
        ([{"name": "/a"}], "100"),
        ([{"name": "/a", "max_listeners": 10}, {"name": "/b", "max_listeners": 20}], "30"),
        ([{"name": "/a", "max_listeners": 10}, {"name": "/b"}], "100"),
        ([{"name": "/a", "max_listeners": 90}, {"name": "/b", "max_listeners": 90}], "100"),
        ([{"name": "/a", "max_listeners": 0}], "0"),
    ],
)
def test_limits_of_listeners_hold_on_the_autodj_too(mounts: list[dict[str, Any]], limit: str) -> None:
    root = station_of(service(*mounts, limits={"max_listeners": 100}))
    assert mount_of(root, "/autodj-mp3-128").findtext("max-listeners") == limit


def test_a_mount_with_the_name_of_a_feed_is_refused() -> None:
    wanted = service({"name": "/stream"}, {"name": "/autodj-mp3-128"})
    for renderer in (render, render_station):
        with pytest.raises(RenderError, match=r"settings\.mounts\[1\]\.name: is the AutoDJ's own"):
            renderer(wanted, NODE)
    render_station(station(*A, settings={"mounts": [{"name": "/autodj-mp3-128"}]}), NODE)


def test_one_that_is_switched_off_is_stopped_and_offers_nothing() -> None:
    off = service(settings=autodj(enabled=False))
    assert rendered(off).state == "stopped"
    assert rendered(off).reason == ""
    assert [entry.findtext("mount-name") for entry in station_of(off).findall("mount")] == ["/stream", "/_relay-stream"]
    assert rendered(service(state="suspended", reason="unpaid", settings=autodj(enabled=False))).state == "suspended"


@pytest.mark.parametrize(
    ("change", "restarts"),
    [
        ({"playlists": [playlist("p", folder=".")]}, False),
        ({"settings": autodj(crossfade_seconds=1, smart_crossfade=False, minimum_track_seconds=0, seed=1)}, False),
        ({"settings": autodj(timezone="Europe/Prague")}, False),
        ({"name": "Another"}, False),
        ({"credentials": {"source_password": "another-one"}}, False),
        ({"credentials": {"autodj_password": "another-one"}}, True),
        ({"port": 8101}, True),
        ({"settings": {"mounts": [{"name": "/stream", "format": "opus"}]}}, False),
        ({"settings": {"mounts": [{"name": "/other", "format": "mp3", "bitrate_kbps": 128}]}}, False),
        ({"limits": {"max_bitrate_kbps": 64}}, False),
    ],
)
def test_fingerprints_follow_the_change_matrix(change: dict[str, Any], restarts: bool) -> None:
    before, after = rendered(service()).fingerprints, rendered(service(**change)).fingerprints
    assert (before["restart"] != after["restart"]) == restarts
    assert before["reload"] == after["reload"]


TWO_ENCODINGS = {"mounts": [{"name": "/a", "format": "mp3"}, {"name": "/b", "format": "aac"}]}


def test_the_eco_class_sends_one_encoding_and_refuses_no_more_than_to_play() -> None:
    """What keeps a station off the air must never fail, or a setting would keep it on."""
    wrong = service(settings={**TWO_ENCODINGS, **autodj(**{"class": "eco"})})
    with pytest.raises(RenderError, match="sends one encoding"):
        rendered(wrong)
    for state in ("stopped", "suspended", "over_quota", "disabled", "deleted"):
        assert rendered({**wrong, "state": state}).state == state
    rendered(service(settings={**TWO_ENCODINGS, **autodj(**{"class": "eco", "enabled": False})}))


def test_playlists_are_data() -> None:
    name = 'x"]}$(reboot) #{1}'
    items = [
        playlist("b", folder=f"music/{name}", weight=5),
        playlist("a", type="scheduled", files=["x.mp3", "y/z.mp3"], active=[{"start": "22:00", "end": "02:00"}]),
    ]
    content = rendered(service(playlists=items)).files[1].content
    assert json.loads(content) == items
    assert name not in rendered(service(playlists=items)).files[0].content


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../b", "a//b", "a/./b", "", "a/", "a\nb", "x" * 501, 7, ".."]
)
@pytest.mark.parametrize("field", ["folder", "files"])
def test_paths_outside_the_library_are_refused(path: Any, field: str) -> None:
    item = playlist("p", **{field: [path] if field == "files" else path})
    with pytest.raises(RenderError, match="is not a path inside the media library") as caught:
        render(service(playlists=[item]), NODE)
    assert caught.value.field == ("playlists[0].files[0]" if field == "files" else "playlists[0].folder")


def test_the_library_itself_is_a_folder_and_no_file() -> None:
    render(service(playlists=[playlist("p", folder=".")]), NODE)
    with pytest.raises(RenderError):
        render(service(playlists=[playlist("p", files=["."])]), NODE)


@pytest.mark.parametrize(
    "window", [{"start": "24:00", "end": "01:00"}, {"start": "1:00", "end": "02:00"}, {"start": "01:00"}]
)
def test_times_that_are_none_are_refused(window: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match=r"playlists\[0\]\.active\[0\]\.(start|end): is not a time"):
        render(service(playlists=[playlist("p", folder=".", active=[window])]), NODE)


def test_the_calendar_adds_to_the_times_of_playlists_and_djs() -> None:
    own = {"days": ["mon"], "start": "10:00", "end": "11:00"}
    noon = {"days": None, "start": "12:00", "end": "13:00"}
    wanted = service(
        settings=LIVE,
        playlists=[
            playlist("always", folder="."),
            playlist("none", type="scheduled", folder="."),
            playlist("only", type="scheduled", folder="."),
            playlist("some", folder=".", active=[own]),
        ],
        djs=[dj("anna", scheduled_only=True), dj("bert", scheduled_only=True), dj("carl")],
        schedules=[
            schedule("a", playlist="only"),
            schedule("b", playlist="some", start_date="2026-12-24", end_date="2026-12-24"),
            schedule("c", dj="anna", days=["fri"], start="22:00", end="02:00"),
            # A name that a playlist and a DJ share is each one's own.
            schedule("d", dj="some"),
            schedule("e", playlist="none", enabled=False),
            schedule("f", playlist="always"),
        ],
    )
    player, live = instances_of(render(wanted, NODE))
    assert {item["name"]: item["active"] for item in json.loads(player.files[1].content)} == {
        "always": None,
        "none": [],
        "only": [noon],
        "some": [own, {**noon, "start_date": "2026-12-24", "end_date": "2026-12-24"}],
    }
    djs = next(file for file in live.files if file.path.endswith("/djs.json"))
    assert {item["username"]: item["active"] for item in json.loads(djs.content)["djs"]} == {
        "anna": [{"days": ["fri"], "start": "22:00", "end": "02:00"}],
        "bert": [],
        "carl": None,
    }
    without = [item.fingerprints for item in instances_of(render({**wanted, "schedules": []}, NODE))]
    assert [item.fingerprints for item in (player, live)] == without


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"start": "24:00"}, "start"),
        ({"end": None}, "end"),
        ({"days": ["sol"]}, "days"),
        ({"start_date": "24.12.2026"}, "start_date"),
        ({"end_date": "2026-12-24T00:00"}, "end_date"),
    ],
)
def test_entries_of_the_calendar_that_cannot_be_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(RenderError, match=rf"schedules\[0\]\.{field}: "):
        render(service(schedules=[schedule("a", playlist="p", **fields)]), NODE)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe"])
def test_time_zones_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(RenderError, match=r"settings\.autodj\.timezone: is not a time zone"):
        render(service(settings=autodj(timezone=name)), NODE)


def test_diffs_blank_the_password() -> None:
    secret = 'pass"w\\ord'
    file = rendered(service(credentials={"autodj_password": secret})).files[0]
    blanked = re.sub(file.mask or "$^", "********", file.content)
    assert json.loads(file.content)["password"] == secret
    assert json.loads(blanked)["password"] == "********"
    assert "ord" not in blanked.partition("feeds")[0].partition("password")[2][2:]


LIVE = {"live_port": 8150}


def both(wanted: dict[str, Any]) -> tuple[Instance, Instance]:
    autodj_, live = instances_of(render(wanted, NODE))
    return autodj_, live


def with_djs(*djs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return service(djs=list(djs), settings={**autodj(timezone="Europe/Prague"), **LIVE}, **changes)


def test_djs_have_a_way_in_of_its_own_beside_the_autodj() -> None:
    first, second = both(with_djs(dj("anna")))
    assert second.key == "rock-fm+live"
    assert second.unit == "streamfleet-live@rock-fm.service"
    assert (first.ports, first.listen) == ([8100], [])
    assert (second.ports, second.listen) == ([28150], [8150])
    settings, djs = second.files
    assert (settings.path, settings.kind) == ("/etc/streamfleet/instances/live/rock-fm/settings.json", "config")
    assert (djs.path, djs.kind) == ("/etc/streamfleet/instances/live/rock-fm/djs.json", "key")
    for file in second.files:
        assert (file.owner, file.group, file.mode, file.validate) == ("root", "sf200001", "0640", "json")
    told, own = json.loads(first.files[0].content)["live"], json.loads(settings.content)
    assert own == {"port": 8150, "slots": {"port": 28150, "password": told["password"]}}
    assert told == {**own["slots"], "folder": "/var/lib/streamfleet/services/rock-fm/live"}
    assert json.loads(djs.content) == {"timezone": "Europe/Prague", "djs": [dj("anna")]}
    other = both({**with_djs(), "slug": "jazz-fm"})[1]
    assert json.loads(other.files[0].content)["slots"]["password"] != told["password"]
    assert "secret-of-anna" not in json.dumps([file.content for file in (*first.files, settings)])


def test_diffs_blank_the_slots_password() -> None:
    for instance in both(with_djs()):
        file = instance.files[0]
        assert not re.search(r'"password": "[^*]', re.sub(file.mask or "$^", "********", file.content))


@pytest.mark.parametrize(
    ("port", "slots"), [(8000, 28000), (1024, 21024), (45535, 65535), (45536, 1024), (65535, 21023)]
)
def test_slots_lie_above_the_djs_own_port(port: int, slots: int) -> None:
    live = both(service(settings={**autodj(), "live_port": port}))[1]
    assert (live.listen, live.ports) == ([port], [slots])


@pytest.mark.parametrize("port", [0, 1023, 65536, 8100, "8150", True, 8150.0])
def test_ports_that_are_none_are_refused(port: Any) -> None:
    with pytest.raises(RenderError, match=r"settings\.live_port: is not another port than the station's"):
        render(service(settings={**autodj(), "live_port": port}), NODE)


def test_djs_are_data_that_restart_nothing() -> None:
    before = [item.fingerprints for item in both(with_djs(dj("anna")))]
    changed = with_djs(dj("anna", password="another-one", priority=99, kick=3), dj("bob", record=True))
    assert [item.fingerprints for item in both(changed)] == before
    moved = service(settings={**autodj(), "live_port": 8151})
    assert [item.fingerprints["restart"] for item in both(moved)] != [item["restart"] for item in before]
    off = service(settings={**autodj(enabled=False), **LIVE})
    assert [item.state for item in both(off)] == ["stopped", "stopped"]


@pytest.mark.parametrize(
    ("djs", "message"),
    [
        ([dj("Anna")], r"djs\[0\]\.username: is not 1 to 32 letters"),
        ([dj("../anna")], r"djs\[0\]\.username"),
        ([dj("a" * 33)], r"djs\[0\]\.username"),
        ([dj("anna"), dj("anna")], r"djs\[1\]\.username: is another DJ's already"),
        ([dj("anna", password="short")], r"djs\[0\]\.password: is not 8 to 64"),
        ([dj("anna", password="with a space")], r"djs\[0\]\.password"),
        ([dj("anna", priority=0)], r"djs\[0\]\.priority: is not a number from 1 to 100"),
        ([dj("anna", priority=True)], r"djs\[0\]\.priority"),
        ([dj("anna", grace_seconds=301)], r"djs\[0\]\.grace_seconds: is not a number from 0 to 300"),
        ([dj("anna", active=[{"start": "24:00", "end": "01:00"}])], r"djs\[0\]\.active\[0\]\.start: is not a time"),
        ([dj("anna", active=[{"days": ["sol"], "start": "22:00", "end": "01:00"}])], r"djs\[0\]\.active\[0\]\.days"),
        ([dj(f"dj{number}") for number in range(101)], r"djs: are more than 100"),
    ],
)
def test_djs_that_cannot_be_are_refused(djs: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RenderError, match=message) as caught:
        render(with_djs(*djs), NODE)
    assert "short" not in f"{caught.value.value}"


def test_the_eco_class_is_one_small_program_without_djs() -> None:
    wanted = service({"name": "/stream", "format": "mp3", "bitrate_kbps": 128}, djs=[dj("anna")])
    full, *_live = instances_of(render({**wanted, "settings": {**wanted["settings"], "live_port": 28100}}, NODE))
    wanted["settings"]["autodj"]["class"] = "eco"
    wanted["settings"]["live_port"] = 28100
    eco = rendered(wanted)
    (word,) = [file for file in eco.files if file.path.endswith("/class")]
    assert word.content == "eco\n"
    assert json.loads(eco.files[0].content)["live"] is None
    assert not [file for file in full.files if file.path.endswith("/class")]
    assert eco.fingerprints["restart"] != full.fingerprints["restart"]


@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        ([("mp3", 128), ("mp3", 64)], "mp3 128, mp3 64"),
        ([("mp3", 128), ("aac", 128)], "mp3 128, aac 128"),
        ([("flac", None)], "flac"),
    ],
)
def test_the_eco_class_sends_one_encoding(mounts: list[tuple[str, int | None]], said: str) -> None:
    items = [
        {"name": f"/m{number}", "format": kind, **({} if kbps is None else {"bitrate_kbps": kbps})}
        for number, (kind, kbps) in enumerate(mounts)
    ]
    wanted = service(*items)
    wanted["settings"]["autodj"]["class"] = "eco"
    with pytest.raises(RenderError) as caught:
        render(wanted, NODE)
    assert caught.value.field == "settings.autodj.class"
    assert said in caught.value.message


QUEUED = {"id": "0a" * 16, "path": "a/b.mp3"}


def queue_of(wanted: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(rendered(wanted).files[2].content)
    return data


def test_a_queue_is_data_that_restarts_nothing() -> None:
    before, after = rendered(service()), rendered(service(queue=[QUEUED], skip=3))
    assert before.fingerprints == after.fingerprints
    assert queue_of(service(queue=[{**QUEUED, "more": 1}], skip=3)) == {"skip": 3, "items": [QUEUED]}
    old = service()
    del old["queue"], old["skip"]  # a document of an older panel
    assert queue_of(old) == {"skip": 0, "items": []}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"queue": [{**QUEUED, "path": "../b.mp3"}]}, "queue[0].path"),
        ({"queue": [{**QUEUED, "path": "/b.mp3"}]}, "queue[0].path"),
        ({"queue": [{**QUEUED, "path": "a\nb.mp3"}]}, "queue[0].path"),
        ({"queue": [{**QUEUED, "path": "x" * 501}]}, "queue[0].path"),
        ({"queue": [QUEUED, {**QUEUED, "id": "../../x"}]}, "queue[1].id"),
        ({"queue": [{**QUEUED, "id": 7}]}, "queue[0].id"),
        ({"queue": [QUEUED] * 201}, "queue"),
        ({"skip": -1}, "skip"),
        ({"skip": "1"}, "skip"),
        ({"skip": True}, "skip"),
    ],
)
def test_a_queue_that_cannot_be_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RenderError) as raised:
        rendered(service(**changes))
    assert raised.value.field == field
