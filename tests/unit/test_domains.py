"""Host names of tenants' own on a node: rendered with their services, a file each, handed from one to another."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from streamfleet import domains
from streamfleet.node_apply import apply as module
from streamfleet.node_apply import files
from streamfleet.node_apply.payload import decode, encode
from streamfleet.node_apply.run import Options

from action_plugins import streamfleet_converge as action
from tests.doubles.node import NodeDouble
from tests.doubles.panel import autodj, document, rtmp_channel, station

A, B, TV = ("rock-fm", 200001, 8100), ("jazz-fm", 200002, 8101), ("rock-tv", 200003)
RADIO, JAZZ, VIDEO = "radio.example.com", "jazz.example.com", "tv.example.com"


@pytest.fixture
def node(tmp_path: Path) -> NodeDouble:
    return NodeDouble(tmp_path)


def apply(node: NodeDouble, generation: int, *services: dict[str, Any], spoil: Any = None, **options: Any) -> Any:
    """As streamfleet_converge does it; ``spoil`` changes what is shipped."""
    doc = document("n1", generation, *services)
    instances, failed = action.render_all(doc)
    host = node.host(options.pop("checkpoint")) if "checkpoint" in options else node.host()
    for instance in instances if spoil else []:
        spoil(instance)
    whole = {"epoch": "epoch-1", "generation": generation, "services": instances, "failed": failed, "secrets": []}
    return module.apply(host, decode(encode(whole)), Options(**options))


def there(node: NodeDouble) -> dict[str, Any]:
    """Name → what stands in its file."""
    folder = node.root / "etc/streamfleet/domains"
    return {path.name.removesuffix(".json"): json.loads(path.read_text()) for path in folder.iterdir()}


@pytest.mark.parametrize(
    "name",
    ["radio.example.com", "xn--rdio-5qa.example", "a.b", "1.2.3.x4", "4radio.fm", "a" * 63 + ".example", "x--y.de"],
)
def test_host_names(name: str) -> None:
    assert domains.problem(name) is None
    assert domains.path_of(name) == f"/etc/streamfleet/domains/{name}.json"


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../etc.passwd", "a/b.example", "localhost", "Radio.example", "radio.example.", ".radio.example",
        "radio..example", "-a.example", "a-.example", "a_b.example", "*.example.com", "a" * 64 + ".example",
        "192.0.2.1", "a.1", "a.1-1", "[::1]", "::1", "rädio.example", "radio.example\n", "radio.example\0",
        "a b.example",
        "radio.example.json/..", None, 7, ["radio.example"], ".".join(["a" * 60] * 4),
    ],
)  # fmt: skip
def test_what_is_no_host_name_is_refused_for_its_service_alone(name: object) -> None:
    instances, failed = action.render_all(document("n1", 1, station(*A, domains=[name]), station(*B, domains=[JAZZ])))
    assert [instance["slug"] for instance in instances] == ["jazz-fm"]
    assert failed["rock-fm"]["message"].startswith("domains: ")
    assert domains.problem(name) is not None


def test_a_name_comes_with_its_service_and_reloads_nothing(node: NodeDouble) -> None:
    services = (station(*A, domains=[RADIO]), station(*B), rtmp_channel(*TV, domains=[VIDEO]))
    apply(node, 1, station(*A), station(*B), rtmp_channel(*TV))
    assert there(node) == {}
    node.calls.clear()
    result = apply(node, 2, *services)
    assert there(node) == {
        RADIO: {"slug": "rock-fm", "uid": 200001, "way": "listen"},
        VIDEO: {"slug": "rock-tv", "uid": 200003, "way": "hls"},
    }
    path = node.root / f"etc/streamfleet/domains/{RADIO}.json"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert {slug: item["actions"] for slug, item in result["services"].items()} == {
        "rock-fm": [], "jazz-fm": [], "rock-tv": [],
    }  # fmt: skip
    assert [slug for slug, item in result["services"].items() if item["changed"]] == ["rock-fm", "rock-tv"]
    assert not [call for call in node.calls if call[:2] in (["systemctl", "reload"], ["systemctl", "restart"])]
    assert not apply(node, 2, *services)["changed"]
    path.write_text("{}")
    assert apply(node, 2, *services)["changed"], "what was changed by hand is put right"
    assert there(node)[RADIO]["slug"] == "rock-fm"


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"domains": []}, False),
        ({"domains": [JAZZ]}, False),
        ({"domains": None}, False),
        ({"state": "suspended"}, False),
        ({"state": "disabled"}, False),
        ({"state": "deleted"}, False),
        ({"state": "stopped"}, True),
        ({"state": "over_quota"}, True),
    ],
)
def test_a_name_goes_with_what_it_leads_to(node: NodeDouble, change: dict[str, Any], kept: bool) -> None:
    apply(node, 1, station(*A, domains=[RADIO]), station(*B))
    apply(node, 2, {**station(*A, domains=[RADIO]), **change}, station(*B))
    assert (RADIO in there(node)) == kept
    apply(node, 3, station(*A, domains=[RADIO]), station(*B))
    assert RADIO in there(node)


def test_a_service_that_cannot_be_rendered_goes_off_with_its_name(node: NodeDouble) -> None:
    apply(node, 1, station(*A, domains=[RADIO]), station(*B))
    apply(node, 2, station(*A, domains=[RADIO], name="a\nb"), station(*B))
    assert RADIO in there(node), "as it was"
    apply(node, 3, station(*A, domains=[RADIO], name="a\nb", state="suspended"), station(*B))
    assert there(node) == {}


def test_of_two_that_claim_a_name_the_first_has_it(node: NodeDouble) -> None:
    result = apply(node, 1, station(*A, domains=[RADIO]), station(*B, domains=[RADIO]))
    assert there(node)[RADIO]["slug"] == "rock-fm"
    assert result["services"]["rock-fm"]["state"] == "running"
    assert result["services"]["jazz-fm"] == {
        "state": "failed",
        "message": f"domains: {RADIO!r} is a name of rock-fm's already: take it out of one of both",
        "generation": 1,
        "changed": False,
        "actions": [],
    }
    twice = apply(node, 3, station(*A, domains=[RADIO, RADIO]))
    assert twice["services"]["rock-fm"]["state"] == "running"


def test_a_name_of_the_nodes_own_is_left_out_and_told(node: NodeDouble) -> None:
    doc = document("n1", 1, station(*A, domains=["old.example.net", RADIO, "stream.example.net"]), station(*B))
    doc["former_stream_hosts"] = ["old.example.net"]
    warnings: list[str] = []
    instances, failed = action.render_all(doc, warnings)
    assert failed == {}
    assert [instance["domains"] for instance in instances if instance["slug"] == "rock-fm"] == [[RADIO]]
    assert warnings == [
        f"rock-fm: domain {name} is a name of the node itself, and does not lead to it"
        for name in ("old.example.net", "stream.example.net")
    ]
    whole = {"epoch": "e", "generation": 1, "services": instances, "failed": {}, "secrets": [], "warnings": warnings}
    result = module.apply(node.host(), decode(encode(whole)), Options())
    assert result["warnings"] == warnings
    assert result["services"]["rock-fm"]["state"] == "running"
    assert list(there(node)) == [RADIO]


@pytest.mark.parametrize("turn", [1, -1])
def test_a_name_passes_from_one_service_to_another_in_one_apply(node: NodeDouble, turn: int) -> None:
    before, after = (A, B)[::turn]
    apply(node, 1, station(*before, domains=[RADIO]), station(*after))
    result = apply(node, 2, station(*before), station(*after, domains=[RADIO]))
    assert {item["state"] for item in result["services"].values()} == {"running"}
    assert there(node)[RADIO]["slug"] == after[0]
    assert not apply(node, 2, station(*before), station(*after, domains=[RADIO]))["changed"]
    apply(node, 3, station(*before), station(*after))
    assert there(node) == {}


def test_a_name_passes_on_though_who_had_it_cannot_be_rendered(node: NodeDouble) -> None:
    apply(node, 1, station(*A, domains=[RADIO]), station(*B))
    apply(node, 2, station(*A, name="a\nb", state="suspended"), station(*B, domains=[RADIO]))
    assert there(node)[RADIO]["slug"] == "jazz-fm"


def test_a_name_that_was_passed_on_does_not_go_back_with_what_does_not_run(node: NodeDouble) -> None:
    apply(node, 1, station(*A, domains=[RADIO]), station(*B))
    node.turn(taken=[8300])
    result = apply(node, 2, station(*A), station("jazz-fm", 200002, 8300, domains=[RADIO]))
    assert result["services"]["jazz-fm"]["state"] == "failed"
    assert there(node)[RADIO]["slug"] == "jazz-fm", "with what it ran with before"
    assert node.running() == {"rock-fm", "jazz-fm"}
    apply(node, 3, station(*A), station("jazz-fm", 200002, 8300))
    assert there(node) == {}


def test_a_lost_name_stays_away_though_its_service_goes_back_to_what_it_ran_with(node: NodeDouble) -> None:
    apply(node, 1, station(*A, domains=[RADIO, JAZZ]))
    node.turn(taken=[8300])
    result = apply(node, 2, station("rock-fm", 200001, 8300, domains=[JAZZ]))
    assert "it is on the air again with its previous configuration" in result["services"]["rock-fm"]["message"]
    assert list(there(node)) == [JAZZ]
    # And what is lost or proved later is, though the configuration is not tried again.
    node.calls.clear()
    result = apply(node, 3, station("rock-fm", 200001, 8300, generation=3, domains=[VIDEO]))
    assert list(there(node)) == [VIDEO]
    assert {call[1] for call in node.calls if call[0] == "systemctl"} == {"list-units"}
    assert (result["services"]["rock-fm"]["state"], result["services"]["rock-fm"]["changed"]) == ("failed", True)
    assert not apply(node, 3, station("rock-fm", 200001, 8300, generation=3, domains=[VIDEO]))["changed"]
    apply(node, 4, station(*A, state="suspended"))
    assert there(node) == {}


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("fault", ["full disk", "bad file", "cannot be rendered"])
def test_a_name_is_who_it_has_passed_to_though_that_service_cannot_be_changed(
    node: NodeDouble, monkeypatch: pytest.MonkeyPatch, fault: str, turn: int
) -> None:
    giver, taker = (A, B)[::turn]
    apply(node, 1, station(*giver, domains=[RADIO]), station(*taker))
    real = files.stage

    def full(host: Any, target: Any, sync: bool) -> None:
        if target.path.endswith(f"{taker[0]}/icecast.xml"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(host, target, sync)

    def spoil(instance: dict[str, Any]) -> None:
        if fault == "bad file" and instance["slug"] == taker[0]:
            instance["files"][0]["content"] = "<icecast"

    if fault == "full disk":
        monkeypatch.setattr(files, "stage", full)
    name = "a\nb" if fault == "cannot be rendered" else "New"
    wanted = (station(*giver), station(*taker, name=name, generation=2, domains=[RADIO]))
    result = apply(node, 2, *wanted, spoil=spoil)
    assert result["services"][taker[0]]["state"] == "failed"
    assert result["services"][giver[0]]["state"] == "running"
    assert there(node)[RADIO]["slug"] == taker[0]
    assert node.running() == {"rock-fm", "jazz-fm"}
    # It is known whose it is: it goes with that service, whatever else is the matter with it.
    apply(node, 3, station(*giver), station(*taker, name=name, generation=3), spoil=spoil)
    assert there(node) == {}


def test_a_name_that_has_gone_goes_though_its_service_cannot_be_rendered(node: NodeDouble) -> None:
    apply(node, 1, station(*A, domains=[RADIO, JAZZ]))
    result = apply(node, 2, station(*A, name="a\nb", domains=[JAZZ]))
    assert list(there(node)) == [JAZZ]
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert result["services"]["rock-fm"]["changed"]


def test_a_new_service_that_cannot_be_made_has_no_names(node: NodeDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(node, 1, station(*B))
    apply(node, 2, station(*A, domains=[RADIO], name="a\nb"), station(*B))
    assert there(node) == {}
    real = files.stage

    def full(host: Any, target: Any, sync: bool) -> None:
        if "rock-fm/" in target.path:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(host, target, sync)

    monkeypatch.setattr(files, "stage", full)
    apply(node, 3, station(*A, domains=[RADIO]), station(*B))
    assert there(node) == {}


@pytest.mark.parametrize("verb", ["stage", "commit"])
def test_a_name_that_cannot_be_written_is_told_and_tried_again(
    node: NodeDouble, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    apply(node, 1, station(*A, domains=[JAZZ]))
    real = getattr(files, verb)

    def full(host: Any, target: Any, *more: Any) -> None:
        if target.path.endswith(f"{RADIO}.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(host, target, *more)

    monkeypatch.setattr(files, verb, full)
    result = apply(node, 2, station(*A, domains=[RADIO, VIDEO]))
    assert result["services"]["rock-fm"]["message"] == (
        f"cannot write /etc/streamfleet/domains/{RADIO}.json: No space left on device"
    )
    assert list(there(node)) == [VIDEO]
    monkeypatch.undo()
    result = apply(node, 2, station(*A, domains=[RADIO, VIDEO]))
    assert result["services"]["rock-fm"]["state"] == "running"
    assert sorted(there(node)) == [RADIO, VIDEO]


@pytest.mark.parametrize("point", ["journal", "committed rock-fm", "named", "written", "units"])
def test_a_kill_at_any_moment_leaves_no_name_that_nobody_takes_away(node: NodeDouble, point: str) -> None:
    apply(node, 1, station(*A), station(*B))

    def kill(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    changed = (station(*A, name="New", domains=[RADIO]), station(*B))
    with pytest.raises(KeyboardInterrupt):
        apply(node, 2, *changed, checkpoint=kill)
    # The name was lost meanwhile.
    apply(node, 3, station(*A, name="New"), station(*B))
    assert there(node) == {}


def test_companions_have_no_names() -> None:
    service = station(*A, domains=[RADIO], settings=autodj())
    instances, _failed = action.render_all(document("n1", 1, service))
    assert {instance["key"]: instance["domains"] for instance in instances} == {
        "rock-fm": [RADIO], "rock-fm+autodj": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domains": ["../../etc/x"], "way": "listen"}, "domain '../../etc/x' is not a host name"),
        ({"domains": [RADIO], "way": "admin"}, "way 'admin' is none of listen, hls"),
    ],
)
def test_the_node_believes_no_payload(node: NodeDouble, change: dict[str, Any], message: str) -> None:
    result = apply(node, 1, station(*A), spoil=lambda instance: instance.update(change))
    assert message in result["services"]["rock-fm"]["message"]
    assert there(node) == {}
    apply(node, 2, station(*A, domains=[JAZZ]))
    apply(node, 3, station(*A), spoil=lambda instance: instance.update(change))
    assert list(there(node)) == [JAZZ], "as it was"


def test_the_node_has_a_name_lead_to_one_service_whatever_it_is_shipped(node: NodeDouble) -> None:
    def spoil(instance: dict[str, Any]) -> None:
        instance.update(domains=[RADIO], way="listen")

    result = apply(node, 1, station(*A), station(*B), spoil=spoil)
    assert there(node)[RADIO]["slug"] == "jazz-fm"
    assert result["services"]["jazz-fm"]["state"] == "running"
    assert result["services"]["rock-fm"]["message"] == (
        f"file /etc/streamfleet/domains/{RADIO}.json belongs to service jazz-fm"
    )
    assert node.running() == {"rock-fm", "jazz-fm"}


def test_check_mode_shows_what_would_come_and_writes_nothing(node: NodeDouble) -> None:
    apply(node, 1, station(*A))
    result = apply(node, 2, station(*A, domains=[RADIO]), check=True, diff=True)
    assert result["changed"]
    assert [entry["after_header"] for entry in result["diff"]] == [f"/etc/streamfleet/domains/{RADIO}.json"]
    assert there(node) == {}


def test_a_node_of_an_earlier_release_says_what_it_needs(node: NodeDouble) -> None:
    (node.root / "etc/streamfleet/domains").rmdir()
    result = apply(node, 1, station(*A, domains=[RADIO]), station(*B))
    assert "run install.yml for this node" in result["services"]["rock-fm"]["message"]
    assert result["services"]["jazz-fm"]["state"] == "running"
