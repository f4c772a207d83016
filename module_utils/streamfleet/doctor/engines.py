"""Servers and instances that run and answer nobody."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ..node_apply.host import Host
from . import asking
from .about import About
from .finding import Finding
from .ports import strangers
from .processes import restart

#: Instances are asked so many at once.
_AT_ONCE = 16
_PROTOCOLS = {"rtmp": asking.rtmp, "http": asking.http_text, "tcp": asking.tcp}


def gather(_host: Host, about: About, seen: dict[str, Any]) -> dict[str, Any]:
    """``silent``: unit → port and why, of those that systemd says run and that answer nothing."""
    states = seen["units"]["units"]
    asked: list[tuple[str, int, Callable[[int, float], str]]] = []
    for server in about.servers:
        if server.protocol in _PROTOCOLS and states.get(server.unit, {}).get("active") == "active" and server.ports:
            asked.append((server.unit, server.ports[0], _PROTOCOLS[server.protocol]))
    known = {server.unit for server in about.servers}
    for port, units in seen["ports"]["wanted"].items():
        asked += [
            (unit, int(port), partial(asking.http_text, path=_path(unit)))
            for unit in units
            if unit not in known and states.get(unit, {}).get("sub") == "running"
        ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda one: asking.twice(partial(one[2], one[1]), about.patience), asked)
        return {
            "silent": {
                unit: {"port": port, "why": why} for (unit, port, _ask), why in zip(asked, answers, strict=True) if why
            }
        }


def _path(unit: str) -> str:
    """What an instance is asked for: its own words, nobody's stream."""
    return "/stats?sid=1" if unit.startswith("streamfleet-shoutcast2@") else "/status-json.xsl"


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules. What a signal holds, or whose port is another's, is told by that."""
    held = {process["unit"] for process in facts["processes"]["stopped"]}
    taken = strangers(facts)
    found = []
    for unit, it in sorted(facts["engines"]["silent"].items()):
        if unit in held or unit in taken:
            continue
        if it["why"] == asking.SILENT:
            cause = f"{unit} is hung: it takes connections and answers nothing."
        else:
            cause = f"{unit} runs, but does not listen on its port, or another protocol answers there."
        found.append(
            Finding(
                "engines.hung",
                unit,
                cause,
                f"port {it['port']}: {it['why']}",
                f"systemctl restart {unit}; journalctl -u {unit} -n 50 says what it did last.",
                commands=restart(unit),
            )
        )
    return found
