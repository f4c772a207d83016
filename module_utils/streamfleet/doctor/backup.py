"""Backups: made, and lately."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import ERROR, WARNING, Finding

UNIT, TIMER = "streamfleet-backup.service", "streamfleet-backup.timer"
SETTINGS = "/etc/streamfleet/backup/settings.json"
LAST = "/var/lib/streamfleet-backup/last.json"
REHEARSAL = "/var/lib/streamfleet-backup/rehearsal.json"
LATE_SECONDS = 2 * 86400
LONGEST_REHEARSAL = 86400
#: What restic says → what it means, and what to do.
_WORDS = (
    (
        r"wrong password|no key found",
        "the repository's password is another one",
        "Correct streamfleet_backup_password.",
    ),
    (
        r"is there a repository|repository does not exist|unable to open config file",
        "there is no repository at that address",
        "See whether it is mounted or was moved; correct streamfleet_backup_repository.",
    ),
    (
        r"already locked|unable to create lock",
        "another backup holds the repository, or one was killed",
        "Once nobody works on it: streamfleet-backup unlock --all.",
    ),
    (r"no space left|quota", "the repository's disk is full", "Free some space there, or keep fewer backups."),
    (
        r"connection refused|timed? ?out|no such host|no route|unreachable|host key",
        "the repository's server is not reached",
        "See whether the server runs, and whether a firewall lets this host through.",
    ),
    (
        r"permission denied|access denied|forbidden",
        "the repository's server refuses this host",
        "Correct its key or its rights.",
    ),
)


def gather(host: Host, _about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``age``: seconds since the last good one, None without one; ``warnings`` of it; ``log`` of a failed one.

    ``rehearsal``: what restore_rehearsal.yml has told last, empty where it never ran, or works.
    """
    if not host.path(SETTINGS).is_file():
        return {"installed": False}
    found: dict[str, Any] = {"installed": True, "age": None, "since": 0.0, "warnings": [], "rehearsal": {}}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found["age"] = time.time() - host.path(LAST).stat().st_mtime
        found["warnings"] = list(json.loads(host.path(LAST).read_text()).get("warnings", []))
    with contextlib.suppress(OSError):
        found["since"] = time.time() - host.path(SETTINGS).stat().st_mtime
    with contextlib.suppress(OSError, ValueError, TypeError):
        told = dict(json.loads(host.path(REHEARSAL).read_text()))
        # One that works is judged when it has ended, or when it cannot be working any more.
        if not told.get("running") or time.time() - host.path(REHEARSAL).stat().st_mtime > LONGEST_REHEARSAL:
            found["rehearsal"] = told
    found["failed"] = host.run(["systemctl", "is-failed", "--quiet", UNIT], "", 10.0).code == 0
    log = host.run(["journalctl", f"--unit={UNIT}", "--lines=30", "--output=cat", "--no-pager"], "", 30.0)
    found["log"] = log.out.splitlines() if found["failed"] else []
    return found


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    it = facts["backup"]
    if not it["installed"]:
        return []
    found = []
    if it["failed"]:
        for pattern, words, fix in _WORDS:
            lines = [line for line in it["log"] if re.search(pattern, line, re.IGNORECASE)]
            if lines:
                found.append(
                    Finding(
                        "backup.failed",
                        UNIT,
                        f"The last backup failed: {words}.",
                        lines[-1],
                        fix + " Then run backup.yml.",
                    )
                )
                break
        else:
            said = [
                line for line in it["log"] if not line.startswith(("streamfleet-backup.service:", "Failed", "Start"))
            ]
            found.append(
                Finding(
                    "backup.failed",
                    UNIT,
                    "The last backup failed.",
                    said[-1] if said else "no word of it",
                    f"journalctl -u {UNIT} says why; then run backup.yml.",
                )
            )
    age = it["since"] if it["age"] is None else it["age"]
    if age > LATE_SECONDS:
        words = (
            "There has never been a backup" if it["age"] is None else f"The last backup is {int(age // 86400)} days old"
        )
        found.append(
            Finding(
                "backup.old",
                TIMER,
                f"{words}: what has changed since would be lost.",
                f"age {int(age)} s",
                f"systemctl list-timers {TIMER} says when it runs; run backup.yml.",
                ERROR,
            )
        )
    if it["rehearsal"].get("succeeded") is False:
        found.append(
            Finding(
                "backup.rehearsal",
                TIMER,
                "The last try to restore a backup of this host has failed: it may not come back when it is needed.",
                f"{it['rehearsal'].get('ended', '')} {it['rehearsal'].get('why', '')}".strip(),
                "Mend that, and run restore_rehearsal.yml with rehearsal_of as this host.",
                ERROR,
            )
        )
    found += [
        Finding(
            "backup.warning",
            UNIT,
            "The last backup was made, with a warning.",
            warning,
            "Run backup.yml once that is mended.",
            WARNING,
        )
        for warning in it["warnings"][:3]
    ]
    return found
