"""The doctor's rules: each fault by its facts, nothing of a healthy host, and what is made of a host's words."""

from __future__ import annotations

import copy
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from streamfleet.doctor import (
    asking,
    backup,
    converge,
    database,
    disk,
    encoders,
    engines,
    file_transfer,
    firewall,
    ports,
    processes,
    rights,
    run,
    units,
    updates,
    vendors,
)
from streamfleet.doctor.about import About, AboutError, Server
from streamfleet.doctor.finding import Finding, plain
from streamfleet.node_apply.host import Finished, Host

ROOT = Path(__file__).resolve().parents[2]
STREAM, PANEL = "stream.example.net", "panel.example.net"
DAY = 86400.0
NOW = 1_800_000_000.0
STATION = "streamfleet-icecast@rock-fm.service"
SHOWN = {
    "Id": STATION,
    "LoadState": "loaded",
    "ActiveState": "failed",
    "SubState": "failed",
    "Result": "exit-code",
    "ExecMainStatus": "1",
    "ExecMainCode": "1",
    "NRestarts": "0",
    "Type": "exec",
    "RemainAfterExit": "no",
    "UnitFileState": "static",
    "log": [],
}
CERTIFICATE = {
    "before": NOW - 60 * DAY,
    "after": NOW + 30 * DAY,
    "issuer": "CN = R1",
    "subject": f"CN = {STREAM}",
    "fits": True,
    "key": "",
    "readable": True,
    "mode": "www-data 0640",
    "verified": "",
}
ROOM = {"used": 40, "free": 10 * 2**30, "size": 20 * 2**30, "inodes_used": 10, "read_only": False, "type": "ext4"}
HEALTHY: dict[str, Any] = {
    "clock": {"off": 2, "kept": True},
    "disk": {"mounts": {"/": ROOM, "/run/streamfleet/hls": ROOM}, "hls": True, "rtmp": True},
    "processes": {"stopped": [], "files": []},
    "ports": {
        "listen": {
            "443": [{"name": "nginx", "pid": 5, "unit": "nginx.service"}],
            "8100": [{"name": "icecast2", "pid": 9, "unit": STATION}],
        },
        "routes": {"rock-fm": 8100},
        "wanted": {"443": ["nginx.service"], "8100": [STATION]},
        "error": "",
    },
    "units": {
        "units": {
            "streamfleet-tenants.service": {"load": "loaded", "active": "active", "sub": "exited"},
            STATION: {"active": "active", "sub": "running"},
        },
        "ill": {},
        "more": 0,
        "boot": [],
        "wanted": [STATION],
    },
    "names": {
        "found": {STREAM: {"addresses": ["198.51.100.7"], "why": "", "again": False}},
        "own": ["198.51.100.7", "127.0.0.1"],
        "servers": ["192.0.2.53"],
    },
    "rights": {
        "places": {"/etc/streamfleet/routes": {"mode": 0o750, "owner": "root", "group": "www-data"}},
        "sudo": "",
        "user": True,
        "keys": True,
    },
    "certificates": {"now": NOW, "names": {STREAM: CERTIFICATE}},
    "web": {
        "installed": True,
        "running": True,
        "test": "",
        "state": "fresh",
        "answers": {STREAM: {"status": 404, "why": "", "panel": False}},
    },
    "database": {
        "kind": "sqlite",
        "file": "/p.sqlite3",
        "holder": "",
        "error": "",
        "check": "ok",
        "writable": True,
        "mode": "p 0660",
    },
    "panel": {"asked": True, "health": [200, "{}", ""], "worker": [200, "", ""], "token": ""},
    "engines": {"silent": {}},
    "firewall": {
        "error": "",
        "tables": ["streamfleet_tenants", "streamfleet_firewall"],
        "closing": {"inet streamfleet_firewall": [[80, 80], [443, 443], [30000, 30999]]},
        "meant": True,
        "node": True,
        "candidate": False,
        "open": [[443, 443, "web"], [30000, 30999, "file transfer"]],
    },
    "file_transfer": {
        "installed": True,
        "ports": [21, 2022],
        "passive": [30000, 30999],
        "masquerade": "",
        "outside": ["198.51.100.7"],
        "used": 3,
        "answers": {"21": {"line": "220 Ready.", "why": ""}, "2022": {"line": "SSH-2.0-x", "why": ""}},
        "served": "aa",
        "stored": "aa",
    },
    "encoders": {"refused": [], "minutes": 15},
    "vendors": {"wowza": [], "flussonic": []},
    "backup": {
        "installed": True,
        "age": 3600.0,
        "since": 9 * DAY,
        "warnings": [],
        "rehearsal": {},
        "failed": False,
        "log": [],
    },
    "converge": {"held": False, "who": "", "seconds": 0.0, "journal": False, "state": ""},
    "updates": {"waiting": {}},
}


def down(**shown: Any) -> dict[str, Any]:
    """Facts of a unit that is to run and does not."""
    it = {**SHOWN, **shown}
    return {"units": {"ill": {it["Id"]: it}}}


def refused(reason: str) -> dict[str, Any]:
    entry = {"service": "rock-fm", "address": "203.0.113.9", "reason": reason, "count": 3, "line": "GET /x"}
    return {"encoders": {"refused": [entry]}}


def certificate(**changes: Any) -> dict[str, Any]:
    return {"certificates": {"names": {STREAM: {**CERTIFICATE, **changes}}}}


def mount(**changes: Any) -> dict[str, Any]:
    return {"disk": {"mounts": {"/var": {**ROOM, **changes}}}}


def db(**changes: Any) -> dict[str, Any]:
    return {"database": changes}


#: Facts that differ from a healthy host's → the one finding that they must give, and words that its cause must have.
FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("clock.off", {"clock": {"off": -400}}, "400 seconds behind"),
    ("clock.alone", {"clock": {"kept": False}}, "Nothing keeps"),
    ("disk.full", mount(used=99, free=10**6), "full"),
    ("disk.full", mount(used=50, free=2**20, size=2**31), "full"),
    ("disk.inodes", mount(inodes_used=100), "inodes"),
    ("disk.read_only", mount(read_only=True), "read only"),
    ("disk.nearly", mount(used=92), "nearly full"),
    ("disk.hls", {"disk": {"hls": False}}, "HLS segments is not mounted"),
    ("processes.stopped", {"processes": {"stopped": [{"unit": STATION, "pid": 9, "name": "icecast2"}]}}, "SIGSTOP"),
    (
        "processes.files",
        {"processes": {"files": [{"unit": STATION, "pid": 9, "name": "i", "used": 60, "most": 64}]}},
        "files open",
    ),
    (
        "ports.taken",
        {"ports": {"listen": {"8100": [{"name": "python3", "pid": 77, "unit": "x.service"}]}}},
        "Port 8100",
    ),
    ("units.masked", down(LoadState="masked", ActiveState="inactive"), "masked"),
    ("units.missing", down(LoadState="not-found", ActiveState="inactive"), "no unit"),
    ("units.held", down(ActiveState="inactive", SubState="dead", Result="success", held=True), "has not ended"),
    ("units.memory", down(Result="oom-kill"), "memory"),
    ("units.start", down(ExecMainStatus="203"), "program is missing"),
    ("units.off", down(ActiveState="inactive", SubState="dead", Result="success"), "was stopped"),
    ("units.failed", down(log=["[emerg] unknown directive"]), "configuration"),
    ("units.failed", down(log=["nothing that is known"]), "ended with an error"),
    ("units.killed", down(Result="signal", ExecMainStatus="9"), "signal"),
    ("units.many", {"units": {"more": 5}}, "5 further"),
    ("units.boot", {"units": {"boot": ["streamfleet-instances.target"]}}, "reboot"),
    (
        "units.icecast2",
        {"units": {"units": {"icecast2.service": {"active": "active", "sub": "running"}}}},
        "Debian's own",
    ),
    ("names.none", {"names": {"found": {STREAM: {"addresses": [], "why": "unknown", "again": False}}}}, "no address"),
    ("names.servers", {"names": {"found": {STREAM: {"addresses": [], "why": "later", "again": True}}}}, "name servers"),
    (
        "names.elsewhere",
        {"names": {"found": {STREAM: {"addresses": ["203.0.113.1"], "why": "", "again": False}}}},
        "another host",
    ),
    (
        "rights.closed",
        {"rights": {"places": {"/etc/streamfleet/routes": {"mode": 0o700, "owner": "root", "group": "root"}}}},
        "closed",
    ),
    ("rights.missing", {"rights": {"places": {"/run/streamfleet": None}}}, "missing"),
    ("rights.user", {"rights": {"user": False}}, "log in"),
    ("rights.keys", {"rights": {"keys": False}}, "key is missing"),
    ("rights.sudo", {"rights": {"sudo": "syntax error"}}, "become root"),
    ("certificates.missing", {"certificates": {"names": {STREAM: {"missing": "/x"}}}}, "no certificate"),
    ("certificates.broken", {"certificates": {"names": {STREAM: {"unreadable": "no start line"}}}}, "damaged"),
    ("certificates.key", certificate(key="another key"), "not the one"),
    ("certificates.rights", certificate(readable=False), "may not read"),
    ("certificates.future", certificate(before=NOW + DAY), "not valid yet"),
    ("certificates.expired", certificate(after=NOW - DAY), "expired"),
    ("certificates.name", certificate(fits=False), "another name"),
    ("certificates.authority", certificate(verified="error 18"), "authority"),
    ("certificates.due", certificate(after=NOW + 2 * DAY), "ends soon"),
    ("web.configuration", {"web": {"test": "nginx: [emerg] unknown directive"}}, "not valid"),
    ("web.stale", {"web": {"state": "stale"}}, "on disk"),
    (
        "web.hung",
        {"web": {"answers": {STREAM: {"status": 0, "why": asking.SILENT, "panel": False}}}},
        "answers nothing",
    ),
    (
        "web.handshake",
        {"web": {"answers": {STREAM: {"status": 0, "why": "TLS: INTERNAL_ERROR", "panel": False}}}},
        "handshake",
    ),
    ("database.missing", db(missing=True), "not there"),
    ("database.corrupt", db(error="database disk image is malformed"), "damaged"),
    ("database.corrupt", db(check="Tree 2 page 3: btreeInitPage() returns error code 11"), "damaged"),
    ("database.full", db(error="database or disk is full"), "full"),
    ("database.locked", db(error="database is locked", holder="process 7: sqlite3"), "holds"),
    ("database.rights", db(error="attempt to write a readonly database", writable=False), "may not write"),
    ("database.settings", {"database": {"kind": "unknown", "error": "no such file"}}, "do not say"),
    ("database.down", {"database": {"kind": "postgresql", "error": "connection refused"}}, "does not answer"),
    (
        "database.login",
        {"database": {"kind": "postgresql", "error": 'password authentication failed for user "p"'}},
        "log-in",
    ),
    (
        "database.connections",
        {"database": {"kind": "mariadb", "error": "(1040, 'Too many connections')"}},
        "no further",
    ),
    ("database.full", {"database": {"kind": "mariadb", "error": "The table 'x' is full"}}, "full"),
    (
        "database.missing",
        {"database": {"kind": "mariadb", "error": "(1049, \"Unknown database 'p'\")"}},
        "does not exist",
    ),
    ("database.corrupt", {"database": {"kind": "postgresql", "error": "invalid page in block 3"}}, "damaged"),
    ("panel.hung", {"panel": {"health": [0, "", asking.SILENT]}}, "hung"),
    ("panel.socket", {"panel": {"health": [0, "", "No such file or directory"]}}, "socket"),
    ("panel.name", {"panel": {"health": [400, "", ""]}}, "another host name"),
    ("panel.answer", {"panel": {"health": [500, "", ""]}}, "error"),
    ("panel.worker", {"panel": {"worker": [401, "", ""]}}, "token"),
    ("panel.worker", {"panel": {"token": "missing or empty"}}, "no token"),
    ("engines.hung", {"engines": {"silent": {STATION: {"port": 8100, "why": asking.SILENT}}}}, "is hung"),
    ("firewall.tenants", {"firewall": {"tables": ["streamfleet_firewall"]}}, "tenants"),
    ("firewall.off", {"firewall": {"tables": ["streamfleet_tenants"], "closing": {}}}, "not loaded"),
    ("firewall.narrow", {"firewall": {"open": [[1935, 1935, "RTMP"]]}}, "1935"),
    ("firewall.foreign", {"firewall": {"closing": {"ip filter": [[22, 22], [30000, 30999]]}}}, "not ours"),
    ("file_transfer.passive", {"firewall": {"closing": {"ip filter": [[443, 443]]}, "open": []}}, "passive ports"),
    ("file_transfer.ports", {"file_transfer": {"used": 990}}, "used up"),
    (
        "file_transfer.address",
        {"names": {"own": ["10.0.0.4"], "found": {}}, "file_transfer": {"outside": ["1.1.1.1"]}},
        "private address",
    ),
    ("file_transfer.hung", {"file_transfer": {"answers": {"21": {"line": "", "why": asking.SILENT}}}}, "hung"),
    (
        "file_transfer.deaf",
        {"file_transfer": {"answers": {"21": {"line": "", "why": "Connection refused"}}}},
        "does not listen",
    ),
    ("file_transfer.certificate", {"file_transfer": {"served": "bb"}}, "of before"),
    ("encoders.key", refused("key"), "stream key"),
    ("encoders.busy", refused("busy"), "another encoder"),
    ("encoders.bitrate", refused("bitrate"), "limit"),
    ("encoders.space", refused("space"), "memory"),
    ("encoders.login", refused("401"), "wrong user or password"),
    ("encoders.refused", refused("403"), "another source"),
    ("encoders.mount", refused("404"), "mount"),
    ("wowza.licence", {"vendors": {"wowza": ["ERROR server comment - Invalid license key"]}}, "licence key"),
    ("wowza.limit", {"vendors": {"wowza": ["WARN license connection limit reached (10)"]}}, "licence does not cover"),
    ("wowza.memory", {"vendors": {"wowza": ["java.lang.OutOfMemoryError: Java heap space"]}}, "heap"),
    ("wowza.port", {"vendors": {"wowza": ["java.net.BindException: Address already in use"]}}, "port"),
    ("wowza.files", {"vendors": {"wowza": ["java.io.IOException: Too many open files"]}}, "files"),
    ("wowza.settings", {"vendors": {"wowza": ["org.xml.sax.SAXParseException; lineNumber: 3"]}}, "cannot read"),
    ("wowza.keystore", {"vendors": {"wowza": ["Keystore was tampered with"]}}, "keystore"),
    ("wowza.encoder", {"vendors": {"wowza": ["WARN rtmp authentication failed for user x"]}}, "encoder"),
    ("flussonic.licence", {"vendors": {"flussonic": ["[error] no_license"]}}, "licence key"),
    ("flussonic.settings", {"vendors": {"flussonic": ["broken_config line 3"]}}, "configuration"),
    ("flussonic.port", {"vendors": {"flussonic": ["listen failed: eaddrinuse 1935"]}}, "port"),
    ("flussonic.files", {"vendors": {"flussonic": ["accept failed: emfile"]}}, "files"),
    ("flussonic.disk", {"vendors": {"flussonic": ["dvr write failed: enospc"]}}, "full"),
    ("flussonic.encoder", {"vendors": {"flussonic": ["publish denied: wrong password"]}}, "encoder"),
    ("backup.failed", {"backup": {"failed": True, "log": ["Fatal: wrong password or no key found"]}}, "password"),
    ("backup.failed", {"backup": {"failed": True, "log": ["something else"]}}, "failed"),
    ("backup.old", {"backup": {"age": 3 * DAY}}, "3 days old"),
    ("backup.old", {"backup": {"age": None}}, "never been a backup"),
    (
        "backup.rehearsal",
        {"backup": {"rehearsal": {"succeeded": False, "ended": "2026-11-28T02:00:00Z", "why": "the disk is full"}}},
        "may not come back",
    ),
    ("backup.warning", {"backup": {"warnings": ["/x could not be read"]}}, "with a warning"),
    ("converge.state", {"converge": {"state": "Expecting value"}}, "cannot be read"),
    ("converge.hung", {"converge": {"held": True, "seconds": 4000.0, "who": "worker (process 9)"}}, "hangs"),
    ("converge.killed", {"converge": {"journal": True}}, "killed"),
    (
        "updates.held",
        {"updates": {"waiting": {"icecast2": [{"name": "icecast2", "have": "2.4.4-4", "new": "2.4.4-4+deb12u1"}]}}},
        "icecast2 has a security update",
    ),
]
#: Parts that a fault's facts replace whole; all others are changed field by field.
WHOLE = {"listen", "mounts", "ill", "found", "places", "names", "answers", "silent", "closing"}


def changed(facts: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``facts`` with what differs."""
    new = copy.deepcopy(facts)
    for theme, fields in changes.items():
        for name, value in fields.items():
            if isinstance(value, dict) and isinstance(new[theme].get(name), dict) and name not in WHOLE:
                new[theme][name] |= value
            elif theme == "names" and name == "names":
                new[theme][name] = value
            else:
                new[theme][name] = value
    return new


def test_nothing_is_found_of_a_healthy_host() -> None:
    assert run.judge(HEALTHY) == []


@pytest.mark.parametrize(("check", "changes", "words"), FAULTS, ids=[f"{n}-{row[0]}" for n, row in enumerate(FAULTS)])
def test_each_fault_is_named_and_nothing_else(check: str, changes: dict[str, Any], words: str) -> None:
    found = run.judge(changed(HEALTHY, changes))
    assert [finding.check for finding in found] == [check], found
    it = found[0].as_dict()
    assert words in it["cause"]
    assert it["fix"].endswith((".", "…")) or it["safe_fix"]
    assert it["severity"] in ("error", "warning")


def checks() -> set[str]:
    """Every check that the code can find."""
    found = set()
    for path in (ROOT / "module_utils/streamfleet/doctor").glob("*.py"):
        text = path.read_text()
        found |= set(re.findall(rf'Finding\(\s*"({path.stem}\.[a-z0-9_]+)"', text))
    found |= {f"{entry[0]}.{entry[2]}" for entry in vendors.KNOWN}
    found |= {f"database.{row[1]}" for row in database._SERVERS}
    found |= {f"database.{word}" for word in ("missing", "corrupt", "full", "locked", "rights")}
    found |= {"firewall.narrow", "firewall.foreign"}
    return found | {f"encoders.{encoders._WORDS.get(reason, reason)}" for reason in encoders._REASONS}


def test_every_check_is_shown_its_fault_and_stands_on_the_page() -> None:
    assert {row[0] for row in FAULTS} == checks()
    page = (ROOT / "docs/doctor.md").read_text()
    assert {
        word for line in page.splitlines() for word in re.findall(r"^\| `([a-z_0-9]+\.[a-z_0-9]+)`", line)
    } == checks()


def test_options_that_fixes_name_are_there() -> None:
    text = "".join(path.read_text() for path in (ROOT / "module_utils/streamfleet/doctor").glob("*.py"))
    named = set(
        re.findall(
            r"\bstreamfleet_(?:wowza|flussonic|backup|panel|stream|file_transfer|certificates)_[a-z_]+[a-z]", text
        )
    )
    files = (*ROOT.glob("roles/*/meta/argument_specs.yml"), ROOT / "playbooks/vars/wiring.yml")
    known = "".join(path.read_text() for path in files)
    assert len(named) > 8
    assert {name for name in named if name not in known} == set()


def test_the_page_says_which_fixes_are_safe() -> None:
    page = (ROOT / "docs/doctor.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_0-9.]+)` \|[^|]*\|([^|]*)\|", page, re.MULTILINE))
    for check in checks():
        cases = [changes for name, changes, _words in FAULTS if name == check]
        safe = any(found.commands for changes in cases for found in run.judge(changed(HEALTHY, changes)))
        assert bool(rows[check].strip()) == safe, check


def test_what_follows_from_another_fault_is_not_told() -> None:
    invalid = {"web": {"test": "[emerg] x", "running": False}, **down(Id="nginx.service", log=["[emerg] x"])}
    assert [one.check for one in run.judge(changed(HEALTHY, invalid))] == ["web.configuration"]
    taken = {
        "ports": {"listen": {"8100": [{"name": "x", "pid": 1, "unit": ""}]}},
        **down(log=["Address already in use"]),
    }
    assert [one.check for one in run.judge(changed(HEALTHY, taken))] == ["ports.taken"]
    full = {**mount(used=100, free=0), **down(log=["write: No space left on device"])}
    assert [one.check for one in run.judge(changed(HEALTHY, full))] == ["disk.full"]
    base = {
        "database": {"error": "database disk image is malformed"},
        "panel": {"health": [500, "", ""]},
        **down(Id="streamfleet-panel.service"),
    }
    assert [one.check for one in run.judge(changed(HEALTHY, base))] == ["database.corrupt"]


def test_errors_come_first() -> None:
    facts = changed(HEALTHY, {**refused("key"), **certificate(after=NOW - 1), "clock": {"kept": False}})
    assert [one.severity for one in run.judge(facts)] == ["error", "warning", "warning"]


def test_evidence_is_one_line_without_secrets() -> None:
    assert plain('a\n\x1b[31mb "SOURCE /stream?password=hunter2 HTTP/1.0"') == 'a [31mb "SOURCE /stream?… HTTP/1.0"'
    assert len(plain("x" * 1000)) == 300


class Told:
    """A host whose programs say what is written down; what is run is noted."""

    def __init__(self, root: Path, words: dict[str, Finished] | None = None) -> None:
        self.words = words or {}
        self.ran: list[str] = []
        self.host = Host(root=root, run=self._run, own=False, sleep=lambda _seconds: None)

    def _run(self, argv: Sequence[str], _stdin: str, _timeout: float) -> Finished:
        line = " ".join(argv)
        self.ran.append(line)
        return next((said for begin, said in self.words.items() if line.startswith(begin)), Finished(0))


def put(root: Path, path: str, text: str = "") -> Path:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def test_who_has_a_port_is_known_by_its_unit(tmp_path: Path) -> None:
    put(tmp_path, "/proc/77/cgroup", "1:name=systemd:/system.slice/other.service\n0::/system.slice/other.service\n")
    put(tmp_path, "/etc/streamfleet/routes/rock-fm.json", '{"port": 8100}')
    wants = tmp_path / "etc/systemd/system/streamfleet-instances.target.wants"
    wants.mkdir(parents=True)
    (wants / STATION).symlink_to("/nowhere")
    line = 'LISTEN 0 5 *:8100 *:* users:(("python3",pid=77,fd=3))\n'
    seen = ports.gather(
        Told(tmp_path, {"ss": Finished(0, line)}).host, About(servers=(Server("nginx.service", (443,)),)), {}
    )
    assert seen["wanted"] == {"443": ["nginx.service"], "8100": [STATION]}
    assert ports.strangers({"ports": seen}) == {STATION: ("8100", "python3 (process 77, of other.service)")}


def test_units_of_both_versions_of_cgroups() -> None:
    two = "0::/system.slice/system-streamfleet\\x2dicecast.slice/streamfleet-icecast@a.service\n"
    assert processes.unit_of(two) == "streamfleet-icecast@a.service"
    assert processes.unit_of("3:cpu:/x.service\n1:name=systemd:/system.slice/nginx.service/sub\n") == "nginx.service"
    assert processes.unit_of("0::/user.slice\n") == ""


def test_processes_that_are_held_or_have_too_much_open(tmp_path: Path) -> None:
    for pid, state, most in ((5, "T", 100), (6, "S", 4)):
        put(tmp_path, f"/proc/{pid}/cgroup", "0::/system.slice/streamfleet-rtmp.service\n")
        put(tmp_path, f"/proc/{pid}/stat", f"{pid} (nginx: a) b) {state} 1 1")
        put(
            tmp_path,
            f"/proc/{pid}/limits",
            f"Max open files            {most}                 {most}                 files\n",
        )
        for number in range(4):
            put(tmp_path, f"/proc/{pid}/fd/{number}")
    put(tmp_path, "/proc/7/cgroup", "0::/system.slice/cron.service\n")
    put(tmp_path, "/proc/7/stat", "7 (cron) T 1 1")
    seen = processes.gather(Told(tmp_path).host, About(), {})
    assert seen["stopped"] == [{"unit": "streamfleet-rtmp.service", "pid": 5, "name": "nginx: a) b"}]
    assert [(one["pid"], one["used"], one["most"]) for one in seen["files"]] == [(6, 4, 4)]


def test_units_that_are_to_run(tmp_path: Path) -> None:
    wants = tmp_path / "etc/systemd/system/streamfleet-instances.target.wants"
    wants.mkdir(parents=True)
    (wants / STATION).symlink_to("/nowhere")
    loaded = [
        {"unit": "nginx.service", "load": "loaded", "active": "active", "sub": "running"},
        {"unit": "streamfleet-usage.service", "load": "loaded", "active": "inactive", "sub": "dead"},
        {"unit": "streamfleet-once.service", "load": "loaded", "active": "inactive", "sub": "dead"},
    ]
    files = [
        {"unit_file": name, "state": "enabled"}
        for name in (
            "nginx.service",
            "streamfleet-usage.service",
            "streamfleet-once.service",
            "streamfleet-icecast@.service",
        )
    ]
    files.append({"unit_file": "streamfleet-instances.target", "state": "disabled"})
    blocks = [
        {**SHOWN, "ActiveState": "inactive", "SubState": "dead", "Result": "success"},
        {
            **SHOWN,
            "Id": "streamfleet-usage.service",
            "ActiveState": "inactive",
            "SubState": "dead",
            "Result": "success",
        },
        {**SHOWN, "Id": "streamfleet-once.service", "ActiveState": "inactive", "Type": "oneshot"},
    ]
    # Of other kinds of units systemd says less.
    blocks.append(
        {
            "Id": "streamfleet-x.path",
            "LoadState": "loaded",
            "ActiveState": "inactive",
            "SubState": "dead",
            "Result": "success",
        }
    )
    shown = "\n\n".join("\n".join(f"{key}={value}" for key, value in block.items() if key != "log") for block in blocks)
    told = Told(
        tmp_path,
        {
            "systemctl list-units": Finished(0, json.dumps(loaded)),
            "systemctl list-unit-files": Finished(0, json.dumps(files)),
            "systemctl show": Finished(0, shown),
            "journalctl": Finished(0, "first\nlast\n"),
        },
    )
    seen = units.gather(told.host, About(), {})
    assert not any(unit["held"] for unit in seen["ill"].values())
    assert seen["boot"] == ["streamfleet-instances.target"]
    asked = next(line for line in told.ran if line.startswith("systemctl show")).split(" -- ")[1].split()
    assert asked == [STATION, "streamfleet-usage.service", "streamfleet-once.service"]
    found = units.judge(changed(HEALTHY, {"units": seen}))
    assert [(one.check, one.subject) for one in found] == [
        ("units.off", STATION),
        ("units.off", "streamfleet-usage.service"),
        ("units.off", "streamfleet-x.path"),
        ("units.boot", "streamfleet-instances.target"),
    ]
    assert found[0].commands == (("systemctl", "reset-failed", STATION), ("systemctl", "start", STATION))
    held = told.host.path(f"{units.HELD}/{STATION}")
    held.parent.mkdir(parents=True)
    held.touch()
    seen = units.gather(told.host, About(), {})
    one, *_others = units.judge(changed(HEALTHY, {"units": seen}))
    # Nobody starts it in place of the restore.
    assert (one.check, one.subject, one.commands) == ("units.held", STATION, ())
    assert "A restore that cannot be ended" in one.fix


@contextmanager
def server(answer: Callable[[socket.socket], None] | None) -> Iterator[int]:
    """A port that answers so; None: that takes connections and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(5)

        def serve() -> None:
            while True:
                try:
                    link, _address = door.accept()
                except OSError:
                    return
                if answer:
                    with link:
                        answer(link)
                else:
                    held.append(link)

        held: list[socket.socket] = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield door.getsockname()[1]
        for link in held:
            link.close()


def test_who_answers_and_who_is_silent() -> None:
    with server(lambda link: link.sendall(b"HTTP/1.0 200 OK\r\n\r\n")) as port:
        assert asking.http_text(port, 2) == ""
        assert asking.tcp(port, 2) == ""
        assert asking.greeting(port, 2) == ("HTTP/1.0 200 OK", "")
        assert asking.rtmp(port, 2) == "another protocol answers"
        assert asking.https(port, STREAM, "/", 2)[1].startswith("TLS:")
    with server(None) as port:
        assert asking.http_text(port, 0.05) == asking.SILENT
        assert asking.twice(lambda patience: asking.rtmp(port, patience), 0.05) == asking.SILENT
        about = About(servers=(Server("streamfleet-rtmp.service", (port,), "rtmp"),), patience=0.05)
        seen = {
            "units": {"units": {"streamfleet-rtmp.service": {"active": "active", "sub": "running"}}},
            "ports": {"wanted": {str(port): ["streamfleet-rtmp.service"]}},
        }
        silent = engines.gather(Host(), about, seen)["silent"]
        assert silent == {"streamfleet-rtmp.service": {"port": port, "why": asking.SILENT}}
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert "refused" in asking.tcp(closed.getsockname()[1], 1)


def ask_database(path: Path) -> dict[str, Any]:
    """What the program that is run as the panel's user tells."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", database._ASK, str(path), "1000000"], capture_output=True, text=True, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_database_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "p.sqlite3"
    with sqlite3.connect(path) as link:
        link.execute("CREATE TABLE x (a)")
        link.executemany("INSERT INTO x VALUES (?)", [("y" * 500,)] * 100)
    link.close()
    assert ask_database(path) == {"error": "", "check": "ok", "writable": True, "tables": 1}
    before = path.read_bytes()
    damaged = tmp_path / "damaged.sqlite3"
    damaged.write_bytes(before[:4096] + b"\xff" * 4096 + before[8192:])
    told = ask_database(damaged)
    assert "malformed" in told["error"] or told["check"] != "ok"
    (tmp_path / "text").write_text("no database, but long enough to be looked at as one" * 20)
    assert "not a database" in ask_database(tmp_path / "text")["error"]
    assert path.read_bytes() == before


def test_a_file_system_below_ours_is_looked_at(tmp_path: Path) -> None:
    put(
        tmp_path,
        "/proc/mounts",
        "/dev/x / ext4 rw 0 0\ntmpfs /var/lib/streamfleet/media\\040x tmpfs rw 0 0\nproc /proc proc rw 0 0\n",
    )
    (tmp_path / "var/lib/streamfleet/media x").mkdir(parents=True)
    seen = disk.gather(Told(tmp_path).host, About(), {})
    assert set(seen["mounts"]) == {"/", "/var/lib/streamfleet/media x"}
    assert not seen["hls"]


def test_rights_of_what_others_must_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "_known", lambda *_names: True)
    (tmp_path / "etc/streamfleet/routes").mkdir(parents=True, mode=0o700)
    seen = rights.gather(Told(tmp_path).host, About(), {})
    assert seen["places"]["/etc/streamfleet/routes"]["mode"] == 0o700
    assert seen["places"]["/etc/streamfleet/domains"] is None
    assert "/run/streamfleet-panel" not in seen["places"], "the host has no panel"
    mended = next(one for one in rights.judge({"rights": seen}) if one.subject == "/etc/streamfleet/routes")
    assert mended.commands[1] == ("chmod", "0750", "/etc/streamfleet/routes")


def nft(*rules: list[dict[str, Any]], table: str = "filter") -> str:
    chain = {"family": "inet", "table": table, "name": "input", "hook": "input", "policy": "drop"}
    base: dict[str, Any] = {"family": "inet", "name": table}
    items: list[dict[str, Any]] = [{"table": base}, {"chain": chain}]
    items += [{"rule": {"family": "inet", "table": table, "chain": "input", "expr": expr}} for expr in rules]
    return json.dumps({"nftables": items})


def dport(right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": right}}


ACCEPT: dict[str, Any] = {"accept": None}
ANSWERS: list[dict[str, Any]] = [
    {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}},
    ACCEPT,
]


def test_what_another_firewall_lets_in(tmp_path: Path) -> None:
    text = nft(ANSWERS, [dport({"set": [22, {"range": [30000, 30999]}]}), ACCEPT], [dport(443), {"drop": None}])
    seen = firewall.gather(
        Told(tmp_path, {"nft": Finished(0, text)}).host, About(open=((443, 443, "web"), (30000, 30999, "f"))), {}
    )
    assert seen["closing"] == {"inet filter": [[22, 22], [30000, 30999]]}
    found = firewall.judge({"firewall": seen, "units": {"units": {}}, "file_transfer": {"installed": False}})
    assert [one.check for one in found] == ["firewall.foreign"]
    assert "443 (web)" in found[0].cause
    assert "30000" not in found[0].cause
    # By something else than a port, of which nothing is said.
    text = nft(
        [
            {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.1"}},
            ACCEPT,
        ]
    )
    assert firewall.gather(Told(tmp_path, {"nft": Finished(0, text)}).host, About(), {})["closing"] == {
        "inet filter": None
    }
    assert firewall.inside([100, 200], [[150, 300], [50, 149]])
    assert not firewall.inside([100, 200], [[100, 150], [152, 300]])


def test_who_was_refused_and_why() -> None:
    rtmp = {"_SYSTEMD_UNIT": "streamfleet-rtmp.service", "SYSLOG_IDENTIFIER": "streamfleet_rtmp"}
    line = '{"event":"refused: no such key","slug":"","address":"203.0.113.9","client":"3"}'
    assert encoders.reason_of({**rtmp, "MESSAGE": line}) == ("a channel", "203.0.113.9", "key")
    ice = {"_SYSTEMD_UNIT": "streamfleet-icecast@rock-fm.service", "SYSLOG_IDENTIFIER": "icecast-rock-fm"}
    access = '203.0.113.9 - source [28/Nov/2026:05:00:00 +0000] "{} /stream HTTP/1.1" {} 381 "-" "libshout" 0'
    assert encoders.reason_of({**ice, "MESSAGE": access.format("PUT", 401)}) == ("rock-fm", "203.0.113.9", "401")
    assert encoders.reason_of({**ice, "MESSAGE": access.format("SOURCE", 403)}) == ("rock-fm", "203.0.113.9", "403")
    assert encoders.reason_of({**ice, "MESSAGE": access.format("PUT", 200)}) is None
    assert encoders.reason_of({**ice, "MESSAGE": access.format("GET", 401)}) is None
    live = {"_SYSTEMD_UNIT": "streamfleet-live@rock-fm.service"}
    assert encoders.reason_of({**live, "MESSAGE": "refused 203.0.113.9: 401 who are you?"}) == (
        "rock-fm",
        "203.0.113.9",
        "401",
    )
    # A tenant's process that calls itself so.
    forged = {"_SYSTEMD_UNIT": "streamfleet-autodj@x.service", "SYSLOG_IDENTIFIER": "streamfleet_rtmp", "MESSAGE": line}
    assert encoders.reason_of(forged) is None


@pytest.mark.parametrize(
    ("address", "words"), [("203.0.113.9", "at 203.0.113.9 uses"), ("127.0.0.1", "by RTMPS (journalctl -t")]
)
def test_of_who_came_by_tls_the_listener_knows_more(address: str, words: str) -> None:
    refused = {"service": "a channel", "address": address, "reason": "key", "count": 1, "line": "x"}
    (found,) = encoders.judge({"encoders": {"refused": [refused], "minutes": 15}})
    assert words in found.cause


def test_refusals_are_counted(tmp_path: Path) -> None:
    entry = {"_SYSTEMD_UNIT": "streamfleet-live@rock-fm.service", "MESSAGE": "refused 203.0.113.9: 401 no"}
    told = Told(tmp_path, {"journalctl": Finished(0, "\n".join([json.dumps(entry)] * 3 + ["broken"]))})
    seen = encoders.gather(told.host, About(stream_host=STREAM), {})
    assert [(one["service"], one["reason"], one["count"]) for one in seen["refused"]] == [("rock-fm", "401", 3)]
    assert "_SYSTEMD_SLICE=system-streamfleet\\x2dicecast.slice" in told.ran[0]


def test_vendors_logs_of_the_last_minutes(tmp_path: Path) -> None:
    log = put(tmp_path, vendors.WOWZA_LOGS[0], "first\nok\nERROR server comment - Invalid license key\n")
    told = Told(tmp_path, {"journalctl --unit=streamfleet-wowza": Finished(0, "all is well\n")})
    assert vendors.gather(told.host, About(engines=("wowza",)), {}) == {
        "wowza": ["ERROR server comment - Invalid license key"]
    }
    os.utime(log, (1, 1))
    assert vendors.gather(told.host, About(engines=("wowza",)), {}) == {"wowza": []}
    assert vendors.gather(told.host, About(), {}) == {}


def test_the_ports_of_file_transfers(tmp_path: Path) -> None:
    put(tmp_path, file_transfer.SETTINGS, "Port 21\nPassivePorts 30000 30009\n<V>\n  Port 2022\n</V>\n")
    used = "\n".join(f"LISTEN 0 5 *:{port} *:*" for port in range(30000, 30010)) + "\nTIME-WAIT 0 0 1.1.1.1:30001 x"
    told = Told(tmp_path, {"ss": Finished(0, used)})
    seen = file_transfer.gather(told.host, About(), {"units": {"units": {}}, "processes": {"stopped": []}})
    assert (seen["ports"], seen["passive"], seen["used"]) == ([21, 2022], [30000, 30009], 10)
    assert [
        one.check for one in file_transfer.judge(changed(HEALTHY, {"file_transfer": seen, "firewall": {"closing": {}}}))
    ] == ["file_transfer.ports"]


def test_backups_and_converge(tmp_path: Path) -> None:
    assert backup.gather(Told(tmp_path).host, About(), {}) == {"installed": False}
    put(tmp_path, backup.SETTINGS, "{}")
    put(tmp_path, backup.LAST, '{"warnings": ["one"]}')
    put(tmp_path, backup.REHEARSAL, '{"succeeded": false, "why": "the disk is full"}')
    told = Told(tmp_path, {"systemctl is-failed": Finished(1)})
    seen = backup.gather(told.host, About(), {})
    assert (seen["warnings"], seen["failed"], seen["age"] < 60) == (["one"], False, True)
    assert seen["rehearsal"] == {"succeeded": False, "why": "the disk is full"}
    working = {"succeeded": False, "why": "It has begun", "running": True}
    report = put(tmp_path, backup.REHEARSAL, json.dumps(working))
    assert backup.gather(told.host, About(), {})["rehearsal"] == {}
    os.utime(report, (time.time() - 90000, time.time() - 90000))
    assert backup.gather(told.host, About(), {})["rehearsal"] == working
    for broken in ("5", "{", "[1]"):
        put(tmp_path, backup.REHEARSAL, broken)
        assert backup.gather(told.host, About(), {})["rehearsal"] == {}, broken
    put(tmp_path, "/run/streamfleet/converge.lock", '{"who": "worker", "pid": 4, "since": "2026-01-01T00:00:00Z"}')
    put(tmp_path, "/var/lib/streamfleet/node/state.json", "{")
    seen = converge.gather(told.host, About(), {})
    assert (seen["held"], seen["who"], bool(seen["state"])) == (False, "worker (process 4)", True)


def finding(*commands: tuple[str, ...], subject: str = "x") -> Finding:
    return Finding("units.off", subject, "It is off.", "", "Start it.", commands=commands)


def test_safe_fixes_are_done_once_and_told(tmp_path: Path) -> None:
    told = Told(
        tmp_path, {"systemctl reset-failed": Finished(1), "systemctl start bad": Finished(1, err="no such unit")}
    )
    start = (("systemctl", "reset-failed", "a"), ("systemctl", "start", "a"))
    done = run.mend(
        told.host, [finding(*start), finding(*start, subject="y"), finding(("systemctl", "start", "bad")), finding()]
    )
    assert told.ran == ["systemctl reset-failed a", "systemctl start a", "systemctl start bad"]
    assert [one["error"] for one in done] == ["", "no such unit"]


def test_a_fix_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, looks = Told(tmp_path), iter([down(ActiveState="inactive", SubState="dead", Result="success"), {}])
    monkeypatch.setattr(run, "look", lambda _host, _about: changed(HEALTHY, next(looks)))
    result = run.examine(told.host, About(), fix=True)
    assert result["findings"] == []
    assert result["fixed"][0]["commands"] == [f"systemctl reset-failed {STATION}", f"systemctl start {STATION}"]
    looks = iter([down(ActiveState="inactive", SubState="dead", Result="success")])
    told.ran.clear()
    result = run.examine(told.host, About(), fix=True, check=True)
    assert (told.ran, len(result["findings"]), len(result["fixed"])) == ([], 1, 1)


def test_what_is_told_of_a_host() -> None:
    options = {
        "panel_host": PANEL,
        "stream_host": PANEL,
        "https_port": 443,
        "addresses": [],
        "time": 0,
        "engines": [],
        "minutes": 15,
        "servers": [{"unit": "a.service", "ports": [1], "protocol": "tcp"}],
    }
    opening = {"name": "web", "protocol": "tcp", "ports": ["80", "100-200"], "sources": []}
    others = [{**opening, "protocol": "udp"}, {**opening, "sources": ["10.0.0.0/8"]}]
    about = About.of({**options, "open": [opening, *others]})
    assert (about.open, about.names, about.time) == (((80, 80, "web"), (100, 200, "web")), (PANEL,), None)
    with pytest.raises(AboutError, match=r"open: 'http' of web is no port"):
        About.of({**options, "open": [{**opening, "ports": ["http"]}]})
    with pytest.raises(AboutError, match="minutes: 0 is too small"):
        About.of({**options, "open": [], "minutes": 0})


#: Of apt 2.6.
POLICY = """\
icecast2:
  Installed: 2.4.4-4+b1
  Candidate: 2.4.4-4+deb12u1
  Version table:
     2.4.4-4+deb12u1 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
 *** 2.4.4-4+b1 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
nginx:
  Installed: 1.22.1-9+deb12u4
  Candidate: 1.22.1-9+deb12u4
  Version table:
 *** 1.22.1-9+deb12u4 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
     1.22.1-9+deb12u3 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
proftpd-core:
  Installed: 1.3.8+dfsg-4+deb12u3
  Candidate: 1.3.8+dfsg-4+deb12u5
  Version table:
     1.3.8+dfsg-4+deb12u5 500
        500 http://deb.debian.org/debian bookworm-updates/main amd64 Packages
     1.3.8+dfsg-4+deb12u4 -10
        500 http://mirror.example/debian-security bookworm-security/main amd64 Packages
 *** 1.3.8+dfsg-4+deb12u3 100
        100 /var/lib/dpkg/status
liquidsoap:
  Installed: 2.1.3-2
  Candidate: 2.1.3-3
  Version table:
     2.1.3-3 500
        500 http://deb.debian.org/debian bookworm-updates/main amd64 Packages
 *** 2.1.3-2 100
        100 /var/lib/dpkg/status
libnginx-mod-rtmp:
  Installed: (none)
  Candidate: 1.2.2-1
  Version table:
     1.2.2-1 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
"""


def test_security_updates_that_wait_are_told_of_held_programs_alone(tmp_path: Path) -> None:
    asked = []

    def runs(argv: Sequence[str], _stdin: str, _timeout: float) -> Finished:
        asked.append(list(argv))
        if argv[0] == "apt-config":
            return Finished(0, "icecast2$\nnginx.*$\nproftpd-.*$\nliquidsoap.*$\nopen[\n")
        if argv[0] == "dpkg-query":
            rows = ("icecast2 icecast2", "proftpd-core proftpd-dfsg", "nginx nginx", "liquidsoap liquidsoap")
            others = ("openssl openssl", "icecast2-dbg icecast2")
            installed = "".join(f"installed {row}\n" for row in (*rows, *others))
            return Finished(0, f"{installed}config-files nginx-extras nginx\n")
        return Finished(0, POLICY)

    host = Host(root=tmp_path, run=runs)
    found = updates.gather(host, About(), {})
    assert asked[-1] == ["apt-cache", "policy", "icecast2", "proftpd-core", "nginx", "liquidsoap"]
    assert found["waiting"] == {
        "icecast2": [{"name": "icecast2", "have": "2.4.4-4+b1", "new": "2.4.4-4+deb12u1"}],
        "proftpd-dfsg": [{"name": "proftpd-core", "have": "1.3.8+dfsg-4+deb12u3", "new": "1.3.8+dfsg-4+deb12u4"}],
    }
    one, other = updates.judge({"updates": found})
    assert "apt-get install --only-upgrade icecast2, then systemctl restart 'streamfleet-icecast@*.service'" in one.fix
    assert other.subject == "proftpd-dfsg"
    assert one.commands == other.commands == ()


def test_where_nothing_is_held_nothing_else_is_asked(tmp_path: Path) -> None:
    asked = []

    def runs(argv: Sequence[str], _stdin: str, _timeout: float) -> Finished:
        asked.append(argv[0])
        return Finished(0) if argv[0] == "apt-config" else Finished(127)

    assert updates.gather(Host(root=tmp_path, run=runs), About(), {}) == {"waiting": {}}
    assert asked == ["apt-config"]
