"""The set of ``uid . port`` pairs that tenants may reach on loopback: replaced at once, kept for the next boot.

The table around it is role common's (``inet streamfleet_tenants``); nothing else is touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from .. import durable
from .host import Host

TABLE = "streamfleet_tenants"
SET = "allowed"
UNIT = "streamfleet-tenants.service"
TIMEOUT = 60.0

Pair = tuple[int, int]


def live(host: Host) -> set[Pair] | None:
    """The pairs that the kernel holds now; None where the table is not loaded."""
    done = host.run(["nft", "-j", "list", "set", "inet", TABLE, SET], "", TIMEOUT)
    if done.code != 0:
        return None
    pairs: set[Pair] = set()
    for item in json.loads(done.out).get("nftables", []):
        for element in item.get("set", {}).get("elem", []):
            uid, port = element["concat"]
            pairs.add((int(uid), int(port)))
    return pairs


def script(pairs: Iterable[Pair]) -> str:
    """Fills the emptied set. The same text works at run time and, after the table's own file, at boot."""
    lines = [f"flush set inet {TABLE} {SET}"]
    elements = ", ".join(f"{uid} . {port}" for uid, port in sorted(pairs))
    if elements:
        lines.append(f"add element inet {TABLE} {SET} {{ {elements} }}")
    return "\n".join(lines) + "\n"


def saved(host: Host) -> str | None:
    """What the next boot loads."""
    try:
        return host.firewall.read_text()
    except FileNotFoundError:
        return None


def update(host: Host, pairs: set[Pair]) -> str:
    """Bring file and kernel to ``pairs``; returns why that failed, or nothing."""
    text = script(pairs)
    try:
        durable.write(host.firewall, text.encode(), 0o600)
    except OSError as error:
        return f"cannot write {host.firewall}: {error.strerror}"
    if live(host) is None:
        # Somebody flushed the ruleset: the unit loads table and pairs again.
        done = host.run(["systemctl", "restart", UNIT], "", TIMEOUT)
        what = "the tenants' firewall is not loaded (run install.yml for this node)"
    else:
        done = host.run(["nft", "-f", "-"], text, TIMEOUT)
        what = "cannot update the tenants' firewall"
    return "" if done.code == 0 else f"{what}: {done.last_words}"
