"""Look at a host, judge, and do what is safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..node_apply.host import Host
from . import (
    backup,
    certificates,
    clock,
    converge,
    database,
    disk,
    encoders,
    engines,
    file_transfer,
    firewall,
    names,
    panel,
    ports,
    processes,
    rights,
    units,
    updates,
    vendors,
    web,
)
from .about import About
from .finding import ERROR, Finding

#: In the order in which they look: later ones use what earlier ones saw.
THEMES = {
    "clock": clock,
    "disk": disk,
    "processes": processes,
    "ports": ports,
    "units": units,
    "names": names,
    "rights": rights,
    "certificates": certificates,
    "web": web,
    "database": database,
    "panel": panel,
    "engines": engines,
    "firewall": firewall,
    "file_transfer": file_transfer,
    "encoders": encoders,
    "vendors": vendors,
    "backup": backup,
    "converge": converge,
    "updates": updates,
}
#: Seconds that what was started gets before it is looked at again.
SETTLE = 3.0


def look(host: Host, about: About) -> dict[str, Any]:
    """All facts, plain JSON, by theme."""
    facts: dict[str, Any] = {}
    for name, theme in THEMES.items():
        facts[name] = theme.gather(host, about, facts)
    return facts


def judge(facts: dict[str, Any]) -> list[Finding]:
    """What is wrong, errors first, without what only follows from another finding."""
    found: list[Finding] = []
    for theme in THEMES.values():
        found += theme.judge(facts)
    return sorted(_causes(found), key=lambda finding: finding.severity != ERROR)


def _causes(found: Sequence[Finding]) -> list[Finding]:
    """A unit whose configuration, database or port is told of does not run because of that."""
    invalid = any(finding.check == "web.configuration" for finding in found)
    full = [finding for finding in found if finding.check == "disk.full"]
    taken = {finding.subject for finding in found if finding.check == "ports.taken"}
    hls = any(finding.check == "disk.hls" for finding in found)
    base = any(finding.check.startswith("database.") for finding in found)
    kept = []
    for finding in found:
        unit_down = finding.check in ("units.failed", "units.killed", "units.off")
        follows = (
            (unit_down and invalid and finding.subject == "nginx.service")
            or (unit_down and finding.subject in taken)
            or (hls and finding.subject == "run-streamfleet-hls.mount")
            or (unit_down and finding.check == "units.failed" and full and "the disk is full" in finding.cause)
            or (
                unit_down
                and finding.check == "units.failed"
                and base
                and finding.subject.startswith(("streamfleet-panel", "streamfleet-worker"))
            )
        )
        if not follows:
            kept.append(finding)
    return kept


def mend(host: Host, found: Sequence[Finding], *, check: bool = False) -> list[dict[str, Any]]:
    """Do the safe fixes, each once; with ``check`` none. A record of each: check, subject, commands, ``error``.

    ``error`` says why it did not succeed, "" where it did.
    """
    fixes: dict[tuple[tuple[str, ...], ...], Finding] = {}
    for finding in found:
        if finding.commands:
            fixes.setdefault(finding.commands, finding)
    return [
        {
            "check": finding.check,
            "subject": finding.subject,
            "commands": [" ".join(command) for command in commands],
            "error": "" if check else _done(host, commands),
        }
        for commands, finding in fixes.items()
    ]


def _done(host: Host, commands: Sequence[tuple[str, ...]]) -> str:
    for command in commands:
        ended = host.run(command, "", 120.0)
        # What has not failed needs no resetting; what has gone by itself needs no signal.
        if ended.code != 0 and command[1] not in ("reset-failed", "kill"):
            return ended.last_words
    return ""


def examine(host: Host, about: About, *, fix: bool = False, check: bool = False) -> dict[str, Any]:
    """``findings`` that are left, ``fixed``: what was done, with ``check`` what would be.

    With ``fix`` what is safe is done, and looked at again.
    """
    found = judge(look(host, about))
    fixed = mend(host, found, check=check) if fix else []
    if fixed and not check:
        host.sleep(SETTLE)
        # The time that has passed since is no fault of the host's clock.
        found = judge(look(host, replace(about, time=None)))
    return {"findings": [finding.as_dict() for finding in found], "fixed": fixed}
