"""What a release says of its engines and their companions, and what of it the panel refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from streamfleet_panel.engines import EngineSpecError, engines, release_digest

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
    assert (found["e"].objects, found["f"].objects) == (frozenset({"playlists"}), frozenset())
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
