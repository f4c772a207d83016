"""Fail2ban's filters on the lines that programs write.

tests/live/test_hardening.py has those of SSH and RTMP on a node, with fail2ban itself.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from streamfleet_autodj import wire

ROOT = Path(__file__).resolve().parents[2]
FILTERS = {
    path.parent.parent.name if path.name == "guard.conf" else path.stem: path
    for pattern in ("roles/*/engine/guard.conf", "roles/fail2ban/files/filters/*.conf")
    for path in ROOT.glob(pattern)
}
#: As fail2ban has them, short: what journald tells before a message, and an address of either version.
PREFIX = r"\s*(?:\S+\s+)?(?:{daemon}(?:\[\d+\])?:?\s+)?"
ADDRESS = r"(?:::f{4}:)?(?P<address>(?:\d{1,3}\.){3}\d{1,3}|[0-9a-fA-F]*:[0-9a-fA-F:.]+)"
FOUR, SIX = "203.0.113.9", "2001:db8::7"


def found(name: str, line: str) -> str | None:
    """The address that the filter counts of this line."""
    parser = configparser.RawConfigParser()
    parser.read(FILTERS[name])
    daemon = parser["Definition"]["_daemon"]
    pattern = parser["Definition"]["failregex"].replace("%(__prefix_line)s", PREFIX.format(daemon=daemon))
    passed = parser["Definition"].get("ignoreregex")
    if passed and re.search(passed, line):
        return None
    match = re.search(pattern.replace("<ADDR>", ADDRESS), line)
    return match["address"] if match else None


def test_there_is_a_filter_for_what_refuses_in_lines_that_nobody_can_forge() -> None:
    assert set(FILTERS) == {"panel", "nginx_rtmp", "autodj"}
    for path in FILTERS.values():
        parser = configparser.RawConfigParser()
        parser.read(path)
        assert parser["INCLUDES"]["before"] == "common.conf"
        # No look at what others write.
        assert re.search(r"(_SYSTEMD_UNIT|_SYSTEMD_SLICE)=", parser["Init"]["journalmatch"])


@pytest.mark.parametrize(
    ("name", "line", "address"),
    [
        ("panel", f'p1 streamfleet-login: {{"event":"login_refused","address":"{SIX}","via":"api"}}', SIX),
        ("panel", f'p1 streamfleet-login: {{"event":"login_refused","address":"{FOUR}","via":"portal"}}', FOUR),
        ("autodj", f"n1 live-fm[7]: refused {FOUR}: 401 {wire.NO_DJ}", FOUR),
        ("autodj", f"n1 live-fm[7]: refused {FOUR}: 401 {wire.NO_DJ_FOR_TITLE}", None),
        ("autodj", f"n1 live-fm[7]: refused {FOUR}: 401 {wire.NO_LOGIN}", None),
        ("autodj", f"n1 live-fm[7]: refused {FOUR}: 403 not now", None),
        ("autodj", f"n1 live-fm[7]: anna is gone: refused {FOUR}: 401", None),
        (
            "nginx_rtmp",
            f'n1 streamfleet_rtmp: {{"event":"refused: no such key","slug":"","address":"{SIX}","client":"1"}}',
            SIX,
        ),
        (
            "nginx_rtmp",
            # By RTMPS: the encoder is not known.
            'n1 streamfleet_rtmp: {"event":"refused: no such key","slug":"","address":"127.0.0.1","client":"1"}',
            None,
        ),
        (
            "nginx_rtmp",
            f'n1 streamfleet_rtmp: {{"event":"refused: no such key","slug":"","address":"{FOUR}","client":"127"}}',
            FOUR,
        ),
        (
            "nginx_rtmp",
            f'n1 streamfleet_rtmp: {{"event":"publishing","slug":"tv","address":"{FOUR}","client":"1"}}',
            None,
        ),
    ],
)
def test_refusals_count_for_whom_they_were(name: str, line: str, address: str | None) -> None:
    assert found(name, line) == address


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
    assert "-type d -empty -delete" in folders["ansible.builtin.command"]["cmd"]
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
