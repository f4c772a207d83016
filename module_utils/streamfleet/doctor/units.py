"""Units that are to run and do not, each by what systemd and its last words say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import Finding
from .ports import strangers

PATTERNS = ("streamfleet-*", "run-streamfleet*", "nginx.service", "flussonic.service", "icecast2.service")
WANTS = "/etc/systemd/system/streamfleet-instances.target.wants"
FOLDER = "/etc/systemd/system"
#: Names units that do not start, since a restore has begun and has not ended (role backup).
HELD = "/var/lib/streamfleet-backup/held"
#: Without these in force at boot, nothing comes back after one.
AT_BOOT = ("streamfleet-instances.target", "streamfleet-tenants.service")
#: How many are looked into; where more are down, one cause has all of them.
_MOST = 20
_LINES = 12
_SHOWN = (
    "Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainCode,NRestarts,Type,RemainAfterExit,UnitFileState"
)
#: Exit codes of systemd's own, when it could not even start the program.
_SYSTEMD = {
    "200": "its working directory is missing or closed to its user",
    "203": "its program is missing or cannot be run",
    "216": "its group does not exist",
    "217": "its user does not exist",
    "226": "the kernel or the container does not allow what keeps it apart from the rest of the host (namespaces)",
    "233": "its directory in /run cannot be made",
    "238": "its directory in /var/lib cannot be made",
}
#: What programs say → what it means. The first that matches is the cause.
_WORDS = (
    (r"no space left on device|database or disk is full|disk quota exceeded", "the disk is full"),
    (r"address (?:is )?already in use|could not create listener|bind\(\) to .* failed", "another program has its port"),
    (r"cannot allocate memory|out of memory|OutOfMemoryError", "it gets no more memory"),
    (r"too many open files", "it may not open as many files as it wants"),
    (r"SyntaxError|ImportError|ModuleNotFoundError", "its program is not whole"),
    (r"OperationalError|could not connect to server|database is locked", "its database does not answer"),
    (r"licen[cs]e", "its licence is missing or has run out"),
    (r"permission denied|operation not permitted", "it may not read or write what it needs"),
    (
        r"XML config parsing error|XML parse|\[emerg\]|syntax error|invalid (?:setting|value|directive)|unknown "
        r"directive",
        "its configuration cannot be read",
    ),
    (r"no such file or directory|cannot open|not found", "a file that it needs is missing"),
)


def gather(host: Host, about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``units``: name → active, sub; ``ill``: what systemd knows of those that are to run and do not; ``boot``."""
    states = _list(host, ["list-units", "--all"])
    files = {row["unit_file"]: row["state"] for row in _list(host, ["list-unit-files"])}
    units = {row["unit"]: {"load": row["load"], "active": row["active"], "sub": row["sub"]} for row in states}
    wanted = [path.name for path in sorted(host.path(WANTS).glob("*@*.service")) if path.is_symlink()]
    wanted += [name for name, state in files.items() if state == "enabled" and "@." not in name]
    wanted += [server.unit for server in about.servers if server.unit in files]
    wanted += [name for name, state in files.items() if state == "masked" and name.startswith("streamfleet-")]
    failed = [name for name, unit in units.items() if _fails(unit) and unit["load"] != "not-found"]
    suspects = [name for name in wanted if units.get(name, {}).get("active", "inactive") not in ("active", "reloading")]
    ill = list(dict.fromkeys([*failed, *suspects]))
    ill = [name for name in ill if name != "icecast2.service"]
    return {
        "units": units,
        "ill": _shown(host, ill[:_MOST]),
        "more": max(0, len(ill) - _MOST),
        "boot": [name for name in AT_BOOT if name in files and files[name] != "enabled"],
        "wanted": sorted(set(wanted)),
    }


def _fails(unit: dict[str, str]) -> bool:
    return unit["active"] == "failed" or unit["sub"] == "auto-restart"


def _list(host: Host, verb: list[str]) -> list[dict[str, str]]:
    done = host.run(["systemctl", *verb, "--no-pager", "--output=json", "--", *PATTERNS], "", 60.0)
    rows: list[dict[str, str]] = json.loads(done.out or "[]") if done.code == 0 else []
    return rows


def _shown(host: Host, names: list[str]) -> dict[str, dict[str, Any]]:
    if not names:
        return {}
    done = host.run(["systemctl", "show", f"--property={_SHOWN}", "--", *names], "", 60.0)
    found: dict[str, dict[str, Any]] = {}
    for block in done.out.strip().split("\n\n"):
        told = dict(line.partition("=")[::2] for line in block.splitlines())
        if told.get("Id"):
            # Of paths, timers and targets systemd has less to say.
            name = told["Id"]
            held = host.path(f"{HELD}/{name}").exists()
            found[name] = {**dict.fromkeys(_SHOWN.split(","), ""), **told, "log": _log(host, name), "held": held}
    return found


def _log(host: Host, unit: str) -> list[str]:
    done = host.run(["journalctl", f"--unit={unit}", f"--lines={_LINES}", "--output=cat", "--no-pager"], "", 30.0)
    # What systemd itself says of the unit is known from its state.
    return [
        line
        for line in done.out.splitlines()
        if not re.match(r"(?:streamfleet|nginx|Start|Stop|Failed to start)", line)
    ]


def idle(unit: dict[str, Any]) -> bool:
    """Whether it is one that works and ends, and is not to run all the time."""
    ends = (unit["Type"], unit["RemainAfterExit"]) == ("oneshot", "no")
    return ends and bool(unit["ActiveState"] != "failed")


def is_down(unit: dict[str, Any]) -> bool:
    """Whether it is to run all the time and does not, or ends again and again."""
    if unit["SubState"] == "auto-restart":
        return True
    return not idle(unit) and unit["ActiveState"] not in ("active", "reloading", "activating")


def meaning(lines: Iterable[str]) -> tuple[str, str]:
    """What the newest telling line means, and that line; ("", the last line) where none tells."""
    lines = list(lines)
    for line in reversed(lines):
        for pattern, words in _WORDS:
            if re.search(pattern, line, re.IGNORECASE):
                return words, line
    return "", lines[-1] if lines else ""


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    it = facts["units"]
    taken = strangers(facts)
    found = [_down(name, unit) for name, unit in sorted(it["ill"].items()) if name not in taken and is_down(unit)]
    if it["more"]:
        found.append(
            Finding(
                "units.many",
                "instances",
                f"{it['more']} further units do not run.",
                "",
                "Mend those that are named, and look again.",
            )
        )
    if it["boot"]:
        names = ", ".join(it["boot"])
        found.append(
            Finding(
                "units.boot",
                names,
                f"{names} is not enabled, so after a reboot nothing comes back.",
                "systemctl is-enabled says disabled",
                f"systemctl enable {' '.join(it['boot'])}.",
                commands=(("systemctl", "enable", *it["boot"]),),
            )
        )
    if it["units"].get("icecast2.service", {}).get("active") == "active":
        found.append(
            Finding(
                "units.icecast2",
                "icecast2.service",
                "Debian's own icecast2.service runs, and may hold a station's port.",
                "icecast2.service is active",
                "systemctl mask --now icecast2.service.",
                commands=(("systemctl", "mask", "--now", "icecast2.service"),),
            )
        )
    return found


def _down(name: str, unit: dict[str, Any]) -> Finding:
    start = (("systemctl", "reset-failed", name), ("systemctl", "start", name))
    words, line = meaning(unit["log"])
    if unit["LoadState"] == "masked" or unit["UnitFileState"].startswith("masked"):
        return Finding(
            "units.masked",
            name,
            f"{name} is masked, so nothing can start it.",
            f"LoadState {unit['LoadState']}",
            f"Somebody has masked it. Once it may run again: systemctl unmask {name}, systemctl start {name}.",
        )
    if unit["LoadState"] == "not-found":
        return Finding(
            "units.missing",
            name,
            f"There is no unit {name}, though it is to run.",
            "LoadState not-found",
            "Run install.yml for this host.",
        )
    if unit.get("held"):
        return Finding(
            "units.held",
            name,
            f"{name} does not start, since a restore of this host has begun and has not ended.",
            f"{HELD}/{name} is there",
            "Run restore.yml for this host again: it goes on. Where its backup or its repository is gone,"
            f" docs/backup.md, A restore that cannot be ended, says how to be rid of {HELD}.",
        )
    if unit["Result"] == "oom-kill":
        return Finding(
            "units.memory",
            name,
            f"{name} was ended because it took more memory than it may.",
            "Result oom-kill",
            "Raise its role's option …_memory_max, or see why it takes that much; then start it.",
            commands=start,
        )
    if unit["ExecMainStatus"] in _SYSTEMD and unit["ExecMainCode"] in ("1", "exited"):
        return Finding(
            "units.start",
            name,
            f"{name} cannot be started: {_SYSTEMD[unit['ExecMainStatus']]}.",
            f"status {unit['ExecMainStatus']}; {line}",
            "Run install.yml for this host; of an instance, converge.yml.",
        )
    if unit["Result"] in ("success", "") and unit["SubState"] != "auto-restart":
        return Finding(
            "units.off",
            name,
            f"{name} is to run, and was stopped: it did not fail.",
            f"{unit['ActiveState']} ({unit['SubState']}), Result {unit['Result'] or 'unknown'}",
            f"systemctl start {name}.",
            commands=start,
        )
    if words:
        return Finding(
            "units.failed", name, f"{name} does not run: {words}.", line, f"Mend that, then systemctl restart {name}."
        )
    if unit["Result"] in ("signal", "core-dump"):
        return Finding(
            "units.killed",
            name,
            f"{name} was ended by a signal or crashed.",
            f"Result {unit['Result']}, status {unit['ExecMainStatus']}; {line}",
            f"systemctl restart {name}; where it comes again, journalctl -u {name} says more.",
            commands=start,
        )
    return Finding(
        "units.failed",
        name,
        f"{name} does not run: it ended with an error.",
        f"Result {unit['Result']}, status {unit['ExecMainStatus']}; {line}",
        f"journalctl -u {name} -n 50 says why; then systemctl restart {name}.",
        commands=start,
    )
