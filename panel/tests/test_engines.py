"""What a release says of its engines and their companions, and what of it the panel refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from streamfleet_panel.engines import EVERYWHERE, EngineSpecError, engines, release_digest

ENGINE = {"title": "E", "kind": "audio", "service_types": ["radio"], "limits": []}
TEXT = {"schema": {"type": "string"}, "description": "d"}
COMPANION: dict[str, Any] = {
    "title": "C",
    "companion_of": ["e"],
    "objects": ["playlists"],
    "port": "c_port",
    "fields": {
        "c": {"schema": {"type": ["object", "null"]}, "description": "d"},
        "c_port": {"schema": {"type": ["integer", "null"]}, "description": "d"},
    },
    "credentials": {"c_password": {**TEXT, "generate": True}},
}


@pytest.fixture
def release(tmp_path: Path, settings: Any) -> Any:
    """``release(engines=…, companions=…)`` writes a release of these specs and makes it the panel's."""

    def write(**listed: dict[str, dict[str, Any]]) -> Path:
        # A folder of its own for each: what was read is remembered by path.
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        root.mkdir()
        for name, spec in {**listed["engines"], **listed.get("companions", {})}.items():
            path = root / "roles" / name / "engine" / "spec.yml"
            path.parent.mkdir(parents=True)
            path.write_text(yaml.safe_dump({"name": name, **spec}))
        (root / "engines.yml").write_text(yaml.safe_dump({kind: list(specs) for kind, specs in listed.items()}))
        settings.RELEASE_DIR = root
        return root

    return write


def test_a_companion_adds_to_its_engines_and_is_none_itself(release: Any) -> None:
    own = {**ENGINE, "fields": {"genre": TEXT}}
    release(engines={"e": own, "f": own}, companions={"c": COMPANION})
    found = engines()
    assert list(found) == ["e", "f"]
    assert (list(found["e"].fields), list(found["e"].credentials)) == (["genre", "c", "c_port"], ["c_password"])
    assert (found["e"].objects, found["f"].objects) == ({"playlists", *EVERYWHERE}, EVERYWHERE)
    assert list(found["f"].fields) == ["genre"]
    assert (found["e"].port_fields, found["f"].port_fields) == (("c_port",), ())
    companion = found["e"].companions[0]
    cases = {None: False, "{}": True, "{enabled: true}": True, "{enabled: false}": False}
    assert [companion.is_there({"c": value}) for value in ({"enabled": False}, None)] == [True, False]
    assert {case: companion.is_on({"c": yaml.safe_load(case) if case else None}) for case in cases} == cases


def test_a_time_zone_must_exist(release: Any) -> None:
    zone = {"type": ["string", "null"], "format": "iana-time-zone"}
    field = {"schema": {"type": "object", "properties": {"zone": zone}}, "description": "d"}
    release(engines={"e": {**ENGINE, "fields": {"at": field}}})
    at = engines()["e"].fields["at"]
    for good in ("UTC", "Europe/Prague", "America/Argentina/Ushuaia", None):
        assert list(at.faults({"zone": good})) == []
    for bad in ("Europe/Prag", "../../etc/passwd", "CEST", "europe/prague", ""):
        assert list(at.faults({"zone": bad})) == [(".zone", bad, "is not a time zone, such as Europe/Prague")]


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("stream-address", "rtsp://camera.example.org/one", "http://127.0.0.1/x"),
        ("stream-address", "rtmp://video.example.org/live/one", "rtmp://192.168.0.2/live/one"),
        ("stream-address", "https://video.example.org/live.m3u8", "rtsp://camera.example.org:22/one"),
        ("radio-address", "http://radio.example.org:8000/live", "rtsp://camera.example.org/one"),
    ],
)
def test_an_address_passes_the_guard(release: Any, form: str, good: str, bad: str) -> None:
    schema = {"type": ["string", "null"], "format": form}
    release(engines={"e": {**ENGINE, "fields": {"url": {"schema": schema, "description": "d"}}}})
    url = engines()["e"].fields["url"]
    assert [list(url.faults(value)) for value in (good, None)] == [[], []]
    ((path, value, message),) = url.faults(bad)
    assert (path, value) == ("", bad)
    assert any(word in message for word in ("not on the public Internet", "names port 22", "has the scheme rtsp"))


def test_types_of_services_differ_in_what_they_show_and_have(release: Any) -> None:
    own = {
        **ENGINE,
        "service_types": ["live", "archive"],
        "connection": [{"label": "Server", "value": "s"}],
        "listen_urls": ["a"],
        "by_type": {
            "archive": {
                "connection": [],
                "listen_urls": ["b"],
                "library": True,
                "objects": ["playlists"],
                "files": [".mp4"],
            }
        },
        "fields": {"folder": {**TEXT, "service_types": ["archive"], "needed": True}},
    }
    release(engines={"e": own})
    found = engines()["e"]
    assert [len(found.connection_of(kind)) for kind in ("live", "archive")] == [1, 0]
    assert [found.listen_urls_of(kind) for kind in ("live", "archive")] == [("a",), ("b",)]
    assert [found.has_library({}, kind) for kind in ("live", "archive")] == [False, True]
    assert [sorted(found.objects_of(kind)) for kind in ("live", "archive")] == [["domains"], ["domains", "playlists"]]
    assert found.objects == {"playlists", "domains"}
    assert [found.files_of(kind) for kind in ("live", "archive")] == [(), (".mp4",)]
    assert [found.fields["folder"].is_for(kind) for kind in ("live", "archive")] == [False, True]


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (
            {"connection": [{"label": "s", "value": "v", "needs": "Z"}]},
            "e: connection needs Z, which is none of its host_ports",
        ),
        ({"by_type": {"z": {}}}, "e: z is not one of its service_types"),
        ({"fields": {"f": {**TEXT, "service_types": ["z"]}}}, "e: z is not one of its service_types"),
        ({"by_type": {"radio": {"colour": 1}}}, "e: by_type: colour is not what a type can have otherwise"),
        *[
            ({"fields": {"f": {**TEXT, **said}}}, "e: f names z, which is not one of its fields")
            for said in ({"excludes": ["z"]}, {"together": "z"}, {"for_schemes": {"z": ["rtsp"]}}, {"bound_to": "z"})
        ],
    ],
)
def test_what_is_said_of_types_must_make_sense(release: Any, engine: dict[str, Any], message: str) -> None:
    release(engines={"e": {**ENGINE, **engine}})
    with pytest.raises(EngineSpecError, match=message):
        engines()


def test_a_release_without_companions(release: Any) -> None:
    release(engines={"e": ENGINE})
    assert engines()["e"].companions == ()


@pytest.mark.parametrize(
    ("engine", "companion", "message"),
    [
        ({"fields": {"c": TEXT}}, {}, "c: c is a field or credential of e already"),
        ({"fields": {"c_password": TEXT}}, {}, "c: c_password is a field or credential of e already"),
        ({}, {"companion_of": ["z"]}, "c: companion_of names z, which is not in engines.yml"),
        ({}, {"companion_of": None}, "TypeError"),
        ({}, {"port": "d_port"}, "c: port names d_port, which is not one of its fields"),
    ],
)
def test_refused(release: Any, engine: dict[str, Any], companion: dict[str, Any], message: str) -> None:
    release(engines={"e": {**ENGINE, **engine}}, companions={"c": {**COMPANION, **companion}})
    with pytest.raises(EngineSpecError, match=message):
        engines()


def test_the_digest_changes_with_a_companion(release: Any) -> None:
    release(engines={"e": ENGINE}, companions={"c": COMPANION})
    before = release_digest()
    release(engines={"e": ENGINE}, companions={"c": {**COMPANION, "title": "D"}})
    assert release_digest() != before
