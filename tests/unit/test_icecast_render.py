"""An Icecast station's files: whatever tenants write stays text, and Icecast's traps are avoided."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamfleet.engine import Instance, RenderError, load_renderer

from tests.doubles.panel import relay, station

render = load_renderer(Path(__file__).resolve().parents[2], "icecast")
NODE = {"node": "n1", "stream_host": "stream.example.net"}
A = ("rock-fm", 200001, 8100)

HOSTILE = [
    'Rock "n" Roll',
    "]]>",
    "</stream-name><mount>",
    "<!--",
    "-->",
    "&amp;",
    "&#10;",
    "#{1+1}",
    "{{ 7*7 }}",
    "{% raw %}",
    "a;b",
    "$(reboot)",
    "%s%n",
    "📻 Rádio",
    "x" * 300,
    " spaces ",
    "\u202eltr",
]


def config(instance: Instance) -> ET.Element:
    return ET.fromstring(instance.files[0].content)


def mount(root: ET.Element, name: str = "/stream") -> ET.Element:
    return next(entry for entry in root.findall("mount") if entry.findtext("mount-name") == name)


def mounts(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"mounts": list(entries)}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    settings = {"description": text, "genre": text, "website": f"https://example.net/{text}"}
    instance = render(station(*A, name=text, settings=settings), NODE)
    plain = config(render(station(*A, settings={"description": "d", "genre": "g", "website": "w"}), NODE))
    root = config(instance)
    assert [element.tag for element in root.iter()] == [element.tag for element in plain.iter()]
    entry = mount(root)
    assert entry.findtext("stream-name") == text
    assert entry.findtext("stream-description") == text
    assert entry.findtext("genre") == text
    assert entry.findtext("stream-url") == f"https://example.net/{text}"
    for file in instance.files[1:]:
        assert text not in file.content


@given(name=st.text(min_size=1, max_size=80), password=st.text(min_size=1, max_size=40))
def test_any_text_is_kept_or_refused(name: str, password: str) -> None:
    service = station(*A, name=name, credentials={"source_password": password, "listener_password": password})
    if any(ord(c) < 32 or ord(c) in (0x7F, 0xFFFE, 0xFFFF) or 0xD800 <= ord(c) <= 0xDFFF for c in name + password):
        with pytest.raises(RenderError) as caught:
            render(service, NODE)
        assert caught.value.field in ("name", "credentials.source_password")
        return
    instance = render(service, NODE)
    root = config(instance)
    assert mount(root).findtext("stream-name") == name
    assert mount(root).findtext("password") == password
    assert [entry.findtext("mount-name") for entry in root.findall("mount")] == ["/stream", "/_relay-stream"]
    listeners = next(file for file in instance.files if file.path.endswith("listeners.htpasswd"))
    assert re.fullmatch(r"listener:[0-9a-f]{32}\n", listeners.content)


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", "\x1b", "\x7f", "\ud800", "\uffff"])
def test_characters_that_no_title_can_carry_are_refused_by_name(character: str) -> None:
    with pytest.raises(RenderError) as caught:
        render(station(*A, name=f"a{character}b"), NODE)
    assert caught.value.field == "name"
    assert caught.value.value == f"U+{ord(character):04X}"


def test_a_refused_password_is_not_told() -> None:
    with pytest.raises(RenderError) as caught:
        render(station(*A, credentials={"source_password": "very-secret\n"}), NODE)
    assert "very-secret" not in f"{caught.value} {caught.value.value}"


def test_a_source_can_use_declared_mounts_only() -> None:
    service = station(*A)
    root = config(render(service, NODE))
    known = {*service["credentials"].values()}
    for name in ("source-password", "relay-password"):
        assert root.findtext(f"authentication/{name}") not in known
        assert len(root.findtext(f"authentication/{name}") or "") == 64
    assert render(service, NODE) == render(service, NODE)
    other = config(render(station("jazz-fm", 200002, 8101, credentials=service["credentials"]), NODE))
    assert other.findtext("authentication/source-password") != root.findtext("authentication/source-password")
    assert mount(root).findtext("password") == service["credentials"]["source_password"]
    assert root.findall("mount[@type='default']") == []


@pytest.mark.parametrize(
    ("total", "entries", "clients", "each"),
    [
        (100, [{"name": "/a"}], 133, ["100"]),
        (100, [{"name": "/a", "max_listeners": 10}], 133, ["10"]),
        (100, [{"name": "/a", "max_listeners": 500}], 133, ["100"]),
        (100, [{"name": "/a"}, {"name": "/b"}], 106, ["100", "100"]),
        (100, [{"name": "/a", "max_listeners": 60}, {"name": "/b", "max_listeners": 40}], 134, ["60", "40"]),
        (None, [{"name": "/a"}, {"name": "/b", "max_listeners": 5}], 1_000_000, [None, "5"]),
        (0, [{"name": "/a"}], 33, ["0"]),
    ],
)
def test_limits_of_listeners(total: int | None, entries: list[dict[str, Any]], clients: int, each: list[str]) -> None:
    root = config(render(station(*A, limits={"max_listeners": total}, settings=mounts(*entries)), NODE))
    assert root.findtext("limits/clients") == str(clients)
    assert root.findtext("limits/sources") == str(2 * len(entries))
    for names in ("/{}", "/_relay-{}"):
        found = [mount(root, names.format(entry["name"].strip("/"))) for entry in entries]
        assert [entry.findtext("max-listeners") for entry in found] == each


@pytest.mark.parametrize("bitrate", [None, 8, 64, 128, 320, 2000])
def test_a_burst_fits_the_queue(bitrate: int | None) -> None:
    root = config(render(station(*A, settings=mounts({"name": "/a", "bitrate_kbps": bitrate})), NODE))
    queue = int(root.findtext("limits/queue-size") or 0)
    for element in root.iter("burst-size"):
        assert int(element.text or 0) <= queue // 2


def test_what_a_source_sends_is_inert_in_a_browser() -> None:
    root = config(render(station(*A), NODE))
    headers = {header.attrib["name"]: header.attrib["value"] for header in root.iter("header")}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("sandbox;")
    assert root.findtext("fileserve") == "0"


def test_every_mount_says_utf_8_and_is_not_listed_anywhere() -> None:
    root = config(render(station(*A, settings=mounts({"name": "/a"}, {"name": "/b"})), NODE))
    assert [entry.findtext("charset") for entry in root.findall("mount")] == ["UTF-8"] * 4
    assert root.findall("directory") == []


def test_who_finds_a_mount_full_gets_what_it_falls_back_to_and_the_sum_is_kept_close() -> None:
    full = {"name": "/live", "max_listeners": 5, "fallback": "/backup"}
    backup = {"name": "/backup", "max_listeners": 5}
    apart, moved = (
        config(render(station(*A, settings=mounts({**full, "fallback_when_full": wanted}, backup)), NODE))
        for wanted in (False, True)
    )
    assert [mount(apart, name).findtext("fallback-when-full") for name in ("/live", "/_relay-live")] == [None, None]
    for name, wanted in (("/live", "1"), ("/_relay-live", "1"), ("/backup", None), ("/_relay-backup", None)):
        assert mount(moved, name).findtext("fallback-when-full") == wanted
    assert (apart.findtext("limits/clients"), moved.findtext("limits/clients")) == ("44", "16")


def test_fallbacks() -> None:
    entries = mounts({"name": "/live", "fallback": "/autodj"}, {"name": "/autodj"})
    root = config(render(station(*A, settings=entries), NODE))
    # What is relayed into a mount is behind its own source, and before what it falls back to else.
    chain = {"/live": "/_relay-live", "/_relay-live": "/autodj", "/autodj": "/_relay-autodj", "/_relay-autodj": None}
    for name, fallback in chain.items():
        entry = mount(root, name)
        assert entry.findtext("fallback-mount") == fallback
        assert entry.findtext("fallback-override") == ("1" if fallback else None)


def test_what_is_relayed_has_a_mount_of_its_own_that_nobody_else_can_use() -> None:
    service = station(*A, credentials={"listener_password": "let-me-in"})
    instance = render(service, NODE)
    root = config(instance)
    hidden = mount(root, "/_relay-stream")
    assert hidden.findtext("hidden") == "1"
    assert hidden.findtext("password") not in {*service["credentials"].values()}
    assert len(hidden.findtext("password") or "") == 64
    assert hidden.find("authentication") is not None
    route = next(file for file in instance.files if file.kind == "route")
    assert json.loads(route.content)["mounts"] == ["/stream"]
    # Whether there are relays or not: one that comes or goes takes no mount from under its listeners.
    relays = [relay("a"), relay("b", direction="out", address="icecast://other.example/live", password="secret")]
    other = config(render(station(*A, credentials={"listener_password": "let-me-in"}, relays=relays), NODE))
    assert [ET.tostring(entry) for entry in other.findall("mount")] == [ET.tostring(e) for e in root.findall("mount")]
    assert int(other.findtext("limits/clients") or 0) == int(root.findtext("limits/clients") or 0) + 1


@pytest.mark.parametrize(
    "entries",
    [
        [{"name": "/a"}, {"name": "/a"}],
        [{"name": "/a", "fallback": "/nowhere"}],
        [{"name": "/a", "fallback": "/a"}],
        [{"name": "/a", "fallback": "/b"}, {"name": "/b", "fallback": "/c"}, {"name": "/c", "fallback": "/a"}],
    ],
)
def test_mounts_that_make_no_sense_are_refused(entries: list[dict[str, Any]]) -> None:
    with pytest.raises(RenderError, match=r"settings\.mounts\[\d\]"):
        render(station(*A, settings=mounts(*entries)), NODE)


def test_the_listeners_password_in_the_form_that_icecast_reads() -> None:
    instance = render(station(*A, credentials={"listener_password": "let-me-in"}), NODE)
    file = instance.files[1]
    assert file.content == f"listener:{hashlib.md5(b'let-me-in').hexdigest()}\n"
    assert (file.kind, file.mode, file.group) == ("key", "0640", "sf200001")
    option = mount(config(instance)).find("authentication[@type='htpasswd']/option[@name='filename']")
    assert option is not None
    assert option.get("value") == file.path


def test_the_route_names_mounts_and_default() -> None:
    entries = mounts({"name": "/a"}, {"name": "/b", "default": True})
    instance = render(station(*A, settings=entries), NODE)
    route = {"port": 8100, "mounts": ["/a", "/b"], "default": "/b", "max_bitrate_kbps": 128}
    assert json.loads(instance.files[-1].content) == route
    for state in ("stopped", "suspended", "disabled", "over_quota", "deleted"):
        off = render(station(*A, settings=entries, state=state), NODE)
        assert not [file for file in off.files if "/routes/" in file.path]
        assert off.state == state


@pytest.mark.parametrize(
    ("change", "restart", "reload"),
    [
        ({"port": 8101}, True, True),
        ({"name": "x"}, False, True),
        ({"credentials": {"source_password": "another-one"}}, False, True),
        ({"generation": 9}, False, False),
        ({"state": "stopped"}, False, False),
        ({"customer": "bob"}, False, False),
    ],
)
def test_fingerprints_follow_the_change_matrix(change: dict[str, Any], restart: bool, reload: bool) -> None:
    before = render(station(*A), NODE).fingerprints
    after = render(station(*A, **change), NODE).fingerprints
    assert (before["restart"] != after["restart"], before["reload"] != after["reload"]) == (restart, reload)


def test_diffs_blank_every_password() -> None:
    instance = render(station(*A), NODE)
    blanked = re.sub(instance.files[0].mask or "$^", "*", instance.files[0].content)
    for element in config(instance).iter():
        if element.tag.endswith("password"):
            assert (element.text or "") not in blanked
