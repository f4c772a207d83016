"""Converge on this node: a run that hangs or was killed, a state that cannot be read."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from datetime import UTC, datetime
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import ERROR, WARNING, Finding

#: Seconds that one converge may work; longer ones hang.
_LONG = 900


def gather(host: Host, _about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``held``: whether a run has the lock, and ``who``, since when; ``journal``: one has begun and not ended."""
    found: dict[str, Any] = {"held": False, "who": "", "seconds": 0.0, "journal": host.journal.exists(), "state": ""}
    with contextlib.suppress(OSError):
        descriptor = os.open(host.lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found["held"] = True
        finally:
            os.close(descriptor)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(host.lock.read_text())
        found["who"] = f"{told['who']} (process {told['pid']})"
        since = datetime.strptime(told["since"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        found["seconds"] = (datetime.now(UTC) - since).total_seconds()
    if host.state.exists():
        try:
            json.loads(host.state.read_text())
        except (OSError, ValueError) as error:
            found["state"] = str(error)
    return found


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    it = facts["converge"]
    found = []
    if it["state"]:
        found.append(
            Finding(
                "converge.state",
                "/var/lib/streamfleet/node/state.json",
                "What converge knows of this node cannot be read, so no change reaches it.",
                it["state"],
                "Move the file away, and run converge.yml for this host: it looks at all services anew.",
            )
        )
    if it["held"] and it["seconds"] > _LONG:
        found.append(
            Finding(
                "converge.hung",
                "converge",
                "A converge of this node hangs, so no change reaches it.",
                f"{it['who']} holds the lock for {int(it['seconds'])} s",
                "See what that process waits for; end it, and run converge.yml: the next run finishes its work.",
                ERROR,
            )
        )
    if it["journal"] and not it["held"]:
        found.append(
            Finding(
                "converge.killed",
                "converge",
                "A converge of this node was killed at its work.",
                f"journal.json is there, and nobody works{'; it was ' + it['who'] if it['who'] else ''}",
                "Run converge.yml for this host: it finishes what was begun.",
                WARNING,
            )
        )
    return found
