"""Engines and their companions: what a companion adds to the services of its engines, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from streamfleet.engine import SpecError, companions_of, with_companions

from scripts.gen_engine_options import ROOT, engine_specs

ENGINES: dict[str, dict[str, Any]] = {"a": {"fields": {"genre": {}}, "credentials": {"key": {}}}, "b": {"fields": {}}}


def test_a_companion_adds_to_its_engines_only() -> None:
    companion = {"companion_of": ["a"], "fields": {"dj": {}}, "credentials": {"word": {}}, "objects": ["playlists"]}
    specs = with_companions(ENGINES, {"c": companion})
    assert list(specs["a"]["fields"]) == ["genre", "dj"]
    assert list(specs["a"]["credentials"]) == ["key", "word"]
    assert (specs["a"]["companions"], specs["a"]["objects"]) == (["c"], ["playlists"])
    assert (specs["b"]["companions"], specs["b"]["objects"]) == ([], [])
    assert list(ENGINES["a"]["fields"]) == ["genre"]


@pytest.mark.parametrize(("group", "name"), [("fields", "genre"), ("credentials", "key")])
def test_a_name_that_is_taken_is_refused(group: str, name: str) -> None:
    with pytest.raises(SpecError, match=rf"c: {group}\.{name}: a or another companion declares it already"):
        with_companions(ENGINES, {"c": {"companion_of": ["a"], group: {name: {}}}})


def test_a_port_that_is_no_field_is_refused() -> None:
    companion = {"companion_of": ["a"], "port": "live", "fields": {"live": {}}}
    assert "live" in with_companions(ENGINES, {"c": companion})["a"]["fields"]
    with pytest.raises(SpecError, match="c: port: 'live' is not one of its fields"):
        with_companions(ENGINES, {"c": {**companion, "fields": {}}})


def test_a_companion_of_no_engine_is_refused() -> None:
    with pytest.raises(SpecError, match=r"c: companion_of: 'z' is not an engine \(a, b\)"):
        companions_of(ENGINES, {"c": {"companion_of": ["z"]}})


def test_stations_of_this_release_can_have_an_autodj_and_relays() -> None:
    specs = engine_specs(ROOT)
    for name in ("icecast", "icecast_kh"):
        assert specs[name]["companions"] == ["autodj", "relay"]
        assert specs[name]["objects"] == ["playlists", "djs", "schedules", "queue", "relays"]
        assert {"mounts", "autodj", "live_port"} <= set(specs[name]["fields"])
    assert specs["nginx_rtmp"]["companions"] == []
