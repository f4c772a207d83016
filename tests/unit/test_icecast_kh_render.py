"""A station of Icecast-KH: Icecast's files, and where they must differ. What both have is in test_icecast_render.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from streamfleet.engine import Instance, RenderError, load_renderer

from tests.doubles.panel import autodj, kh_station, relay, station

ROOT = Path(__file__).resolve().parents[2]
render, of_icecast = (load_renderer(ROOT, name) for name in ("icecast_kh", "icecast"))
NODE = {"node": "n1", "stream_host": "stream.example.net"}
A = ("rock-fm", 200001, 8100)


def config(instance: Instance) -> ET.Element:
    return ET.fromstring(instance.files[0].content)


def mounts(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"mounts": list(entries)}


def limits(root: ET.Element) -> dict[str, str | None]:
    return {entry.findtext("mount-name") or "": entry.findtext("max-listeners") for entry in root.findall("mount")}


def test_fields_and_credentials_are_those_of_icecast() -> None:
    """A station can be declared for the one or the other, and no text of the documentation says two things."""
    kh, icecast = (
        yaml.safe_load((ROOT / "roles" / name / "engine" / "spec.yml").read_text())
        for name in ("icecast_kh", "icecast")
    )
    # It asks whoever wants a few bytes of a stream for no log-in, and can be made to send all of it then.
    assert icecast["credentials"].pop("listener_password")
    for key in ("fields", "credentials", "limits", "connection", "publish", "listen_urls", "change_matrix", "ports"):
        assert kh[key] == icecast[key], key
    assert kh["backup"][0] == "/etc/streamfleet/instances/icecast_kh/{slug}"


def test_it_has_a_folder_a_unit_and_a_program_of_its_own() -> None:
    instance = render(kh_station(*A), NODE)
    folder = "/etc/streamfleet/instances/icecast_kh/rock-fm"
    assert [file.path for file in instance.files] == [f"{folder}/icecast.xml", "/etc/streamfleet/routes/rock-fm.json"]
    assert (instance.engine, instance.unit) == ("icecast_kh", "streamfleet-icecast_kh@rock-fm.service")
    root = config(instance)
    for path in ("basedir", "webroot", "adminroot"):
        assert (root.findtext(f"paths/{path}") or "").startswith("/opt/streamfleet/icecast_kh/current/share/icecast")


def test_a_log_in_that_does_not_hold_is_not_offered() -> None:
    with pytest.raises(RenderError, match="listener_password"):
        render(kh_station(*A, credentials={"listener_password": "let-me-in"}), NODE)


def test_it_hears_ipv4_and_ipv6_where_no_address_is_named() -> None:
    """With one it sets IPV6_V6ONLY."""
    socket = config(render(kh_station(*A), NODE)).find("listen-socket")
    assert socket is not None
    assert [(element.tag, element.text) for element in socket] == [("port", "8100")]


def test_the_web_server_asks_with_what_keeps_safari_from_being_sent_away() -> None:
    route = json.loads(render(kh_station(*A), NODE).files[-1].content)
    assert route.pop("query") == "_ic2=1"
    assert route == json.loads(of_icecast(station(*A), NODE).files[-1].content)


def test_nobody_is_believed_what_he_says_of_his_address() -> None:
    """Who comes through the web server is recorded there; under his own address he would be counted twice."""
    assert config(render(kh_station(*A), NODE)).find("paths/x-forwarded-for") is None


@pytest.mark.parametrize(
    ("total", "entries", "clients", "whole", "each"),
    [
        (100, [{"name": "/a"}, {"name": "/b"}], 134, "100", [None, None]),
        (100, [{"name": "/a", "max_listeners": 10}, {"name": "/b"}], 134, "100", ["10", None]),
        (100, [{"name": "/a", "max_listeners": 10, "fallback": "/b", "fallback_when_full": True}, {"name": "/b"}],
         134, "100", ["10", None]),
        (None, [{"name": "/a"}, {"name": "/b", "max_listeners": 5}], 1_000_000, None, [None, "5"]),
        # 0 is no limit to it.
        (0, [{"name": "/a"}, {"name": "/b", "max_listeners": 5}], 34, None, ["0", "0"]),
    ],
)  # fmt: skip
def test_it_holds_the_sum_of_listeners_itself(
    total: int | None, entries: list[dict[str, Any]], clients: int, whole: str | None, each: list[str | None]
) -> None:
    root = config(render(kh_station(*A, limits={"max_listeners": total}, settings=mounts(*entries)), NODE))
    assert (root.findtext("limits/clients"), root.findtext("limits/max-listeners")) == (str(clients), whole)
    found = limits(root)
    for names in ("/{}", "/_relay-{}"):
        assert [found[names.format(entry["name"].lstrip("/"))] for entry in entries] == each


def test_autodj_and_relays_have_the_mounts_that_icecast_has() -> None:
    relays = [relay("network", mount="/stream")]
    ours, theirs = (
        made(base(*A, settings=autodj(), relays=relays), NODE)
        for made, base in ((render, kh_station), (of_icecast, station))
    )
    for name in ("mount-name", "password", "fallback-mount", "hidden"):
        assert [entry.findtext(name) for entry in config(ours).findall("mount")] == [
            entry.findtext(name) for entry in config(theirs).findall("mount")
        ]


@pytest.mark.parametrize(
    "name", ["/*", "/a?", "/[a]", "/+(x)", "/!x", "/@x", "/${mount}", "/a b", "stream", "/", "/a/b"]
)
def test_names_that_it_would_take_for_patterns_are_refused(name: str) -> None:
    """A pattern's settings, its password too, would be those of every mount that has none of its own."""
    with pytest.raises(RenderError, match=r"settings\.mounts\[1\]\.name: would be taken for a pattern"):
        render(kh_station(*A, settings=mounts({"name": "/a"}, {"name": name})), NODE)
    for pattern in ("/a", "/a.b-c_d9"):
        render(kh_station(*A, settings=mounts({"name": pattern})), NODE)


@pytest.mark.parametrize(
    ("change", "restart", "reload"),
    [
        ({"port": 8101}, True, True),
        ({"name": "x"}, False, True),
        ({"limits": {"max_listeners": 11}}, False, True),
        ({"credentials": {"source_password": "another-one"}}, False, True),
        ({"generation": 9}, False, False),
        ({"state": "stopped"}, False, False),
    ],
)
def test_fingerprints_follow_the_change_matrix(change: dict[str, Any], restart: bool, reload: bool) -> None:
    before, after = (render(kh_station(*A, **some), NODE).fingerprints for some in ({}, change))
    assert (before["restart"] != after["restart"], before["reload"] != after["reload"]) == (restart, reload)
