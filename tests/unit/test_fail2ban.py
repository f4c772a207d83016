"""Fail2ban's filters on the lines that programs write, made by the programs' own code; DJs' are in test_djs_live.py.

tests/live/test_hardening.py has those of SSH and RTMP on a node with fail2ban itself, tests/live/test_bans.py those of
file transfer, DJs and the panel.
"""

from __future__ import annotations

import configparser
import json
import logging
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from django.contrib.auth.signals import user_login_failed
from streamfleet_panel import journal

from scripts import forked_ansible
from tests.unit.jails import FILTERS, ROOT, accused

FOUR, SIX = "203.0.113.9", "2001:db8::7"


def test_there_is_a_filter_for_what_refuses_in_lines_that_nobody_can_forge() -> None:
    assert set(FILTERS) == {"panel", "nginx_rtmp", "autodj", "file_transfer"}
    for path in FILTERS.values():
        parser = configparser.RawConfigParser()
        parser.read(path)
        assert parser["INCLUDES"]["before"] == "common.conf"
        # No look at what others write.
        assert re.search(r"(_SYSTEMD_UNIT|_SYSTEMD_SLICE)=", parser["Init"]["journalmatch"])


def test_log_ins_that_the_panel_refuses_count(caplog: pytest.LogCaptureFixture) -> None:
    (identifier,) = re.findall(
        r'"login": _told\("([a-z-]+)"\)', (ROOT / "panel/streamfleet_panel/settings.py").read_text()
    )
    caplog.set_level(logging.INFO, journal.LOGIN)
    journal.watch_logins()
    try:
        user_login_failed.send(object, credentials={}, request=SimpleNamespace(META={"REMOTE_ADDR": FOUR}))
    finally:
        user_login_failed.disconnect(dispatch_uid="streamfleet_panel.journal")
    journal.login_refused(SIX, "api")
    lines = [f"p1 {identifier}: {record.getMessage()}" for record in caplog.records]
    assert [accused("panel", line) for line in lines] == [FOUR, SIX]
    for line in lines:
        assert accused("panel", line + "}") is None
        assert accused("panel", line.replace(identifier, "streamfleet-audit")) is None


def rtmp(**variables: str) -> str:
    """A line of the RTMP server's callbacks, by its own format."""
    template = (ROOT / "roles/nginx_rtmp/templates/nginx.conf.j2").read_text()
    (text,) = re.findall(r"log_format streamfleet_publish escape=json\s+'([^']+)';", template)
    (tag,) = re.findall(r"access_log syslog:server=unix:/dev/log,tag=(\w+),", template)
    line = re.sub(r"\$(\w+)", lambda it: variables[it[1]], text)
    return f"n1 {tag}: {line}"


def test_keys_that_are_not_known_count_for_the_encoder() -> None:
    script = (ROOT / "roles/nginx_rtmp/files/publish.js").read_text()
    unknown, moving, busy = re.findall(r"decide\(r, 403, [a-z\']+, '(refused: [^']+)'\)", script)
    refused = {"streamfleet_result": unknown, "streamfleet_slug": "", "arg_clientid": "127"}
    for address in (FOUR, SIX):
        assert accused("nginx_rtmp", rtmp(**refused, arg_addr=address)) == address
        others = {**refused, "streamfleet_slug": "tv", "arg_addr": address}
        for result in ("publishing", moving, busy):
            assert accused("nginx_rtmp", rtmp(**{**others, "streamfleet_result": result})) is None
    # By RTMPS: the encoder is not known.
    assert accused("nginx_rtmp", rtmp(**refused, arg_addr="127.0.0.1")) is None


#: What ProFTPD 1.3.8 puts in for its %a, %s and %u; what a session asked, and whom it counts for.
@pytest.mark.parametrize(
    ("address", "code", "user", "counts"),
    [
        (FOUR, "530", "-", True),
        (SIX, "530", "-", True),
        (FOUR, "331", "-", False),
        (FOUR, "550", "-", False),  # without TLS
        (FOUR, "503", "-", False),  # a password without a name
        (FOUR, "530", "ada.up", False),  # the right password, and too many sessions
        (FOUR, "230", "ada.up", False),
    ],
)
def test_passwords_that_the_file_transfer_server_refuses_count(
    address: str, code: str, user: str, counts: bool
) -> None:
    settings = (ROOT / "roles/file_transfer/templates/proftpd.conf.j2").read_text()
    assert re.findall(r"^ +ExtendedLog (.+)$", settings, re.MULTILINE) == ["syslog:info AUTH login"]
    (text,) = re.findall(r'^LogFormat login "(.+)"$', settings, re.MULTILINE)
    # Nothing that somebody sends who has not logged in.
    assert set(re.findall(r"%(\{[^}]+\}|.)", text)) == {"a", "s", "u"}
    line = text.replace("%a", address).replace("%s", code).replace("%u", user)
    assert accused("file_transfer", f"n1 proftpd[7]: {line}") == (address if counts else None)


def test_names_that_the_file_transfer_server_repeats_are_not_read() -> None:
    """They go to standard error, by which a line of a name is a line of the journal."""
    unit = (ROOT / "roles/file_transfer/templates/streamfleet-file-transfer.service.j2").read_text()
    assert "--nodaemon" in unit
    assert "StandardError=" not in unit
    assert "SystemLog" not in (ROOT / "roles/file_transfer/templates/proftpd.conf.j2").read_text()
    assert "journalmatch = _TRANSPORT=syslog _SYSTEMD_UNIT=" in FILTERS["file_transfer"].read_text()
    forged = f"login {FOUR} 530 -"
    assert accused("file_transfer", f"n1 proftpd[7]: login {SIX} 331 x\n{forged}\n") is None
    assert accused("file_transfer", f"n1 proftpd[7]: USER x\n{forged}") is None


def test_journals_of_djs_are_those_of_their_slice() -> None:
    """Systemd's own slice of a template's instances, with the hyphen of its name written as it does."""
    unit = (ROOT / "roles/autodj/templates/streamfleet-live@.service.j2").read_text()
    assert "SyslogIdentifier=live-%i" in unit
    assert "Slice=" not in unit
    assert r"'_SYSTEMD_SLICE=system-streamfleet\x2dlive.slice'" in FILTERS["autodj"].read_text()


def test_no_filter_that_the_playbooks_would_pass_over() -> None:
    wiring = yaml.safe_load((ROOT / "playbooks/vars/wiring.yml").read_text())["_streamfleet_guards"]
    for name in FILTERS:
        assert f"'name': '{name}'" in wiring or (ROOT / f"roles/{name}/engine/spec.yml").is_file()


def test_uninstalling_takes_nothing_of_others_and_what_tells_of_ours_last() -> None:
    tasks = yaml.safe_load((ROOT / "roles/fail2ban/tasks/uninstall.yml").read_text())
    assert not [task for task in tasks if "ansible.builtin.file" in task]
    (purged,) = [task for task in tasks if "ansible.builtin.apt" in task]
    assert purged["ansible.builtin.apt"]["name"] == "{{ __streamfleet_fail2ban_packages.own }}"
    assert "__streamfleet_fail2ban_alone.rc | default(0) != 0" in purged["when"]
    # Then there are empty folders only.
    found, last, folders = tasks[0], tasks[-2], tasks[-1]
    assert folders["ansible.builtin.command"]["argv"] == [
        "find",
        "{{ item }}",
        "-depth",
        "-type",
        "d",
        "-empty",
        "-delete",
    ]
    assert "_streamfleet_fail2ban_action" in str(found)
    assert last["streamfleet_host_files"] == {"absent": ["{{ _streamfleet_fail2ban_action }}"]}
    removed = [path for task in tasks for path in task.get("streamfleet_host_files", {}).get("absent", [])]
    assert len(removed) == 4
    assert removed.index("{{ _streamfleet_fail2ban_action }}") == 3


#: ss, systemctl and sshd on a host: with a server that listens, one that systemd listens for, and with settings alone.
SS = """\
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=7,fd=3))
LISTEN 0 128 [::]:2222 [::]:* users:(("sshd",pid=7,fd=4))
LISTEN 0 128 127.0.0.1:6010 0.0.0.0:* users:(("sshd-session",pid=5,fd=9))
LISTEN 0 128 [::1]:6011 [::]:* users:(("sshd-session",pid=5,fd=9))
LISTEN 0 511 *:443 *:* users:(("nginx",pid=8,fd=6))
"""


@pytest.mark.parametrize(
    ("ss", "socket", "settings", "ports"),
    [
        (SS, "", "22", ["22", "2222"]),
        (SS, "2200", "22", ["22", "2200", "2222"]),
        ("", "2200", "22", ["2200"]),
        ("", "", "2022", ["2022"]),
    ],
)
def test_ports_of_ssh_are_where_it_listens(
    tmp_path: Path, ss: str, socket: str, settings: str, ports: list[str]
) -> None:
    active = "true" if socket else "false"
    programs = {
        "ss": f"cat <<'END'\n{ss}END",
        "systemctl": f"""case "$*" in
            "show -P Listen ssh.socket") echo '[::]:{socket} (Stream)';;
            "-q is-active ssh.socket") {active};;
            *) false;; esac""",
        "sshd": f"test \"$1\" = -T && echo 'port {settings}'",
    }
    for name, text in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    role = yaml.safe_load((ROOT / "roles/fail2ban/vars/main.yml").read_text())
    command = ["/bin/sh", "-c", role["_streamfleet_fail2ban_ssh_ports_command"]]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=10)
    assert done.stdout.split() == ports, done.stderr


#: Writes the file of the jails as the role does, once for each controller.
TURNS = """
- name: Look whose controllers are remembered
  hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [{role}/defaults/main.yml, {role}/vars/main.yml]
  vars: {{ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"}}
  tasks:
    - name: Take turns
      ansible.builtin.include_tasks: turn.yml
      loop: {controllers}
"""


@pytest.mark.slow
def test_controllers_of_before_are_not_banned_either(tmp_path: Path) -> None:
    role, jails = ROOT / "roles/fail2ban", tmp_path / "streamfleet.conf"
    template = str(role / "templates/jails.conf.j2")
    looking = yaml.safe_load((role / "tasks/preflight.yml").read_text())[-1]
    turn = [
        looking,
        {
            "name": "Put the jails in place",
            "ansible.builtin.template": {
                "src": template,
                "dest": str(jails),
                "mode": "0644",
            },
            "vars": {"__streamfleet_fail2ban_from": {"stdout": "{{ item }}"}},
        },
    ]
    (tmp_path / "turn.yml").write_text(yaml.safe_dump(turn, sort_keys=False))

    def ignored(*controllers: str) -> tuple[list[str], int]:
        """Who is never banned after a turn of each, and how many turns changed the file."""
        seen = json.dumps([f"{address} 50022 192.0.2.1 22" if address else "" for address in controllers])
        (tmp_path / "play.yml").write_text(TURNS.format(role=role, controllers=seen))
        place = f"_streamfleet_fail2ban_jails={jails}"
        done = forked_ansible.playbook(["-i", "localhost,", "-e", place, str(tmp_path / "play.yml")])
        assert done.returncode == 0, done.stdout + done.stderr
        (line,) = set(re.findall(r"^ignoreip = (.+)$", jails.read_text(), re.MULTILINE))
        return line.split()[2:], int(re.findall(r"changed=(\d+)", done.stdout)[0])

    assert ignored("") == ([], 1)
    assert ignored(FOUR, SIX) == ([FOUR, SIX], 2)
    # They take turns, by SSH and on the host itself: nothing changes.
    assert ignored(FOUR, "", SIX, FOUR) == ([FOUR, SIX], 0)
    others = [f"198.51.100.{number}" for number in range(1, 5)]
    assert ignored(*others) == ([SIX, *others], 4)
