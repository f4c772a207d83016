"""What a scratch host is told of the host whose backup is rehearsed: nothing that leads into production.

tests/live/test_restore_rehearsal.py rehearses one. Tests playbooks: restore_rehearsal.yml.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import forked_ansible

# Most run Ansible.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
#: All of these would reach somebody, or would be what a vendor licenses for one host.
PRODUCTION = {
    "streamfleet_panel_host": "panel.example.net",
    "streamfleet_stream_host": "audio1.example.net",
    "streamfleet_panel_email_host": "mail.example.net",
    "streamfleet_panel_email_password": "of-the-mail-server",
    "streamfleet_panel_admin_password": "of-the-administrator",
    "streamfleet_panel_settings": {"SENTRY": "https://errors.example.net"},
    "streamfleet_certificates_source": "acme",
    "streamfleet_certificates_acme_eab_hmac": "of-the-directory",
    "streamfleet_former_panel_hosts": [{"host": "old.example.net", "until": "2099-01-01"}],
    "streamfleet_worker_database_url": "postgres://db1.example.net/streamfleet",
    "streamfleet_flussonic_licence_key": "of-one-host",
    "streamfleet_backup_repository": "rest:https://{{ inventory_hostname }}@backup1.example.net/",
    "streamfleet_backup_password": "kept-elsewhere",
    "streamfleet_backup_prune": True,
    "streamfleet_backup_schedule": "*-*-* 02:00:00",
    "streamfleet_node_address": "10.1.2.3",
    "ansible_host": "192.0.2.1",
    "ansible_user": "of-production",
}
GROUPS = ("streamfleet_panel", "streamfleet_nodes", "icecast", "autodj", "relay", "flussonic", "hardening", "backup")


def told(folder: Path, names: list[str], *hosts: dict[str, Any]) -> list[dict[str, Any]]:
    """These variables of the playbook, as it sees them on the scratch host for each of these hosts of production."""
    members = {f"audio{number}": PRODUCTION | more for number, more in enumerate(hosts, 1)}
    children: dict[str, Any] = {group: {"hosts": {name: {} for name in members}} for group in GROUPS}
    children["streamfleet_panel"] = {"hosts": members}
    children["rehearsal"] = {"hosts": {"scratch1": {"ansible_host": "192.0.2.9", "ansible_user": "deploy"}}}
    return shown(folder, children, names, *({"__streamfleet_rehearsal_of": name} for name in members))


def shown(folder: Path, children: dict[str, Any], names: list[str], *cases: dict[str, Any]) -> list[dict[str, Any]]:
    """These variables of the playbook, as it sees them on the scratch host with these groups, and with each case's
    facts, one after the other, in one run."""
    (folder / "hosts.json").write_text(json.dumps({"all": {"children": children}}))
    wanted = "{{ {" + ", ".join(f"'{name}': {name}" for name in names) + "} | to_json }}"
    tasks: list[dict[str, Any]] = []
    for facts in cases:
        tasks += [
            {"ansible.builtin.set_fact": {"__streamfleet_rehearsal_begun": "2026-11-28T02:00:00Z"} | facts},
            {"ansible.builtin.debug": {"msg": f"TOLD {wanted} TOLD"}},
        ]
    play = {
        "hosts": "rehearsal",
        "gather_facts": False,
        "vars_files": [str(ROOT / "playbooks/vars/restore_rehearsal.yml")],
        "tasks": tasks,
    }
    # Beside the playbooks is the registry of engines.
    (folder / "playbooks").mkdir(exist_ok=True)
    (folder / "playbooks/play.yml").write_text(yaml.safe_dump([play]))
    if not (folder / "engines.yml").exists():
        (folder / "engines.yml").symlink_to(ROOT / "engines.yml")
    done = forked_ansible.playbook(["-i", str(folder / "hosts.json"), str(folder / "playbooks/play.yml")])
    assert done.returncode == 0, done.stdout + done.stderr
    messages = [
        yaml.safe_load(part.split("\n\n")[0])["msg"]
        for part in done.stdout.split("ok: [scratch1] =>")[1:]
        if "TOLD" in part
    ]
    found = [json.loads(message.split("TOLD")[1]) for message in messages]
    assert len(found) == len(cases)
    return found


VARIABLES, MEMBER = "__streamfleet_rehearsal_variables", "__streamfleet_rehearsal_groups"


def test_nothing_leads_into_production(tmp_path: Path) -> None:
    (found,) = told(tmp_path, [VARIABLES, MEMBER], {"streamfleet_panel_database_url": "sqlite:////elsewhere"})
    variables = found[VARIABLES]
    assert (variables["ansible_host"], variables["ansible_user"]) == ("192.0.2.9", "deploy")
    assert variables["streamfleet_panel_host"] == "rehearsal.panel.example.net"
    assert variables["streamfleet_stream_host"] == "rehearsal.audio1.example.net"
    assert variables["streamfleet_certificates_source"] == "authority"
    assert (variables["streamfleet_backup_prune"], variables["streamfleet_node_address"]) == (False, "127.0.0.1")
    assert variables["streamfleet_backup_schedule"].startswith("2100-")
    # The backup itself is the one thing that is taken from there.
    assert variables["streamfleet_backup_repository"] == "rest:https://audio1@backup1.example.net/"
    assert variables["streamfleet_backup_password"] == "kept-elsewhere"
    text = json.dumps(variables)
    for value in ("mail.example", "of-", "errors.example", "old.example", "db1.", '192.0.2.1"', "10.1.2.3", "else/"):
        assert value not in text, value
    assert found[MEMBER] == ["streamfleet_panel", "backup", "streamfleet_nodes", "icecast", "autodj"]


def kept_by(groups: Sequence[str]) -> set[str]:
    """Folders and files that the backup of a host in these groups has, as wiring.yml puts them together."""
    found = set()
    for role in ["certificates", *groups]:
        said, spec = ROOT / f"roles/{role}/vars/main.yml", ROOT / f"roles/{role}/engine/spec.yml"
        if said.exists():
            items = yaml.safe_load(said.read_text()).get(f"_streamfleet_{role}_backup") or []
            found |= {path for item in items for path in item["paths"]}
        if spec.exists():
            paths = {re.sub("/[^/]*[{].*", "", path) for path in yaml.safe_load(spec.read_text())["backup"]}
            found |= {path for path in paths if not path.startswith("/etc/streamfleet/instances")}
    return found


def test_all_that_a_host_keeps_is_tried_whatever_its_engines(tmp_path: Path) -> None:
    engines = yaml.safe_load((ROOT / "engines.yml").read_text())["engines"]
    mixed = [["nginx_rtmp", "shoutcast2"], ["icecast", "wowza"], ["nginx_rtmp", "icecast_kh", "autodj"]]
    alone = [["icecast_kh", "autodj", "relay"], ["icecast", "relay"], ["shoutcast2", "file_transfer"]]
    told = [*([name] for name in engines), *mixed, *alone, [*engines, "autodj", "relay", "file_transfer"]]
    hosts = {f"node{number}": groups for number, groups in enumerate(told)}
    children: dict[str, Any] = {"rehearsal": {"hosts": {"scratch1": {}}}, "streamfleet_panel": {"hosts": {"p1": {}}}}
    for host, groups in hosts.items():
        for group in ["backup", "streamfleet_nodes", *groups]:
            children.setdefault(group, {"hosts": {}})["hosts"][host] = {}
    cases = [{"__streamfleet_rehearsal_of": host} for host in hosts]
    plays, kept = "__streamfleet_rehearsal_played", "__streamfleet_rehearsal_left_out"
    found = shown(tmp_path, children, [MEMBER, plays, kept], *cases)
    for (host, groups), made in zip(hosts.items(), found, strict=True):
        assert kept_by(groups) <= kept_by(made[MEMBER]), host
        # The panel takes no engine from a node whose services need it.
        assert set(groups) & set(engines) <= {*made[MEMBER], *made[kept]}, host
        assert made[plays] == [name for name in ("icecast", "nginx_rtmp") if name in groups], host
        assert not ({"relay", *engines} - {"icecast", "nginx_rtmp"}) & set(made[MEMBER]), host


def test_a_server_of_the_database_is_its_own(tmp_path: Path) -> None:
    databases = {"streamfleet_panel_database_install": True}, {"streamfleet_panel_database_url": "postgres://db1/x"}
    for found in told(tmp_path, [VARIABLES], *databases):
        assert found[VARIABLES]["streamfleet_panel_database_install"] is True
        assert "streamfleet_panel_database_url" not in found[VARIABLES]


def backed_up(**hosts: dict[str, Any]) -> dict[str, Any]:
    """Groups with these hosts and a scratch host; a host with a ``database`` is a panel's."""
    return {
        "backup": {"hosts": hosts},
        "streamfleet_panel": {
            "hosts": {name: {} for name, host in hosts.items() if "streamfleet_panel_database_url" in host}
        },
        "rehearsal": {"hosts": {"scratch1": {"ansible_host": "192.0.2.9"}}},
    }


def rehearsed(when: int | None, repository: str = "rest:https://backup1.example.net/", **more: Any) -> dict[str, Any]:
    """A host whose last rehearsal was then."""
    stat = {"exists": False} if when is None else {"exists": True, "mtime": when}
    return {"__streamfleet_rehearsal_before": {"stat": stat}, "streamfleet_backup_repository": repository, **more}


def test_a_host_that_would_be_refused_does_not_keep_others_from_their_turn(tmp_path: Path) -> None:
    hosts = {
        "on_its_disk": rehearsed(None, "/srv/backup"),
        "mariadb": rehearsed(None, streamfleet_panel_database_url="mysql://db1/x"),
        "away": {"__streamfleet_rehearsal_before": {"unreachable": True}, "streamfleet_backup_repository": "rest:x"},
        "unknown": {"streamfleet_backup_repository": "rest:x"},
        "later": rehearsed(20),
        "earlier": rehearsed(10, streamfleet_panel_database_url="postgres://db1/x"),
        "played": rehearsed(5, streamfleet_panel_database_url="postgres://db1/x"),
    }
    asked = "__streamfleet_rehearsal_asked"
    for names, player, turn in (
        (list(hosts), False, "earlier"),
        (list(hosts), True, "played"),
        (["on_its_disk", "away"], True, "on_its_disk"),
        (["unknown"], True, ""),
    ):
        groups = backed_up(**{name: hosts[name] for name in names})
        groups["icecast"] = {"hosts": {name: {} for name in ("played", "later") if name in names}}
        # A program that is not there has no rc, or another than 0.
        answers = {"results": [{"rc": 0}, {"rc": 0} if player else {"msg": "No such file or directory"}]}
        facts = {"__streamfleet_rehearsal_players": answers}
        assert shown(tmp_path, groups, [asked], facts) == [{asked: turn}]


#: What is on the scratch host, what an earlier rehearsal has written down, the host that is asked for, what is refused.
FOREIGN: list[tuple[list[str], dict[str, Any] | None, str, list[str]]] = [
    ([], None, "postgres", []),
    (["/etc/streamfleet"], None, "sqlite", ["/etc/streamfleet"]),
    (["/etc/streamfleet", "/var/lib/streamfleet"], {"groups": [], "database_install": False}, "sqlite", []),
    (["/etc/postgresql"], None, "sqlite", []),
    (["/etc/postgresql"], None, "postgres", ["/etc/postgresql"]),
    (["/etc/postgresql"], {"groups": [], "database_install": False}, "postgres", ["/etc/postgresql"]),
    (["/etc/postgresql"], {"groups": [], "database_install": True}, "postgres", []),
]


def test_what_no_rehearsal_has_made_is_not_removed(tmp_path: Path) -> None:
    paths = ("/etc/streamfleet", "/var/lib/streamfleet", "/etc/postgresql")
    cases = [
        {
            "__streamfleet_rehearsal_of": host,
            "__streamfleet_rehearsal_there": {
                "results": [{"item": path, "stat": {"exists": path in there}} for path in paths]
            },
            "__streamfleet_rehearsal_mark": {"msg": "File not found"}
            if left is None
            else {"content": base64.b64encode(json.dumps(left).encode()).decode()},
        }
        for there, left, host, _foreign in FOREIGN
    ]
    groups = backed_up(
        sqlite=rehearsed(1, streamfleet_panel_database_url="sqlite:////x"),
        postgres=rehearsed(1, streamfleet_panel_database_url="postgres://db1/x"),
    )
    name = "__streamfleet_rehearsal_foreign"
    assert [found[name] for found in shown(tmp_path, groups, [name], *cases)] == [case[-1] for case in FOREIGN]


def test_a_scratch_host_that_is_lost_is_told_as_a_failure(tmp_path: Path) -> None:
    name = "__streamfleet_rehearsal_ended"
    so_far = {"host": "audio1", "succeeded": True, "why": "", "compared": 12, "equal": 12}
    result = so_far | {"on": "scratch1"}
    # Facts stay: each case comes after the one before.
    cases: list[dict[str, Any]] = [
        {"__streamfleet_rehearsal_of": "audio1"},
        {"__streamfleet_rehearsal_so_far": so_far},
        {"__streamfleet_rehearsal_result": result},
    ]
    early, late, whole = (found[name] for found in shown(tmp_path, backed_up(audio1=rehearsed(1)), [name], *cases))
    assert (early["host"], early["on"], early["succeeded"]) == ("audio1", "scratch1", False)
    assert "scratch1 was lost in the middle" in early["why"]
    assert early["begun"] == "2026-11-28T02:00:00Z" < early["ended"]
    assert (late["succeeded"], late["compared"]) == (False, 12)
    assert "lost while what was put back was removed" in late["why"]
    assert whole == result


#: What ansible-playbook prints of a run that has failed.
FAILED_RUN = """
TASK [backup : Restore it] ****
[ERROR]: Task failed: Module failed: restore failed, phase compare: it is damaged
Origin: /srv/streamfleet/roles/backup/tasks/restore.yml:1:3
fatal: [audio1]: FAILED! => {"changed": false, "msg": "restore failed, phase compare: it is damaged"}

PLAY RECAP ****
audio1                     : ok=8    changed=0    unreachable=0    failed=1    skipped=0    rescued=0    ignored=0
"""


def test_why_one_has_failed_is_told_in_a_sentence(tmp_path: Path) -> None:
    faults, failure = "__streamfleet_rehearsal_faults", "__streamfleet_rehearsal_failure"
    checked = {"action": "ansible.builtin.assert", "name": "Check that a rehearsal can begin"}
    done = {"action": "ansible.builtin.apt", "name": "Have the program that loads the fence"}
    results = [{"msg": "All assertions passed"}, {"failed": True, "msg": "It is not empty."}]
    cases: list[dict[str, Any]] = [
        {"ran": {"stdout_lines": FAILED_RUN.splitlines(), "stderr": ""}, "of": checked, "said": {"results": results}},
        {"ran": {"stdout_lines": ["Killed"]}, "of": done, "said": {"failed": True, "msg": "No package."}},
        {"ran": {}, "of": done, "said": {"failed": True}},
    ]
    names = {"ran": "__streamfleet_rehearsal_ran", "of": "ansible_failed_task", "said": "ansible_failed_result"}
    facts = [{names[key]: value for key, value in case.items()} for case in cases]
    found = shown(tmp_path, backed_up(audio1=rehearsed(1)), [faults, failure], *facts)
    assert [(case[faults], case[failure]) for case in found] == [
        (["restore failed, phase compare: it is damaged"], "It is not empty."),
        (["Killed"], "Have the program that loads the fence: No package."),
        ([], "Have the program that loads the fence: its output is hidden, since secrets are in it"),
    ]


def commands(tasks: str) -> dict[str, list[str]]:
    """Name → argv of the tasks of a file that run a command, those in blocks, too."""
    found: dict[str, list[str]] = {}

    def look(steps: Sequence[dict[str, Any]]) -> None:
        for step in steps:
            if "ansible.builtin.command" in step:
                found[step["name"]] = step["ansible.builtin.command"].get("argv", [])
            for part in ("block", "rescue", "always"):
                look(step.get(part, []))

    look(yaml.safe_load((ROOT / "playbooks/tasks" / tasks).read_text()))
    return found


def test_a_run_lets_go_of_the_scratch_host_only_where_it_has_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    have = commands("restore_rehearsal.yml")["Have the scratch host"]
    let_go = commands("restore_rehearsal_end.yml")["Let others have the scratch host"]
    assert let_go[:2] == ["rmdir", "--parents"]

    def run(argv: list[str], *more: str) -> tuple[int, str]:
        done = subprocess.run([*argv, *more], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.strip()

    def take(name: str) -> tuple[int, str]:
        return run(have[:-2], str(lock), name)

    assert take("one") == (0, "")
    assert take("two") == (3, "one")
    assert run(let_go[:2], "lock/two")[0] == 1
    assert take("two") == (3, "one")
    # It is taken over: the end of the first leaves it to the second.
    shutil.rmtree(lock)
    assert take("two")[0] == 0
    assert run(let_go[:2], "lock/one")[0] == 1
    assert (lock / "two").is_dir()
    assert run(let_go[:2], "lock/two")[0] == 0
    assert not lock.exists()
    (tmp_path / "lock").write_text("")
    assert take("three")[0] == 1


def test_while_one_works_the_last_success_does_not_stand(tmp_path: Path) -> None:
    name, newest = "__streamfleet_rehearsal_working", "__streamfleet_rehearsal_of_newest"
    cases = [{"__streamfleet_rehearsal_of": "audio1"}, {"rehearsal_snapshot": "7c1f2a90"}]
    found, older = shown(tmp_path, backed_up(audio1=rehearsed(1)), [name, newest], *cases)
    assert (found[name]["succeeded"], found[name]["running"], found[name]["on"]) == (False, True, "scratch1")
    # What the watchdog's figures read.
    assert found[name]["ended"] == "2026-11-28T02:00:00Z"
    assert (found[newest], older[newest]) == (True, False)
    block = yaml.safe_load((ROOT / "playbooks/tasks/restore_rehearsal.yml").read_text())[-1]["block"]
    places = [step["name"] for step in block if name in json.dumps(step)]
    names = [step["name"] for step in block]
    assert len(places) == 1
    assert names.index("Remember that it has begun") < names.index(places[0]) < names.index("Restore it")


def test_the_scratch_host_is_come_to_as_this_run_does(tmp_path: Path) -> None:
    groups = backed_up(audio1=rehearsed(1))
    groups["rehearsal"]["hosts"]["scratch1"]["ansible_port"] = 2222
    facts = {
        "__streamfleet_rehearsal_of": "audio1",
        "__streamfleet_rehearsal_connected": {"ansible_user": "by-option", "ansible_private_key_file": "/keys/one"},
        "__streamfleet_rehearsal_worker_keys": ["ssh-ed25519 AAAA of-the-scratch-host"],
    }
    (found,) = shown(tmp_path, groups, [VARIABLES], facts)
    variables = found[VARIABLES]
    assert (variables["ansible_port"], variables["streamfleet_node_ssh_port"]) == (2222, 2222)
    assert (variables["ansible_user"], variables["ansible_private_key_file"]) == ("by-option", "/keys/one")
    assert variables["streamfleet_converge_public_keys"] == ["ssh-ed25519 AAAA of-the-scratch-host"]


def test_who_owns_what_an_acme_client_keeps_is_there_before_the_restore() -> None:
    task = yaml.safe_load((ROOT / "playbooks/tasks/restore_rehearsal.yml").read_text())[-1]
    shared = yaml.safe_load((ROOT / "playbooks/vars/restore_rehearsal.yml").read_text())
    certificates = yaml.safe_load((ROOT / "roles/certificates/vars/main.yml").read_text())
    assert shared["__streamfleet_rehearsal_acme_user"] == certificates["_streamfleet_certificates_acme_user"]
    names = [step["name"] for step in task["block"]]
    made = [step["name"] for step in task["block"] if "users" in step.get("streamfleet_host_files", {})]
    assert len(made) == 1
    assert names.index("Mark the host as one for rehearsals") < names.index(made[0]) < names.index("Restore it")


def test_nothing_that_was_restored_runs_without_the_fence(tmp_path: Path) -> None:
    tasks = yaml.safe_load((ROOT / "playbooks/tasks/restore_rehearsal_fence.yml").read_text())
    (put_up,) = [task["streamfleet_host_files"] for task in tasks if "streamfleet_host_files" in task]
    contents = {file["path"]: file["content"] for file in put_up["files"]}
    unit = contents["/etc/systemd/system/{{ __streamfleet_rehearsal_unit }}"]
    # Stopping the unit leaves the rules: only the end of a rehearsal takes them down.
    assert "ExecStop" not in unit
    of_all = contents["{{ __streamfleet_rehearsal_all }}"].splitlines()
    assert {"Requires={{ __streamfleet_rehearsal_unit }}", "After={{ __streamfleet_rehearsal_unit }}"} <= set(of_all)
    names = [path.parts[-2].removesuffix(".service.d") for path in map(Path, contents) if path.name == "rehearsal.conf"]
    shared = yaml.safe_load((ROOT / "playbooks/vars/restore_rehearsal.yml").read_text())
    assert names == shared["__streamfleet_rehearsal_knowing"]
    # All that is put there is taken away again.
    all_of, restore, every = (f"__streamfleet_rehearsal_{name}" for name in ("all", "restore", "drop_ins"))
    (known,) = shown(tmp_path, backed_up(audio1=rehearsed(1)), [every], {})
    written = [path for path in contents if path.endswith("/rehearsal.conf")]
    assert known[every] == [shared[all_of], shared[restore], *written]
    worker = contents["/etc/systemd/system/streamfleet-worker.service.d/rehearsal.conf"]
    assert ":/etc/streamfleet/worker/id_ed25519\n" in worker
    (held,) = [task["streamfleet_units"]["units"] for task in tasks if "streamfleet_units" in task]
    assert held[0]["pending"] == "reload"
