"""The renderer of nginx_rtmp: one file per stream key that works, and none that does not."""

from __future__ import annotations

import hashlib
import hmac
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


def grants(instance: Instance, *, of: bool = False) -> dict[str, dict[str, Any]]:
    """What the files of keys say, by the name of the file; ``of``: and the one of all keys."""
    found = {Path(file.path).stem: json.loads(file.content) for file in instance.files if file.kind == "key"}
    return {stem: said for stem, said in found.items() if of or not stem.startswith("of-")}


def name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def secret(key: str, node: str) -> str:
    return hmac.new(key.encode(), f"ticket for {node}".encode(), hashlib.sha256).hexdigest()


def test_a_running_channel_says_whose_it_is_and_has_one_file_without_the_key() -> None:
    instance = render(service(), {"node": "n1"})
    assert grants(instance) == {
        name(KEY): {"slug": "rock-tv", "uid": 200001, "expires": None, "max_bitrate_kbps": 4000}
    }
    file, of, owner = instance.files
    assert (of.path, json.loads(of.content)) == (
        "/etc/streamfleet/publish-keys/of-rock-tv.json",
        {"keys": [{"file": name(KEY), "secret": secret(KEY, "n1")}]},
    )
    # What makes tickets is in no name, and in the content that no diff shows.
    assert (of.kind, of.mode, of.group) == ("key", "0640", "streamfleet-rtmp")
    assert not any(secret(KEY, "n1") in one.path for one in instance.files)
    assert secret(KEY, "n1") not in render(service(), {"node": "n2"}).files[1].content
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


FORWARD = {
    "node": "n2",
    "address": "192.0.2.7",
    "stream_host": "n2.example.net",
    "host_ports": {"RTMP": 1945, "RTMPS": 0},
    "open": True,
}
DIGESTS = {
    "stream_key": [{"digest": "a" * 64, "expires": None}, {"digest": "b" * 64, "expires": "2026-11-24T13:00:00+01:00"}]
}


def moved(**more: Any) -> dict[str, Any]:
    """The same as its former node has it."""
    return service(**{"state": "moved", "credentials": {"stream_key": "f" * 32}, "digests": DIGESTS, **more})


def test_of_a_channel_that_moved_encoders_and_viewers_are_sent_on() -> None:
    instance = render(moved(forward=FORWARD), {"stream_host": "n1.example.net"})
    to = {"slug": "rock-tv", "uid": 200001, "to": "rtmp://192.0.2.7:1945/live", "node": "n2"}
    assert grants(instance, of=True) == {
        f"moved-{'a' * 64}": {**to, "expires": None},
        f"moved-{'b' * 64}": {**to, "expires": "2026-11-24T12:00:00Z"},
        # Tickets of another node find no key here.
        "of-rock-tv": {"keys": [], "moved": True},
    }
    assert json.loads(instance.files[-1].content) == {
        "uid": 200001,
        "elsewhere": True,
        "web": {"address": "192.0.2.7", "host": "n2.example.net", "here": "n1.example.net"},
    }
    by_six = grants(render(moved(forward={**FORWARD, "address": "2001:db8::7"}), {}))
    assert by_six[f"moved-{'a' * 64}"]["to"] == "rtmp://[2001:db8::7]:1945/live"


def test_while_nobody_has_it_on_the_air_encoders_are_known_and_viewers_have_what_is_here() -> None:
    instance = render(moved(forward=None), {})
    assert [said["to"] for said in grants(instance).values()] == [None, None]
    assert json.loads(instance.files[-1].content) == {"uid": 200001}
    back = render(moved(forward={**FORWARD, "open": False}), {})
    assert [said["to"] for said in grants(back).values()] == [None, None]
    assert json.loads(back.files[-1].content)["web"]["address"] == "192.0.2.7"


def test_of_one_that_is_off_the_air_nobody_is_sent_on() -> None:
    assert grants(render(moved(forward=FORWARD, digests={}), {})) == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"address": "n2.example.net"}, "forward.address"),
        ({"address": "192.0.2.7/live"}, "forward.address"),
        ({"node": None}, "forward.node"),
        ({"node": ""}, "forward.node"),
        ({"stream_host": "a b"}, "forward.stream_host"),
        ({"stream_host": None}, "forward.stream_host"),
        ({"host_ports": {"RTMP": 0}}, "forward.host_ports"),
        ({"host_ports": {"RTMP": True}}, "forward.host_ports"),
        ({"host_ports": {}}, "forward.host_ports"),
    ],
)
def test_a_place_that_cannot_be_is_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RenderError) as refused:
        render(moved(forward={**FORWARD, **change}), {})
    assert refused.value.field == field


@pytest.mark.parametrize("digest", ["../x", "A" * 64, None, "a" * 63])
def test_what_is_no_digest_is_no_name_of_a_file(digest: object) -> None:
    with pytest.raises(RenderError) as refused:
        render(moved(forward=FORWARD, digests={"stream_key": [{"digest": digest, "expires": None}]}), {})
    assert refused.value.field == "digests.stream_key"
