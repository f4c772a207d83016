"""What an apply does to a node: against a double of its programs, over a real directory tree."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from streamfleet import durable
from streamfleet.engine import load_renderer
from streamfleet.node_apply import apply as module
from streamfleet.node_apply import files, units
from streamfleet.node_apply.errors import ApplyError
from streamfleet.node_apply.host import Finished
from streamfleet.node_apply.payload import decode, encode
from streamfleet.node_apply.run import Options

from tests.doubles.node import NodeDouble
from tests.doubles.panel import document, station

ROOT = Path(__file__).resolve().parents[2]
render = load_renderer(ROOT, "icecast")

A, B = ("rock-fm", 200001, 8100), ("jazz-fm", 200002, 8101)


@pytest.fixture
def node(tmp_path: Path) -> NodeDouble:
    return NodeDouble(tmp_path)


def payload(doc: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {key: value for key, value in doc.items() if key != "services"}
    services = [render(service, head).as_dict() for service in doc["services"]]
    whole = {"epoch": doc["epoch"], "generation": doc["generation"], "services": services, **more}
    return decode(encode(whole))


def apply(node: NodeDouble, generation: int, *services: dict[str, Any], **options: Any) -> dict[str, Any]:
    host = options.pop("host", None) or node.host()
    more = options.pop("more", {})
    epoch = options.pop("epoch", "epoch-1")
    doc = document("n1", generation, *services, epoch=epoch)
    return module.apply(host, payload(doc, **more), Options(**options))


def test_stations_come_on_air_with_users_of_their_own(node: NodeDouble) -> None:
    result = apply(node, 1, station(*A), station(*B))
    assert result["changed"]
    assert node.running() == {"rock-fm", "jazz-fm"}
    assert node.unit("rock-fm")["user"] == "sf200001"
    assert node.pairs == {(200001, 8100), (200002, 8101)}
    route = json.loads((node.root / "etc/streamfleet/routes/rock-fm.json").read_text())
    assert route == {"port": 8100, "mounts": ["/stream"], "default": "/stream", "max_bitrate_kbps": 128}
    wants = node.root / "etc/systemd/system/streamfleet-instances.target.wants/streamfleet-icecast@rock-fm.service"
    assert str(wants.readlink()) == "../streamfleet-icecast@.service"
    assert result["services"]["rock-fm"] == {
        "state": "running",
        "message": "",
        "generation": 1,
        "changed": True,
        "actions": ["start"],
    }
    assert not [path for path in node.root.rglob("*") if path.name.endswith(durable.SUFFIX)]
    assert ["systemctl", "daemon-reload"] not in node.calls


def test_a_second_apply_changes_nothing_and_runs_next_to_nothing(node: NodeDouble) -> None:
    apply(node, 1, station(*A), station(*B))
    before = node.files()
    node.calls.clear()
    result = apply(node, 1, station(*A), station(*B))
    assert not result["changed"]
    assert node.files() == before
    assert [call[0] for call in node.calls] == ["systemctl", "nft"]
    assert node.unit("rock-fm")["starts"] == 1


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({"name": "Another name"}, "reload"),
        ({"limits": {"max_listeners": 20}}, "reload"),
        ({"credentials": {"source_password": "another-secret"}}, "reload"),
        ({"settings": {"mounts": [{"name": "/stream"}, {"name": "/low"}]}}, "reload"),
        ({"port": 8200}, "restart"),
        ({"restart": 1}, "restart"),
        ({"state": "suspended"}, "stop"),
        ({"state": "deleted"}, "stop"),
        ({"generation": 2}, None),
    ],
)
def test_a_change_touches_its_own_station_only(node: NodeDouble, change: dict[str, Any], action: str | None) -> None:
    apply(node, 1, station(*A), station(*B))
    other = node.unit("jazz-fm")
    result = apply(node, 2, station(*A, **change), station(*B))
    assert result["services"]["rock-fm"]["actions"] == ([action] if action else [])
    assert result["services"]["jazz-fm"]["actions"] == []
    assert not result["services"]["jazz-fm"]["changed"]
    assert node.unit("jazz-fm") == other
    assert ("rock-fm" in node.running()) == (action != "stop")
    assert result["services"]["rock-fm"]["state"] == change.get("state", "running")
    again = apply(node, 2, station(*A, **change), station(*B))
    assert not again["changed"]


def test_a_password_file_is_no_reason_to_reload_twice(node: NodeDouble) -> None:
    first = station(*A, credentials={"listener_password": "first-one"})
    apply(node, 1, first)
    result = apply(node, 2, station(*A, credentials={"listener_password": "second-one"}))
    assert result["services"]["rock-fm"]["changed"]
    assert result["services"]["rock-fm"]["actions"] == []


def test_a_suspended_station_loses_route_port_and_start_at_boot(node: NodeDouble) -> None:
    apply(node, 1, station(*A), station(*B))
    apply(node, 2, station(*A, state="suspended", reason="unpaid"), station(*B))
    paths = node.files()
    assert "etc/streamfleet/routes/rock-fm.json" not in paths
    assert not [path for path in paths if "wants" in path and "rock-fm" in path]
    assert "etc/streamfleet/instances/icecast/rock-fm/icecast.xml" in paths
    assert node.pairs == {(200002, 8101)}
    result = apply(node, 3, station(*A), station(*B))
    assert result["services"]["rock-fm"]["actions"] == ["start"]


def test_only_what_was_deleted_before_is_purged(node: NodeDouble) -> None:
    apply(node, 1, station(*A), station(*B))
    result = apply(node, 2, station(*B))
    assert result["unknown"] == ["rock-fm"]
    assert node.running() == {"rock-fm", "jazz-fm"}
    data = node.root / "var/lib/streamfleet/services/rock-fm"
    data.mkdir()
    (data / "recording.mp3").write_bytes(b"x")
    apply(node, 3, station(*A, state="deleted"), station(*B))
    assert data.is_dir()
    result = apply(node, 4, station(*B))
    assert result["purged"] == ["rock-fm"]
    assert result["services"].keys() == {"jazz-fm"}
    assert not data.exists()
    assert not [path for path in node.root.rglob("*") if "rock-fm" in path.name]
    assert "sf200001" not in (node.root / "etc/passwd").read_text()
    assert not apply(node, 4, station(*B))["changed"]


def test_another_panel_purges_nothing(node: NodeDouble) -> None:
    apply(node, 1, station(*A, state="deleted"), station(*B))
    result = apply(node, 1, station(*B), epoch="epoch-2")
    assert result["purged"] == []
    assert result["unknown"] == ["rock-fm"]
    assert "etc/streamfleet/instances/icecast/rock-fm/icecast.xml" in node.files()


def test_an_older_generation_is_not_applied(node: NodeDouble) -> None:
    apply(node, 5, station(*A))
    result = apply(node, 4, station(*A, state="suspended"))
    assert result["skipped_older"]
    assert not result["changed"]
    assert node.running() == {"rock-fm"}
    # Another database counts anew.
    assert not apply(node, 1, station(*A), epoch="epoch-2")["skipped_older"]


def test_check_mode_predicts_and_writes_nothing(node: NodeDouble) -> None:
    before = node.files()
    predicted = apply(node, 1, station(*A), station(*B, state="suspended"), check=True, diff=True)
    assert node.files() == before
    assert node.running() == set()
    assert list((node.root / "var/lib/streamfleet/node").iterdir()) == []
    assert not (node.root / "run/streamfleet").exists()
    done = apply(node, 1, station(*A), station(*B, state="suspended"))
    keys = ("state", "changed", "actions")
    assert {slug: [item[key] for key in keys] for slug, item in predicted["services"].items()} == {
        slug: [item[key] for key in keys] for slug, item in done["services"].items()
    }


def test_diffs_show_no_secret_old_or_new(node: NodeDouble) -> None:
    old = {"source_password": "old-source-pw", "admin_password": "old-admin-pw", "listener_password": "old-listener-pw"}
    new = {"source_password": "new-source-pw", "admin_password": "new-admin-pw", "listener_password": "new-listener-pw"}
    apply(node, 1, station(*A, credentials=old))
    result = apply(node, 2, station(*A, name="Renamed", credentials=new), diff=True, more={"secrets": [*new.values()]})
    text = json.dumps(result)
    assert "Renamed" in text
    assert "-pw" not in text
    import hashlib

    for value in (old["listener_password"], new["listener_password"]):
        assert hashlib.md5(value.encode()).hexdigest() not in text


# Faults of one service ------------------------------------------------------------------------------------------------


def test_a_taken_port_fails_its_own_station_and_says_why(node: NodeDouble) -> None:
    node.turn(taken=[8100])
    result = apply(node, 1, station(*A), station(*B))
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert "Could not create listener socket on port 8100" in result["services"]["rock-fm"]["message"]
    assert result["services"]["jazz-fm"]["state"] == "running"
    node.turn(taken=[])
    result = apply(node, 1, station(*A), station(*B))
    assert result["services"]["rock-fm"]["state"] == "running"
    assert node.running() == {"rock-fm", "jazz-fm"}


def test_that_somebody_else_listens_is_no_sign_of_life(node: NodeDouble) -> None:
    apply(node, 1, station(*A))
    unit = {**node.unit("rock-fm"), "port": 8109}
    node.turn(units={"streamfleet-icecast@rock-fm.service": unit}, taken=[8100])
    result = apply(node, 2, station(*A, name="New"))
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert "does not listen on port 8100" in result["services"]["rock-fm"]["message"]


def test_a_move_to_a_taken_port_goes_back_on_air_and_is_not_tried_again(node: NodeDouble) -> None:
    apply(node, 1, station(*A), station(*B))
    node.turn(taken=[8200])
    moved = station(*A, port=8200, generation=2)
    result = apply(node, 2, moved, station(*B))
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert "on the air again" in result["services"]["rock-fm"]["message"]
    assert node.running() == {"rock-fm", "jazz-fm"}
    assert node.unit("rock-fm")["port"] == 8100
    assert '"port": 8100' in node.files()["etc/streamfleet/routes/rock-fm.json"]
    starts = node.unit("rock-fm")["starts"]
    again = apply(node, 2, moved, station(*B))
    assert again["services"]["rock-fm"]["state"] == "failed"
    assert not again["changed"]
    assert node.unit("rock-fm")["starts"] == starts
    # Nor for another reason that its generation rises for, such as a host name that was proved.
    node.calls.clear()
    again = apply(node, 3, station(*A, port=8200, generation=3, domains=["radio.example.com"]), station(*B))
    assert again["services"]["rock-fm"]["state"] == "failed"
    assert again["services"]["rock-fm"]["generation"] == 3
    assert {call[1] for call in node.calls if call[0] == "systemctl"} == {"list-units"}
    # It is changed.
    changed = apply(node, 4, station(*A, port=8200, generation=4, name="Another"), station(*B))
    assert changed["services"]["rock-fm"]["state"] == "failed"
    assert "start" in {call[1] for call in node.calls if call[0] == "systemctl"}
    node.turn(taken=[])
    result = apply(node, 5, station(*A, port=8200, generation=5, name="Another", restart=1), station(*B))
    assert result["services"]["rock-fm"]["state"] == "running"
    assert node.unit("rock-fm")["port"] == 8200


def test_two_stations_can_swap_ports(node: NodeDouble) -> None:
    apply(node, 1, station(*A), station(*B))
    result = apply(node, 2, station(A[0], A[1], B[2]), station(B[0], B[1], A[2]))
    assert {item["state"] for item in result["services"].values()} == {"running"}
    assert node.unit("rock-fm")["port"] == B[2]
    assert node.unit("jazz-fm")["port"] == A[2]


def test_a_reload_that_is_refused_is_told_in_the_units_own_words() -> None:
    unit, other = "streamfleet-icecast@rock-fm.service", "streamfleet-icecast@jazz-fm.service"

    class Refusing:
        def run(self, command: list[str], _stdin: str, _timeout: float) -> Finished:
            if command[0] == "journalctl":
                return Finished(0, "the file is not as it should be\n" if command[-1].endswith(unit) else "other\n")
            return Finished(1, err=f"Job for {unit} failed.")

    told = units.act(Refusing(), "reload", [unit, other])  # type: ignore[arg-type]
    said = f"systemd refused: Job for {unit} failed.; last words: the file is not as it should be"
    assert told == {unit: said}


def test_a_broken_file_is_refused_before_it_lands(node: NodeDouble) -> None:
    apply(node, 1, station(*A), station(*B))
    before = node.files()
    doc = payload(document("n1", 2, station(*A, name="New"), station(*B, name="New too")))
    doc["services"][0]["files"][0]["content"] = '<!DOCTYPE x [<!ENTITY a "b">]><icecast>&a;</icecast>'
    result = module.apply(node.host(), doc, Options())
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert "document type" in result["services"]["rock-fm"]["message"]
    path = "etc/streamfleet/instances/icecast/rock-fm/icecast.xml"
    assert node.files()[path] == before[path]
    assert "New too" in node.unit("jazz-fm")["config"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/streamfleet/routes/../tls/x",
        "/etc/streamfleet/panel/panel.env",
        "/etc/streamfleet/instances/icecast/rock-fm/../../../../cron.d/x",
        "etc/streamfleet/routes/x",
        "/etc/streamfleet/routes/a\nb",
    ],
)
def test_a_file_outside_its_places_is_refused(node: NodeDouble, path: str) -> None:
    doc = payload(document("n1", 1, station(*A), station(*B)))
    doc["services"][0]["files"][0]["path"] = path
    before = node.files()
    result = module.apply(node.host(), doc, Options())
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert not [name for name in node.files() if "rock-fm" in name]
    assert node.files()["etc/group"] != before["etc/group"]  # jazz-fm's user came
    assert node.running() == {"jazz-fm"}


def test_a_full_disk_leaves_the_stations_as_they_were(node: NodeDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(node, 1, station(*A), station(*B))
    before = node.files()
    real = files.stage

    def full(host: Any, target: Any, sync: bool) -> None:
        real(host, target, sync)
        if target.path.endswith("rock-fm/icecast.xml"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "stage", full)
    result = apply(node, 2, station(*A, name="New", port=8200), station(*B, name="New too"))
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert "No space left on device" in result["services"]["rock-fm"]["message"]
    after = node.files()
    assert {path: text for path, text in after.items() if "rock-fm" in path} == {
        path: text for path, text in before.items() if "rock-fm" in path
    }
    assert node.unit("rock-fm")["port"] == 8100
    assert "New too" in node.unit("jazz-fm")["config"]
    monkeypatch.undo()
    assert apply(node, 2, station(*A, name="New", port=8200), station(*B))["services"]["rock-fm"]["state"] == "running"


def test_no_journal_no_change(node: NodeDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(node, 1, station(*A), station(*B))
    before = node.files()

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.state, "save", full)
    with pytest.raises(ApplyError, match="nothing was changed") as caught:
        apply(node, 2, station(*A, name="New"), station(*B))
    assert caught.value.services["rock-fm"]["state"] == "failed"
    assert caught.value.services["jazz-fm"]["state"] == "running"
    assert node.files() == before


def test_a_service_that_could_not_be_rendered_stays_as_it_is(node: NodeDouble) -> None:
    apply(node, 1, station(*A), station(*B))
    more = {"failed": {"rock-fm": {"message": "name: too odd", "generation": 2}}}
    result = apply(node, 2, station(*B), more=more)
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert result["unknown"] == []
    assert node.running() == {"rock-fm", "jazz-fm"}
    assert node.pairs == {(200001, 8100), (200002, 8101)}


@pytest.mark.parametrize("state", ["suspended", "over_quota", "disabled", "stopped", "deleted"])
def test_a_service_that_could_not_be_rendered_goes_off_the_air_all_the_same(node: NodeDouble, state: str) -> None:
    apply(node, 1, station(*A), station(*B))
    more = {"failed": {"rock-fm": {"message": "name: too odd", "generation": 2, "state": state}}}
    result = apply(node, 2, station(*B), more=more, check=True)
    assert result["services"]["rock-fm"]["changed"]
    assert node.running() == {"rock-fm", "jazz-fm"}
    result = apply(node, 2, station(*B), more=more)
    told = result["services"]["rock-fm"]
    assert (told["state"], told["message"], told["changed"]) == ("failed", "name: too odd", True)
    assert node.running() == {"jazz-fm"}
    assert node.pairs == {(200002, 8101)}
    assert not [path for path in node.files() if "/etc/streamfleet/" in f"/{path}" and "rock-fm" in str(path)]
    again = apply(node, 2, station(*B), more=more)
    assert not again["changed"]
    if state == "deleted":
        assert apply(node, 3, station(*B))["purged"] == ["rock-fm"]
    else:
        assert apply(node, 3, station(*A), station(*B))["services"]["rock-fm"]["state"] == "running"
        assert node.running() == {"rock-fm", "jazz-fm"}


def test_a_user_of_someone_else_is_not_taken_over(node: NodeDouble) -> None:
    with (node.root / "etc/passwd").open("a") as stream:
        stream.write("backup:x:200001:200001::/:/bin/sh\n")
    result = apply(node, 1, station(*A), station(*B))
    assert "backup" in result["services"]["rock-fm"]["message"]
    assert node.running() == {"jazz-fm"}


def test_a_crashed_station_is_started_again(node: NodeDouble) -> None:
    apply(node, 1, station(*A), station(*B))
    node.crash("rock-fm")
    result = apply(node, 1, station(*A), station(*B))
    assert result["services"]["rock-fm"]["actions"] == ["start"]
    assert node.running() == {"rock-fm", "jazz-fm"}


def test_a_station_that_systemd_keeps_trying_is_not_called_running(node: NodeDouble) -> None:
    node.turn(taken=[8100])
    apply(node, 1, station(*A))
    result = apply(node, 1, station(*A))
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert "port 8100" in result["services"]["rock-fm"]["message"]


def test_without_an_answer_of_systemd_nothing_is_touched(node: NodeDouble) -> None:
    apply(node, 1, station(*A))
    before = node.files()
    host = node.host(run=lambda argv, _stdin, _timeout: Finished(1, err="Failed to connect to bus: Host is down"))
    with pytest.raises(ApplyError, match="Host is down"):
        apply(node, 2, station(*A, name="New"), host=host)
    assert node.files() == before


def test_a_new_owner_restarts_the_station_as_another_user(node: NodeDouble) -> None:
    apply(node, 1, station(*A), station(*B))
    result = apply(node, 2, station("rock-fm", 200009, 8100), station(*B))
    assert result["services"]["rock-fm"]["actions"] == ["restart"]
    assert node.unit("rock-fm")["user"] == "sf200009"
    assert node.unit("jazz-fm")["starts"] == 1


def test_drift_of_files_is_put_right(node: NodeDouble) -> None:
    apply(node, 1, station(*A))
    route = node.root / "etc/streamfleet/routes/rock-fm.json"
    route.write_text("{}")
    assert apply(node, 1, station(*A))["changed"]
    assert "8100" in route.read_text()


def test_a_flushed_firewall_is_loaded_again(node: NodeDouble) -> None:
    (node.root / "etc/streamfleet/nftables").mkdir()
    apply(node, 1, station(*A))
    node.turn(table=False, pairs=[])
    result = apply(node, 1, station(*A))
    assert result["changed"]
    assert node.pairs == {(200001, 8100)}
    assert any("firewall" in warning for warning in result["warnings"])


def test_without_a_firewall_no_tenant_is_started(node: NodeDouble) -> None:
    node.turn(table=False)
    result = apply(node, 1, station(*A))
    assert result["services"]["rock-fm"]["state"] == "failed"
    assert "install.yml" in result["services"]["rock-fm"]["message"]
    assert node.running() == set()


# Being killed, and being several --------------------------------------------------------------------------------------

POINTS = ["journal", "users", "staged", "committed", "written", "firewall", "units", "purged", "state"]


@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_is_killed_is_finished_by_the_next(node: NodeDouble, tmp_path: Path, point: str) -> None:
    first = (
        station(*A),
        station(*B),
        station("old-fm", 200003, 8102, state="deleted"),
        station("gone-fm", 200004, 8103),
    )
    second = (
        station(*A, port=8200),
        station(*B, name="Renamed"),
        station("new-fm", 200005, 8105),
        station("gone-fm", 200004, 8103, state="suspended"),
    )
    apply(node, 1, *first)
    child = os.fork()
    if child == 0:

        def kill(name: str) -> None:
            if name.startswith(point):
                os.kill(os.getpid(), signal.SIGKILL)

        apply(node, 2, *second, host=node.host(kill))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    result = apply(node, 2, *second)
    assert {item["state"] for item in result["services"].values()} == {"running", "suspended"}

    clean = NodeDouble(tmp_path / "never-killed")
    apply(clean, 1, *first)
    apply(clean, 2, *second)
    ours = {path: text for path, text in node.files().items() if not path.startswith("never-killed")}
    assert ours == clean.files()
    assert node.running() == clean.running() == {"rock-fm", "jazz-fm", "new-fm"}
    assert node.pairs == clean.pairs
    assert "Renamed" in node.unit("jazz-fm")["config"]
    assert node.unit("rock-fm")["port"] == 8200
    assert node.unit("jazz-fm")["starts"] == 1
    assert not (node.root / "var/lib/streamfleet/node/journal.json").exists()
    assert not apply(node, 2, *second)["changed"]


def test_a_killed_change_that_is_taken_back_still_reaches_the_station(node: NodeDouble) -> None:
    """Killed after the reload of B, then the panel goes back to A: files and state say A, but the process runs B."""
    apply(node, 1, station(*A))
    child = os.fork()
    if child == 0:

        def kill(name: str) -> None:
            if name == "units":
                os.kill(os.getpid(), signal.SIGKILL)

        apply(node, 2, station(*A, name="Renamed"), host=node.host(kill))
        os._exit(0)
    os.waitpid(child, 0)
    assert "Renamed" in node.unit("rock-fm")["config"]
    apply(node, 3, station(*A))
    assert "Renamed" not in node.unit("rock-fm")["config"]


def test_a_second_converge_waits_and_says_for_whom(node: NodeDouble) -> None:
    lock = node.root / "run/streamfleet/converge.lock"
    lock.parent.mkdir()
    holder = json.dumps({"who": "worker, w@panel1", "pid": 7, "since": "2026-11-24T01:00:00Z"})
    lock.write_text(holder)
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(ApplyError) as caught:
            apply(node, 1, station(*A), lock_timeout=3)
    assert "worker, w@panel1 (process 7) since 2026-11-24T01:00:00Z" in str(caught.value)
    assert node.running() == set()
    # Its holder is gone: what it wrote stands in nobody's way.
    assert apply(node, 1, station(*A), lock_timeout=3)["changed"]


@pytest.mark.parametrize(
    "text", ["", "x", "eA==", "not base64!", "eNqrVkrOSCwqVrJSSs4vzStRsjLUUSpKTc4sKlGyMjLVUUotKlGyMrIEALw2C8g="]
)
def test_a_payload_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ApplyError, match="payload"):
        decode(text)


def test_a_state_file_of_another_release_stops_the_run(node: NodeDouble) -> None:
    apply(node, 1, station(*A))
    state = node.root / "var/lib/streamfleet/node/state.json"
    state.write_text('{"schema": 99}')
    before = node.files()
    with pytest.raises(ApplyError, match="another release"):
        apply(node, 2, station(*A, name="New"))
    assert node.files() == before
