"""The renderer of nginx_rtmp: one file per stream key that works, and none that does not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from streamfleet.engine import Instance, RenderError, load_renderer

ROOT = Path(__file__).resolve().parents[2]
KEY = "k" * 24
render = load_renderer(ROOT, "nginx_rtmp")


def service(**more: Any) -> dict[str, Any]:
    """A running channel as a node document has it."""
    return {
        "slug": "rock-tv", "name": "Rock TV", "customer": "alice", "uid": 200001, "engine": "nginx_rtmp",
        "service_type": "live", "generation": 3, "state": "running", "reason": "", "restart": 0, "port": None,
        "limits": {"max_listeners": None, "max_bitrate_kbps": 4000}, "settings": {}, "credentials": {"stream_key": KEY},
        "previous_credentials": {}, **more,
    }  # fmt: skip


def grants(instance: Instance) -> dict[str, dict[str, Any]]:
    """What the files say, by the name of the file."""
    return {Path(file.path).stem: json.loads(file.content) for file in instance.files if file.kind == "key"}


def name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_running_channel_says_whose_it_is_and_has_one_file_without_the_key() -> None:
    instance = render(service(), {})
    assert grants(instance) == {
        name(KEY): {"slug": "rock-tv", "uid": 200001, "expires": None, "max_bitrate_kbps": 4000}
    }
    file, owner = instance.files
    assert (owner.path, owner.group, owner.kind) == ("/etc/streamfleet/routes/rock-tv.json", "www-data", "route")
    assert json.loads(owner.content) == {"uid": 200001}
    assert file.path == f"/etc/streamfleet/publish-keys/{name(KEY)}.json"
    assert (file.mode, file.owner, file.group, file.kind, file.validate) == (
        "0640",
        "root",
        "streamfleet-rtmp",
        "key",
        "json",
    )
    assert KEY not in file.path + file.content
    assert instance.unit is None
    assert instance.ports == []
    assert (instance.slug, instance.engine, instance.uid, instance.generation) == ("rock-tv", "nginx_rtmp", 200001, 3)


@pytest.mark.parametrize("state", ["stopped", "suspended", "disabled", "over_quota", "deleted"])
def test_every_other_state_is_off_the_air(state: str) -> None:
    instance = render(service(state=state), {})
    assert instance.files == []
    assert instance.state == state


def test_old_keys_end_when_they_should() -> None:
    old = [
        {"value": "o" * 24, "expires": "2026-11-24T13:00:00+01:00"},
        {"value": KEY, "expires": "2020-01-01T00:00:00Z"},
    ]
    found = grants(render(service(previous_credentials={"stream_key": old}), {}))
    assert found[name("o" * 24)]["expires"] == "2026-11-24T12:00:00Z"
    assert found[name(KEY)]["expires"] is None, "today's key wins over the same one among the old"
    assert len(found) == 2


def test_no_limit_is_null() -> None:
    assert grants(render(service(limits={}), {}))[name(KEY)]["max_bitrate_kbps"] is None


@pytest.mark.parametrize("key", [None, "", "a b", "a/b", "../x", "a\nb", "ä" * 20, "x" * 129, "x;y", 7])
def test_a_key_that_cannot_be_asked_for_is_refused_without_being_told(key: object) -> None:
    with pytest.raises(RenderError) as refused:
        render(service(credentials={"stream_key": key}), {})
    assert refused.value.field == "stream_key"
    if key:
        assert refused.value.value == "********"
        assert str(key) not in str(refused.value)


@pytest.mark.parametrize("expires", [None, "", "tomorrow", "2026-11-24T12:00:00", 5])
def test_an_old_key_without_a_certain_end_is_refused(expires: object) -> None:
    old = [{"value": "o" * 24, "expires": expires}]
    with pytest.raises(RenderError, match="RFC 3339"):
        render(service(previous_credentials={"stream_key": old}), {})
