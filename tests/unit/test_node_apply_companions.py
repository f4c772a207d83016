"""Services with several instances: what happens to an AutoDJ beside its station, and never to anybody else."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from streamfleet.node_apply import apply as module
from streamfleet.node_apply import files
from streamfleet.node_apply.apply import Options
from streamfleet.node_apply.payload import decode, encode

from action_plugins import streamfleet_converge as action
from tests.doubles.node import NodeDouble
from tests.doubles.panel import autodj, dj, document, playlist, relay, station

A, B = ("rock-fm", 200001, 8100), ("jazz-fm", 200002, 8101)
UNIT = "streamfleet-autodj@rock-fm.service"
DJ = "streamfleet-autodj@"


@pytest.fixture
def node(tmp_path: Path) -> NodeDouble:
    return NodeDouble(tmp_path)


def apply(node: NodeDouble, generation: int, *services: dict[str, Any], **options: Any) -> dict[str, Any]:
    """As streamfleet_converge does it: all instances of a document, or the faults of those that cannot be rendered."""
    host = options.pop("host", None) or node.host()
    doc = document("n1", generation, *services)
    instances, failed = action.render_all(doc)
    secrets = action.secrets_of(doc)
    whole = {"epoch": "epoch-1", "generation": generation, "services": instances, "failed": failed, "secrets": secrets}
    return module.apply(host, decode(encode(whole)), Options(**options))


def with_autodj(*changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    settings = {**autodj(), **(changes[0] if changes else {})}
    return station(*A, settings=settings, **more)


def test_an_autodj_comes_beside_its_station_and_disturbs_nobody(node: NodeDouble) -> None:
    apply(node, 1, station(*A), station(*B))
    icecast, other = node.unit("rock-fm"), node.unit("jazz-fm")
    result = apply(node, 2, with_autodj(), station(*B))
    assert result["services"]["rock-fm"] == {
        "state": "running",
        "message": "",
        "generation": 1,
        "changed": True,
        "actions": ["reload", "autodj start"],
    }
    assert node.running(DJ) == {"rock-fm"}
    assert node.units[UNIT]["user"] == "sf200001"
    assert (node.unit("rock-fm")["starts"], node.unit("rock-fm")["reloads"]) == (icecast["starts"], 1)
    assert node.unit("jazz-fm") == other
    assert (node.root / "var/lib/streamfleet/media/200001").is_dir()
    assert not (node.root / "var/lib/streamfleet/media/200002").exists()
    assert result["summary"]["started"] == result["summary"]["reloaded"] == 1
    verbs = [call[1] for call in node.calls if call[0] == "systemctl"]
    assert verbs.index("reload") < verbs.index("start", verbs.index("reload"))
    assert ["systemctl", "daemon-reload"] not in node.calls
    assert not apply(node, 2, with_autodj(), station(*B))["changed"]


@pytest.mark.parametrize(
    ("change", "actions"),
    [
        ({"playlists": [playlist("night", folder="night")]}, []),
        ({"settings": autodj(crossfade_seconds=0, timezone="Europe/Prague", seed=7)}, []),
        ({"name": "Another name"}, ["reload"]),
        ({"credentials": {"autodj_password": "another-secret"}}, ["reload", "autodj restart"]),
        ({"settings": {**autodj(), "mounts": [{"name": "/stream", "format": "opus"}]}}, ["reload"]),
        ({"settings": {**autodj(), "mounts": [{"name": "/a"}, {"name": "/b"}]}}, ["reload"]),
        ({"port": 8200}, ["restart", "autodj restart"]),
        ({"restart": 1}, ["restart", "autodj restart"]),
        ({"state": "suspended"}, ["stop", "autodj stop"]),
        ({"settings": autodj(enabled=False)}, ["reload", "autodj stop"]),
        ({"settings": {"autodj": None}}, ["reload", "autodj stop"]),
    ],
)
def test_a_change_does_what_the_change_matrix_says(
    node: NodeDouble, change: dict[str, Any], actions: list[str]
) -> None:
    before = with_autodj()
    apply(node, 1, before, station(*B))
    other = node.unit("jazz-fm")
    changed = {**before, **{key: change[key] for key in change if not isinstance(change[key], dict)}}
    for key in ("settings", "credentials"):
        changed[key] = {**before[key], **change.get(key, {})}
    predicted = apply(node, 2, changed, station(*B), check=True)
    result = apply(node, 2, changed, station(*B))
    assert result["services"]["rock-fm"]["actions"] == actions
    assert result["services"]["rock-fm"]["state"] == change.get("state", "running")
    assert predicted["services"] == result["services"]
    assert result["services"]["jazz-fm"]["changed"] is False
    assert node.unit("jazz-fm") == other
    assert not apply(node, 2, changed, station(*B))["changed"]


def test_an_autodj_that_is_taken_away_leaves_its_data_and_nothing_else(node: NodeDouble) -> None:
    apply(node, 1, station(*A))
    clean = node.files()
    apply(node, 2, with_autodj())
    history = node.root / "var/lib/streamfleet/services/rock-fm/autodj/history.jsonl"
    history.parent.mkdir(parents=True)
    history.write_text("{}\n")
    track = node.root / "var/lib/streamfleet/media/200001/a.mp3"
    track.write_bytes(b"x")
    result = apply(node, 3, station(*A), diff=True)
    assert node.files() == clean
    assert node.running(DJ) == set()
    assert not (node.root / "etc/streamfleet/instances/autodj/rock-fm").exists()
    assert "autodj-rock-fm-secret" not in json.dumps(result)
    assert history.exists()
    assert track.exists()
    assert not apply(node, 3, station(*A))["changed"]


def test_a_purged_service_takes_its_autodj_and_not_the_media(node: NodeDouble) -> None:
    apply(node, 1, with_autodj(), station(*B))
    track = node.root / "var/lib/streamfleet/media/200001/a.mp3"
    track.write_bytes(b"x")
    (node.root / "var/lib/streamfleet/services/rock-fm/autodj").mkdir(parents=True)
    apply(node, 2, with_autodj(state="deleted"), station(*B))
    assert node.running(DJ) == set()
    result = apply(node, 3, station(*B))
    assert result["purged"] == ["rock-fm"]
    assert not [path for path in node.root.rglob("*") if "rock-fm" in path.name]
    assert "sf200001" not in (node.root / "etc/passwd").read_text()
    assert track.exists()
    assert not apply(node, 3, station(*B))["changed"]


def test_a_service_that_nobody_names_is_told_once(node: NodeDouble) -> None:
    apply(node, 1, with_autodj(), station(*B))
    result = apply(node, 2, station(*B))
    assert result["unknown"] == ["rock-fm"]
    assert node.running(DJ) == {"rock-fm"}


def test_a_fault_of_the_autodj_fails_its_service_by_name(node: NodeDouble) -> None:
    (node.root / "etc/systemd/system/streamfleet-autodj@.service").unlink()
    result = apply(node, 1, with_autodj(), station(*B))
    told = result["services"]["rock-fm"]
    assert told["state"] == "failed"
    assert told["message"].startswith("autodj: ")
    assert UNIT in told["message"]
    assert result["summary"]["failed"] == 1
    # The station itself is on the air.
    assert node.running() == {"rock-fm", "jazz-fm"}
    (node.root / "etc/systemd/system/streamfleet-autodj@.service").write_text("[Service]\n")
    result = apply(node, 1, with_autodj(), station(*B))
    assert result["services"]["rock-fm"]["state"] == "running"
    assert result["services"]["rock-fm"]["actions"] == ["autodj start"]


def test_what_cannot_be_rendered_leaves_the_whole_service_as_it_is(node: NodeDouble) -> None:
    apply(node, 1, with_autodj(), station(*B))
    before = node.files()
    result = apply(node, 2, with_autodj(autodj(timezone="Mars/Olympus"), name="Renamed"), station(*B))
    assert result["services"]["rock-fm"]["message"].startswith("settings.autodj.timezone: 'Mars/Olympus'")
    assert node.files() == before
    assert node.running(DJ) == {"rock-fm"}


def test_a_file_that_is_refused_leaves_the_whole_service_as_it_is(node: NodeDouble) -> None:
    apply(node, 1, with_autodj(), station(*B))
    before = node.files()
    instances, _ = action.render_all(document("n1", 2, with_autodj(name="Renamed"), station(*B)))
    dj = next(instance for instance in instances if instance["key"] == "rock-fm+autodj")
    dj["files"][0]["content"] = "{"
    whole = {"epoch": "epoch-1", "generation": 2, "services": instances}
    result = module.apply(node.host(), decode(encode(whole)), Options())
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert "JSON" in result["services"]["rock-fm"]["message"]
    assert node.files() == before


@pytest.mark.parametrize("full", ["icecast/rock-fm/icecast.xml", "autodj/rock-fm/playlists.json"])
def test_a_full_disk_leaves_all_of_the_service_as_it_was(
    node: NodeDouble, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    apply(node, 1, with_autodj(), station(*B))
    before = {path: text for path, text in node.files().items() if "rock-fm" in path}
    real = files.stage

    def stage(host: Any, target: Any, sync: bool) -> None:
        real(host, target, sync)
        if target.path.endswith(full):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "stage", stage)
    changed = with_autodj(name="New", playlists=[playlist("p", folder=".")])
    result = apply(node, 2, changed, station(*B, name="New too"))
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert result["services"]["rock-fm"]["message"].count("No space left on device") == 1
    assert {path: text for path, text in node.files().items() if "rock-fm" in path} == before
    assert "New too" in node.unit("jazz-fm")["config"]
    monkeypatch.undo()
    assert apply(node, 2, changed, station(*B))["services"]["rock-fm"]["state"] == "running"


@pytest.mark.parametrize("path", ["/etc", "/var/lib/streamfleet/media", "/var/lib/streamfleet/media/200002"])
def test_a_directory_of_somebody_else_is_refused(node: NodeDouble, path: str) -> None:
    instances, _ = action.render_all(document("n1", 1, with_autodj(), station(*B)))
    dj = next(instance for instance in instances if instance["key"] == "rock-fm+autodj")
    dj["directories"] = [path]
    whole = {"epoch": "epoch-1", "generation": 1, "services": instances}
    result = module.apply(node.host(), decode(encode(whole)), Options())
    assert "is not /var/lib/streamfleet/media/200001" in result["services"]["rock-fm"]["message"]
    assert node.running() == {"jazz-fm"}


def test_a_link_in_place_of_the_media_library_is_not_followed(node: NodeDouble) -> None:
    (node.root / "var/lib/streamfleet/media/200001").symlink_to("/etc")
    result = apply(node, 1, with_autodj())
    assert "is not a directory" in result["services"]["rock-fm"]["message"]


def test_a_move_to_a_taken_port_goes_back_with_its_autodj(node: NodeDouble) -> None:
    apply(node, 1, with_autodj())
    node.turn(taken=[8200])
    moved = with_autodj(port=8200, generation=2)
    result = apply(node, 2, moved)
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert "on the air again" in result["services"]["rock-fm"]["message"]
    assert node.unit("rock-fm")["port"] == 8100
    assert '"port": 8100' in node.units[UNIT]["config"]
    starts = node.units[UNIT]["starts"]
    assert not apply(node, 2, moved)["changed"]
    assert node.units[UNIT]["starts"] == starts
    node.turn(taken=[])
    assert not apply(node, 3, with_autodj(port=8200, generation=3))["changed"]
    apply(node, 4, with_autodj(port=8200, generation=4, restart=1))
    assert '"port": 8200' in node.units[UNIT]["config"]


@pytest.mark.parametrize("point", ["journal", "users", "staged", "committed", "written", "retired", "units", "state"])
def test_a_killed_run_is_finished_whether_the_autodj_comes_or_goes(
    node: NodeDouble, tmp_path: Path, point: str
) -> None:
    steps = (
        (station(*A), station(B[0], B[1], B[2], settings=autodj())),
        (with_autodj(), station(*B)),
        (station(*A), station(B[0], B[1], B[2], settings=autodj())),
    )
    apply(node, 1, *steps[0])
    for generation in (2, 3):
        child = os.fork()
        if child == 0:

            def kill(name: str) -> None:
                if name.startswith(point):
                    os.kill(os.getpid(), signal.SIGKILL)

            apply(node, generation, *steps[generation - 1], host=node.host(kill))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    # The second change takes back what the first one, killed as well, had begun.
    result = apply(node, 3, *steps[2])
    assert {item["state"] for item in result["services"].values()} == {"running"}
    clean = NodeDouble(tmp_path / "never-killed")
    apply(clean, 1, *steps[0])
    assert node.files() == clean.files()
    assert node.running(DJ) == clean.running(DJ) == {"jazz-fm"}
    assert node.running() == {"rock-fm", "jazz-fm"}
    assert not apply(node, 3, *steps[2])["changed"]


def test_djs_are_a_second_instance_that_nothing_else_is_restarted_for(node: NodeDouble) -> None:
    settings = {**autodj(), "live_port": 8150}
    first = station(*A, settings=settings, djs=[dj("anna")])
    result = apply(node, 1, first, station(*B))
    assert result["services"]["rock-fm"]["actions"] == ["start", "autodj start", "live start"]
    assert node.running("streamfleet-live@") == {"rock-fm"}
    again = apply(node, 2, station(*A, settings=settings, djs=[dj("anna", kick=1), dj("bob")]), station(*B))
    assert (again["services"]["rock-fm"]["actions"], again["services"]["rock-fm"]["changed"]) == ([], True)
    written = node.root / "etc/streamfleet/instances/live/rock-fm/djs.json"
    assert [item["username"] for item in json.loads(written.read_text())["djs"]] == ["anna", "bob"]
    gone = apply(node, 3, station(*A), station(*B))
    assert gone["services"]["rock-fm"]["actions"] == ["reload", "autodj stop", "live stop"]
    assert not written.parent.exists()


def test_a_dj_that_cannot_be_leaves_all_of_the_service_as_it_was(node: NodeDouble) -> None:
    settings = {**autodj(), "live_port": 8150}
    apply(node, 1, station(*A, settings=settings, djs=[dj("anna")]))
    wrong = station(*A, name="Another", settings=settings, djs=[dj("anna", password="sp ace in it")])
    result = apply(node, 2, wrong)
    assert result["services"]["rock-fm"]["message"].startswith("djs[0].password: '(hidden)' is not 8 to 64")
    assert "sp ace" not in json.dumps(result)


def test_relays_run_in_a_group_of_their_own_beside_the_tenants_and_nothing_else_does(node: NodeDouble) -> None:
    """What the firewall opens for relays is open to that group's processes."""
    service = station(*A, relays=[relay("network")])
    assert apply(node, 1, service)["services"]["rock-fm"]["state"] == "running"
    units = node.root / "etc/systemd/system"
    dropin = (units / "streamfleet-relay@rock-fm.service.d/10-user.conf").read_text()
    assert dropin.endswith("User=sf200001\nGroup=streamfleet-relay\nSupplementaryGroups=sf200001\n")
    dropin = (units / "streamfleet-icecast@rock-fm.service.d/10-user.conf").read_text()
    assert dropin.endswith("User=sf200001\nGroup=sf200001\n")


def test_a_node_without_that_group_says_what_to_run(node: NodeDouble) -> None:
    groups = node.root / "etc/group"
    groups.write_text(groups.read_text().replace("streamfleet-relay:x:991:\n", ""))
    result = apply(node, 1, station(*A, relays=[relay("network")]), station(*B))
    assert "group streamfleet-relay does not exist on this node: run install.yml for it" in str(
        result["services"]["rock-fm"]["message"]
    )
    assert result["services"]["jazz-fm"]["state"] == "running"


def test_a_service_that_moves_stops_and_is_forwarded_until_it_is_back_or_gone(node: NodeDouble) -> None:
    forward = {"address": "192.0.2.7", "ports": [[8100, 9100]]}
    apply(node, 1, with_autodj(), station(*B))
    other = node.unit("jazz-fm")
    result = apply(node, 2, with_autodj(state="moved", forward=forward), station(*B))
    assert result["services"]["rock-fm"]["state"] == "moved", result
    assert result["services"]["rock-fm"]["actions"] == ["stop", "autodj stop", "forward start"]
    assert (node.running(), node.running(DJ)) == ({"jazz-fm"}, set())
    assert node.running("streamfleet-forward@") == {"rock-fm"}
    route = node.root / "etc/streamfleet/routes/rock-fm.json"
    assert json.loads(route.read_text())["port"] == 8100
    assert not apply(node, 2, with_autodj(state="moved", forward=forward), station(*B))["changed"]
    apply(node, 3, with_autodj(), station(*B))
    assert node.running() == {"jazz-fm", "rock-fm"}
    assert node.running("streamfleet-forward@") == set()
    assert not (node.root / "etc/streamfleet/instances/forward/rock-fm").exists()
    apply(node, 4, with_autodj(state="moved", forward=forward), station(*B))
    apply(node, 5, with_autodj(state="deleted"), station(*B))
    assert node.running("streamfleet-forward@") == set()
    assert not route.exists()
    assert apply(node, 6, station(*B))["purged"] == ["rock-fm"]
    assert node.unit("jazz-fm") == other
