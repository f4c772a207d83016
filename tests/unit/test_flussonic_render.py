"""A channel's files for Flussonic: what the API takes, no text of a tenant in it, and nothing while off the air."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from streamfleet.engine import File, Instance, RenderError, load_renderer

from tests.doubles.flussonic.configuration import Server, merged, server, written
from tests.doubles.panel import flussonic_channel as channel

ROOT = Path(__file__).resolve().parents[2]
render = load_renderer(ROOT, "flussonic")
SPEC = yaml.safe_load((ROOT / "roles/flussonic/engine/spec.yml").read_text())
NODE = {"node": "n1", "stream_host": "stream.example.net"}
A = ("rock-tv", 200001)
STATES = ["stopped", "suspended", "disabled", "over_quota", "deleted"]
ALL = {"segment_seconds": 2, "dvr_hours": 24, "renditions": [{"height": 720, "video_kbps": 2000}]}

#: Text that means something to somebody: to JSON, to Flussonic's configuration and stream keys, a shell, a template.
HOSTILE = [
    'secret", "disabled": false, "x": "',
    "secret; } stream other { input publish://",
    "secret&password=other-secret",
    "secret?other",
    "secret\nother user",
    "secret other",
    "secret\0secret",
    "#secret-secret",
    "{secret}",
    "$(reboot)",
    "{{ 7*7 }}",
    "../../secret",
    "pässword",
    "secret\ud800",
    "",
    "x" * 129,
]


def rendered(**changes: Any) -> Instance:
    instance = render(channel(*A, **changes), NODE)
    assert instance is not None
    return instance


def files(instance: Instance) -> dict[str, File]:
    return {file.path.rpartition("/")[2]: file for file in instance.files}


def stream(instance: Instance) -> dict[str, Any]:
    """What the double makes of it, as the body of a request."""
    return merged({}, json.loads(files(instance)["stream.json"].content), instance.slug)


def test_a_channel_as_a_whole() -> None:
    instance = rendered(limits={"max_listeners": 7, "disk_quota_mb": 500}, settings=ALL)
    found = files(instance)
    assert set(found) == {"stream.json", "rock-tv.json"}
    assert {(file.mode, file.owner) for file in found.values()} == {("0640", "root")}
    assert json.loads(found["rock-tv.json"].content) == {"port": 1939, "hls": "/rock-tv", "token": True}
    assert (instance.unit, instance.ports, instance.listen) == ("streamfleet-flussonic@rock-tv.service", [], [])
    assert stream(instance) == {
        "name": "rock-tv",
        "disabled": False,
        "inputs": [{"url": "publish://"}],
        "password": "publish-rock-tv-secret",
        "protocols": {"whitelist": True, "hls": True},
        "segment_duration": 2000,
        "on_play": {"url": "http://127.0.0.1:1940/play/7"},
        "dvr": {"root": "/var/lib/flussonic/dvr", "expiration": 86400, "storage_limit": 500 * 1024**2},
        "transcoder": {
            "global": {"hw": "cpu"},
            "audio": {"bitrate": "copy"},
            "video": [
                {"track": 1, "bitrate": "copy"},
                {
                    "track": 2,
                    "codec": "h264",
                    "bitrate": 2000000,
                    "size": {"width": -1, "height": 720, "strategy": "scale"},
                },
            ],
        },
    }


def test_what_is_off_is_said_so_that_nothing_of_before_is_left() -> None:
    body = json.loads(files(rendered())["stream.json"].content)
    assert {key for key, value in body.items() if value is None} == {"on_play", "dvr", "transcoder"}
    before = stream(rendered(limits={"max_listeners": 7, "disk_quota_mb": 500}, settings=ALL))
    assert merged(before, body, "rock-tv") == stream(rendered())


def test_flussonic_can_save_it_and_read_it_again() -> None:
    said = stream(rendered(limits={"max_listeners": 7, "disk_quota_mb": 500}, settings=ALL))
    found, again = Server(streams={"rock-tv": said}), Server()
    server(written(found), again)
    said.pop("disabled")
    assert again.streams == {"rock-tv": said}


@pytest.mark.parametrize("state", STATES)
def test_off_the_air_there_is_no_way_in_or_out(state: str) -> None:
    instance = rendered(state=state, reason="unpaid")
    assert list(files(instance)) == ["stream.json"]
    assert stream(instance) == {"name": "rock-tv", "disabled": True}
    assert (instance.state, instance.reason) == (state, "unpaid")


def test_the_change_matrix_is_what_the_fingerprints_say() -> None:
    base = rendered().fingerprints
    assert set(base) == {"reload"}
    assert rendered(name="Other {}").fingerprints == base
    for changes in (
        {"credentials": {"publish_password": "another-secret"}},
        {"limits": {"max_listeners": 5}},
        *(
            {"settings": {key: value}, "limits": {"disk_quota_mb": 500}}
            for key, value in (ALL | {"segment_seconds": 5}).items()
        ),
    ):
        assert rendered(**changes).fingerprints != base, changes
    assert SPEC["change_matrix"] == {"name": "none", "*": "reload"}


@pytest.mark.parametrize("text", HOSTILE)
def test_no_hostile_password_gets_into_a_file(text: str) -> None:
    with pytest.raises(RenderError) as raised:
        rendered(credentials={"publish_password": text})
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
    assert rendered(name=text, reason=text).files == rendered().files


def test_diffs_do_not_show_the_password() -> None:
    file = files(rendered())["stream.json"]
    assert file.mask is not None
    shown = re.sub(file.mask, "********", file.content)
    assert "publish-rock-tv-secret" not in shown
    assert json.loads(shown)["segment_duration"] == 2000


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        *(({"settings": {"segment_seconds": value}}, "settings.segment_seconds") for value in (0, 21, True, "4", 2.5)),
        *(({"settings": {"dvr_hours": value}}, "settings.dvr_hours") for value in (0, 8761, True, "1")),
        *(({"limits": {"max_listeners": value}}, "max_listeners") for value in (-1, True, "5", 2**31)),
        ({"settings": {"dvr_hours": 1}, "limits": {"disk_quota_mb": "5"}}, "disk_quota_mb"),
        ({"settings": {"renditions": [{"height": 720}]}}, "settings.renditions[0]"),
        ({"settings": {"renditions": ["vb=1k; }"]}}, "settings.renditions[0]"),
        ({"settings": {"renditions": [{"height": "720", "video_kbps": 1000}]}}, "settings.renditions[0].height"),
        ({"settings": {"renditions": [{"height": 720, "video_kbps": 1}]}}, "settings.renditions[0].video_kbps"),
        ({"settings": {"renditions": [{"height": 720, "video_kbps": 1000}] * 5}}, "settings.renditions"),
    ],
)  # fmt: skip
def test_what_flussonic_cannot_be_told_is_refused_with_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RenderError) as raised:
        rendered(**changes)
    assert raised.value.field == field


def test_a_missing_password_is_named() -> None:
    with pytest.raises(RenderError, match="is missing") as raised:
        rendered(credentials={"publish_password": None})
    assert raised.value.value is None


def test_what_is_kept_needs_a_limit() -> None:
    """All channels of a node share its disk."""
    with pytest.raises(RenderError, match="set disk_quota_mb, too") as raised:
        rendered(settings={"dvr_hours": 24}, limits={"disk_quota_mb": None})
    assert raised.value.field == "settings.dvr_hours"


def test_ports_and_places_are_named_once() -> None:
    """The role takes the ports of the same specification; what helpers name by themselves is the same."""
    role = yaml.safe_load((ROOT / "roles/flussonic/vars/main.yml").read_text())
    found = rendered(limits={"max_listeners": 1, "disk_quota_mb": 500}, settings=ALL)
    ports = {purpose: str(plan["port"]) for purpose, plan in SPEC["host_ports"].items() if "port" in plan}
    assert json.loads(files(found)["rock-tv.json"].content)["port"] == int(ports["HLS and API"])
    assert f":{ports['gate']}/" in stream(found)["on_play"]["url"]
    for path in (ROOT / "roles/flussonic").rglob("*"):
        if path.is_file() and path.name != "spec.yml" and "__pycache__" not in path.parts:
            text = path.read_text()
            assert not any(port in text for port in ports.values()), f"{path} names a port again"
    assert f'KEPT = Path("{stream(found)["dvr"]["root"]}")' in (ROOT / "roles/flussonic/files/channel.py").read_text()
    assert found.files[0].path.startswith(role["_streamfleet_flussonic_instances"])
