"""Security updates of programs that unattended-upgrades holds back, since they are on the air.

What apt knows is looked at, as it is: nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import WARNING, Finding

_HELD = "Unattended-Upgrade::Package-Blacklist"
#: What takes up the new program, by source package.
_RESTART = {
    "icecast2": "systemctl restart 'streamfleet-icecast@*.service'",
    "liquidsoap": "systemctl restart 'streamfleet-autodj@*.service'",
    "nginx": "systemctl restart nginx.service 'streamfleet-rtmp*.service'",
    "proftpd-dfsg": "systemctl restart streamfleet-file-transfer.service",
}


def gather(host: Host, _about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``waiting``: by source package, its installed packages with a newer version of a security archive."""
    held = host.run(["apt-config", "dump", "--format", "%v%n", _HELD], "", 20.0).out.split()
    sources = _installed(host, held)
    if not sources:
        return {"waiting": {}}
    said = host.run(["apt-cache", "policy", *sources], "", 60.0).out
    waiting: dict[str, list[dict[str, str]]] = {}
    for name, have, new in newer(said):
        waiting.setdefault(sources[name], []).append({"name": name, "have": have, "new": new})
    return {"waiting": waiting}


def _installed(host: Host, held: Sequence[str]) -> dict[str, str]:
    """Source package by name, of those that are installed and held back."""
    patterns = []
    for text in held:
        try:
            patterns.append(re.compile(text))
        except re.error:
            # Unattended-upgrades does not take it, either.
            continue
    if not patterns:
        return {}
    form = "${db:Status-Status} ${Package} ${source:Package}\n"
    rows = [line.split() for line in host.run(["dpkg-query", "-W", "-f", form], "", 30.0).out.splitlines()]
    return {
        row[1]: row[2]
        for row in rows
        if len(row) == 3 and row[0] == "installed" and any(pattern.match(row[1]) for pattern in patterns)
    }


def newer(said: str) -> list[tuple[str, str, str]]:
    """Name, version that is installed and newest of a security archive, of packages for which apt's policy has one.

    Apt lists versions with the newest first, below each where it is to be had, and marks the one that is installed.
    """
    found = []
    for name, table in re.findall(r"^(\S+):\n((?:[ ].*\n?)+)", said, re.MULTILINE):
        version, security, have = "", "", ""
        for line in table.splitlines():
            if match := re.match(r"( \*\*\*|    ) (\S+) -?\d+$", line):
                version = match[2]
                if match[1].strip():
                    have = version
                    break
            elif not security and version and re.search(r" \S+-security/\S+ ", line):
                security = version
        if have and security:
            found.append((name, have, security))
    return found


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    return [
        Finding(
            "updates.held",
            source,
            f"{source} has a security update that waits for somebody: it is held back, since what runs by it is on the "
            "air or takes uploads.",
            ", ".join(f"{it['name']} {it['have']}, to be had {it['new']}" for it in packages),
            f"In a quiet hour: apt-get install --only-upgrade {' '.join(it['name'] for it in packages)}, then "
            f"{_RESTART.get(source, 'restart what runs by it')}; who is connected is cut off, and comes back.",
            WARNING,
        )
        for source, packages in sorted(facts["updates"]["waiting"].items())
    ]
