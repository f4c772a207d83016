"""What the relays of a station are on its node, and what of a document is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from streamfleet import guard
from streamfleet.engine import Instance, RenderError, instances_of, load_renderer
from streamfleet.relays import mount_of, password_of

from tests.doubles.panel import autodj, relay, station

ROOT = Path(__file__).resolve().parents[2]
render = load_renderer(ROOT, "relay")
NODE = {"node": "n1", "stream_host": "stream.example.net"}
A = ("rock-fm", 200001, 8100)
OUT: dict[str, Any] = {"direction": "out", "address": "icecast://other.example/live", "password": "very-secret"}


def rendered(*relays: dict[str, Any], **changes: Any) -> Instance:
    (instance,) = instances_of(render(station(*A, relays=list(relays), **changes), NODE))
    return instance


def data_of(*relays: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = json.loads(rendered(*relays, **changes).files[1].content)
    return data


def test_a_station_without_relays_has_no_such_instance() -> None:
    assert render(station(*A), NODE) == []
    without = station(*A)
    del without["relays"]  # a document of an older panel
    assert render(without, NODE) == []


def test_the_instance() -> None:
    instance = rendered(relay("network"))
    assert (instance.key, instance.unit) == ("rock-fm+relay", "streamfleet-relay@rock-fm.service")
    assert (instance.ports, instance.listen, instance.state) == ([8100], [], "running")
    variables = yaml.safe_load((ROOT / "roles/relay/vars/main.yml").read_text())
    assert instance.group == variables["_streamfleet_relay_group"]
    folder = "/etc/streamfleet/instances/relay/rock-fm"
    assert [(file.path, file.group, file.mode, file.kind) for file in instance.files] == [
        (f"{folder}/settings.json", "sf200001", "0640", "config"),
        (f"{folder}/relays.json", "sf200001", "0640", "key"),
    ]
    service = station(*A)
    assert json.loads(instance.files[0].content) == {"port": 8100, "password": password_of(service)}
    assert rendered(relay("network"), state="suspended", reason="unpaid").state == "suspended"


def test_each_relay_knows_both_its_ends() -> None:
    incoming, out = data_of(relay("network"), relay("out", **OUT), credentials={"listener_password": "let-me-in"})
    assert (incoming["mount"], incoming["format"], incoming["listener_password"]) == (mount_of("/stream"), "mp3", None)
    assert (out["mount"], out["listener_password"], out["password"]) == ("/stream", "let-me-in", "very-secret")


def test_it_steps_aside_for_djs_where_there_can_be_some() -> None:
    there = {**autodj(), "live_port": 8150}
    live = "/var/lib/streamfleet/services/rock-fm/live/live.json"
    assert data_of(relay("a"), settings=there)[0]["live"] == live
    assert data_of(relay("a", djs_first=False), settings=there)[0]["live"] is None
    assert data_of(relay("a", **OUT), settings=there)[0]["live"] is None
    assert data_of(relay("a"))[0]["live"] is None
    assert data_of(relay("a"), settings={**autodj(enabled=False), "live_port": 8150})[0]["live"] is None


def test_a_change_of_relays_restarts_nothing() -> None:
    first = rendered(relay("a"))
    same = [
        rendered(relay("a", silence_seconds=30), relay("b", **OUT)),
        rendered(relay("a"), name="Another name"),
        rendered(relay("a"), settings={**autodj(), "live_port": 8150}),
        rendered(relay("a"), credentials={"listener_password": "let-me-in"}),
    ]
    assert {instance.fingerprints["restart"] for instance in same} == {first.fingerprints["restart"]}
    other = rendered(relay("a"), credentials={"admin_password": "another-secret"})
    assert other.fingerprints["restart"] != first.fingerprints["restart"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"address": "http://127.0.0.1:8100/stream"}, "relays[0].address"),
        ({"address": "http://a.example/a\r\nX: y"}, "relays[0].address"),
        ({"address": "icecast://a.example/a"}, "relays[0].address"),
        ({"name": "a/../b"}, "relays[0].name"),
        ({"direction": "sideways"}, "relays[0].direction"),
        ({"mount": "/nowhere"}, "relays[0].mount"),
        ({"username": "a:b"}, "relays[0].username"),
        ({"password": "very-secret\r\n"}, "relays[0].password"),
        ({"silence_seconds": True}, "relays[0].silence_seconds"),
        ({"reconnect_seconds": 0}, "relays[0].reconnect_seconds"),
    ],
)
def test_what_no_panel_would_say_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RenderError) as caught:
        rendered({**relay("a"), **change})
    assert caught.value.field == field
    assert "very-secret" not in f"{caught.value} {caught.value.value}"


def test_what_would_be_in_each_others_way_is_refused() -> None:
    for relays, field in (
        ([relay("a"), relay("a", **OUT)], "relays[1].name"),
        ([relay("a"), relay("b")], "relays[1].mount"),
        ([relay(f"r{number}", **OUT) for number in range(17)], "relays"),
    ):
        with pytest.raises(RenderError) as caught:
            rendered(*relays)
        assert caught.value.field == field
    rendered(relay("a"), relay("b", enabled=False))


def test_the_unit_closes_what_the_guard_does() -> None:
    closed = yaml.safe_load((ROOT / "roles/relay/vars/main.yml").read_text())["_streamfleet_relay_closed"].split()
    networks = set(guard.networks_of(closed))
    assert networks >= set(guard.networks_of([*guard.NOT_PUBLIC_IPV4, *guard.NOT_PUBLIC_IPV6]))
    # All of IPv6 but the one public eighth.
    others = [net for net in networks if net.version == 6 and net.prefixlen <= 3]
    assert sum(net.num_addresses for net in others) + guard.networks_of([guard.PUBLIC_IPV6])[0].num_addresses == 2**128
