"""A limit that an engine's spec declares does something, and one that it does not declare does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamfleet.engine import load_renderer

from scripts import gen_engine_options

ROOT = Path(__file__).resolve().parents[2]
SPECS = gen_engine_options.engine_specs(ROOT)
NODE = {"node": "node1", "stream_host": "stream.example.net"}


def _rendered(name: str, spec: dict[str, Any], limit: str, value: int | None) -> list[tuple[str, str]]:
    """Path and content of every file of a service with nothing named but that limit."""
    service = {
        "slug": "some", "name": "Some", "customer": "alice", "uid": 200001, "engine": name,
        "service_type": spec["service_types"][0],
        "generation": 1, "state": "running", "reason": "", "restart": 0, "port": 8100,
        "limits": {"max_listeners": None, "max_bitrate_kbps": None, limit: value},
        "settings": {field: item.get("default") for field, item in (spec["fields"] or {}).items()},
        "credentials": {
            key: key.ljust(24, "k") if item.get("generate") else None for key, item in spec["credentials"].items()
        },
        "previous_credentials": {},
    }  # fmt: skip
    instance = load_renderer(ROOT, name)(service, NODE)
    return [(file.path, file.content) for file in instance.files]


def _declared_by_mounts(spec: dict[str, Any]) -> set[str]:
    """The bitrate that mounts declare is judged by the panel."""
    lists = [item["schema"]["items"] for item in (spec["fields"] or {}).values() if item.get("mounts")]
    return {"max_bitrate_kbps"} if any("bitrate_kbps" in items["properties"] for items in lists) else set()


@pytest.mark.parametrize("name", SPECS)
def test_an_engine_holds_what_its_spec_declares_and_no_more(name):
    spec = SPECS[name]
    on_the_node = {
        limit
        for limit in gen_engine_options.LIMITS
        if _rendered(name, spec, limit, None) != _rendered(name, spec, limit, 3)
    }
    assert set(spec["limits"]) == on_the_node | _declared_by_mounts(spec)


def test_the_documentation_says_who_holds_a_limit():
    docs = gen_engine_options.limits(
        {"a": {"title": "A", "limits": ["max_listeners", "max_bitrate_kbps"]}, "b": {"title": "B", "limits": []}}
    )
    assert docs["max_listeners"]["description"][1] == "Held by A; refused with any other engine."
    every = gen_engine_options.limits({"a": {"title": "A", "limits": ["max_listeners"]}})
    assert every["max_listeners"]["description"][1] == "Held by every engine."
    assert every["max_bitrate_kbps"]["description"][1] == "Held by no engine; refused with any other engine."
