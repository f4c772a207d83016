"""The modules of hosts (_host_files, _units, _firewall and others): as tasks on this machine."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
from pathlib import Path

from tests.contract.playbook import Runner, Step
from tests.doubles.shoutcast2 import pack


def test_files_are_put_in_place_and_secrets_stay_there(runner: Runner, tmp_path: Path) -> None:
    me = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
    place = tmp_path / "etc"
    (tmp_path / "old.js").touch()
    hidden = runner.canary("canary-host-hidden")
    arguments = {
        "directories": [{"path": str(place), "mode": "0750", **me}],
        "files": [
            {"path": f"{place}/secret", "generate": "<secret hex 24>\n", "mode": "0600", **me},
            {"path": f"{place}/shown.conf", "content": "shown\n", **me},
            {"path": f"{place}/hidden.conf", "content": f"password {hidden}\n", "show": False, **me},
            {"path": f"{place}/filled.conf", "content": "key @S@\n", "fill": {"@S@": f"{place}/secret"}, **me},
        ],
        "links": [{"path": f"{tmp_path}/current", "to": str(place)}],
        "leftovers": [{"directory": str(tmp_path), "pattern": "*.js"}],
    }
    outcomes = runner.steps(Step("streamfleet_host_files", arguments))
    check, real = outcomes[0].check, outcomes[0].real
    assert check["paths"] == real["paths"]
    assert real["paths"][0] == str(place)
    assert real["paths"][-1] == f"{tmp_path}/old.js"
    secret = (place / "secret").read_text().strip()
    assert len(secret) == 48
    assert (place / "filled.conf").read_text() == f"key {secret}\n"
    assert (place / "hidden.conf").read_text() == f"password {hidden}\n"
    assert secret not in str(real)
    assert "shown\n" in [part["after"] for part in real["diff"]]


def test_bad_options_name_themselves_and_change_nothing(runner: Runner, tmp_path: Path) -> None:
    files = [{"path": f"{tmp_path}/first", "content": ""}, {"path": "relative", "content": ""}]
    runner.steps(
        Step("streamfleet_host_files", {"files": files}, error="files: 'relative' is not an absolute path"),
        Step(
            "streamfleet_units", {"units": [{"name": "x", "pending": "kill"}]}, error="value of pending must be one of"
        ),
    )
    assert not (tmp_path / "first").exists()


def test_facts_of_this_machine(runner: Runner) -> None:
    outcome = runner.steps(Step("streamfleet_host_facts", {}, changed=False))[0]
    seen = outcome.real["ansible_facts"]["streamfleet_host"]
    assert seen["uid"] == os.getuid()
    assert seen["memory_mb"] > 100


def test_the_doctor_looks_and_changes_nothing(runner: Runner) -> None:
    """This machine is no host of ours: that is all that is asked of what it finds."""
    nobody = {"unit": "streamfleet-none.service", "ports": [1]}
    look = {"servers": [nobody], "open": [{"name": "web", "ports": ["443"]}]}
    outcome = runner.steps(
        Step("streamfleet_doctor", look, changed=False),
        Step("streamfleet_doctor", {"open": [{"name": "web", "ports": ["http"]}]}, error="'http' of web is no port"),
        Step(
            "streamfleet_doctor", {"servers": [{**nobody, "protocol": "x"}]}, error="value of protocol must be one of"
        ),
    )[0]
    assert outcome.real["fixed"] == []
    assert {"check", "subject", "severity", "cause", "evidence", "fix", "safe_fix"} >= {
        name for finding in outcome.real["findings"] for name in finding
    }


def test_a_vendors_file_is_the_one_that_was_meant(runner: Runner, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    meant = {"path": str(path), "checksum": hashlib.sha256(path.read_bytes()).hexdigest(), "option": "x_checksum"}
    runner.steps(
        Step("streamfleet_vendor_file", {**meant, "kind": "program", "machine": "x86_64"}, changed=False),
        Step("streamfleet_vendor_file", {**meant, "checksum": "0" * 64}, error=f"not {'0' * 64} as x_checksum says"),
        Step("streamfleet_vendor_file", {**meant, "kind": "package"}, error="kind is package but all of the following"),
        Step(
            "streamfleet_vendor_file",
            {**meant, "kind": "package", "machine": "x86_64"},
            error="it is not a package of Debian",
        ),
    )


def test_a_vendors_archive_is_looked_into_and_unpacked_once(runner: Runner, tmp_path: Path) -> None:
    module, path, target = "streamfleet_vendor_archive", tmp_path / "archive", tmp_path / "first"
    meant = {"path": str(path), "checksum": pack(path), "program": "sc_serv", "machine": "x86_64"}
    runner.steps(
        Step(module, meant, changed=False),
        Step(
            module, {**meant, "checksum": "0" * 64, "option": "x_checksum"}, error=f"not {'0' * 64} as x_checksum says"
        ),
        Step(module, {**meant, "program": "bin/other"}, error="it holds no bin/other"),
        Step(module, {**meant, "target": str(target)}, changed=True),
        Step(module, {**meant, "target": str(target)}, changed=False),
    )
    assert (target / "sc_serv").is_file()
    assert not path.exists()


def test_a_firewall_is_foretold_and_one_that_cannot_be_is_refused(runner: Runner) -> None:
    web = {"name": "web", "ports": ["80", "443"]}
    wanted = {"open": [web, {"name": "services", "ports": ["10000-19999"]}], "ssh_ports": [2222], "close_others": True}
    foretell = {"name": "foretell", "streamfleet_firewall": wanted, "check_mode": True, "diff": True}
    found = runner.tasks([foretell])["foretell"]
    assert found["changed"]
    assert 2222 in found["ssh_ports"]
    assert 'tcp dport { 80, 443 } accept comment "web"' in found["diff"]["after"]
    runner.steps(
        Step("streamfleet_firewall", {"open": [{"name": "web", "ports": ["http"]}]}, error="'http' is no port"),
        Step("streamfleet_firewall", {**wanted, "ssh_sources": ["here"]}, error="ssh_sources: 'here' is no network"),
    )


def test_a_unit_that_is_not_there(runner: Runner) -> None:
    """Where there is a systemd it says so; a machine without one says that. Both fail, and name what is wrong."""
    name = "streamfleet-none.service"
    failed = runner.tasks([{"name": "x", "streamfleet_units": {"units": [{"name": name}]}, "ignore_errors": True}])["x"]
    assert failed["failed"]
    assert f"unit {name} is not-found on this host" in failed["msg"] or "systemd does not say" in failed["msg"]


#: In place of the program of role backup: a job that ends at the third look.
JOB = """#!/bin/sh
echo "$@" >>{notes}
tell() {{ echo "{{\\"job\\": \\"backup\\", \\"phase\\": \\"store\\", \\"percent\\": 40, $1}}"; }}
case "$(wc -l <{notes}) $3" in
1*|2*) tell '"state": "running", "message": "2 of 5 MB"' ;;
*broken) echo "no such job" >&2; exit 1 ;;
*failed) tell '"state": "failed", "message": "the disk is full"' ;;
*) tell '"state": "succeeded", "message": "", "result": {{"files": 3}}' ;;
esac
"""


def test_a_job_is_waited_for_and_how_it_ended_is_told(runner: Runner, tmp_path: Path) -> None:
    program, notes = tmp_path / "streamfleet-backup", tmp_path / "notes"
    program.write_text(JOB.format(notes=notes))
    program.chmod(0o755)
    wait = {"command": str(program), "job": "backup", "seconds": 0}
    ended = runner.steps(Step("streamfleet_backup_job", {**wait, "id": "good"}, changed=False))[0]
    assert ended.real["status"]["result"] == {"files": 3}
    assert len(notes.read_text().splitlines()) >= 3
    runner.steps(
        Step("streamfleet_backup_job", {**wait, "id": "failed"}, error="backup failed, phase store: the disk is full"),
        Step("streamfleet_backup_job", {**wait, "id": "broken"}, error="no such job"),
        Step("streamfleet_backup_job", {**wait, "job": "dance", "id": "x"}, error="value of job must be one of"),
    )
