"""Who listens on which TCP port."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import Finding
from .processes import unit_of

_PROCESS = re.compile(r'\("([^"]*)",pid=(\d+)')


def gather(host: Host, about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``listen``: port → its processes; ``routes``: service → port; ``wanted``: port → units that are to have it."""
    done = host.run(["ss", "-Hltnp"], "", 30.0)
    listen: dict[str, list[dict[str, Any]]] = {}
    for line in done.out.splitlines():
        fields = line.split(None, 5)
        if len(fields) < 5:
            continue
        port = fields[3].rpartition(":")[2]
        for name, pid in _PROCESS.findall(fields[5] if len(fields) > 5 else ""):
            unit = ""
            with contextlib.suppress(OSError):
                unit = unit_of(host.path(f"/proc/{pid}/cgroup").read_text())
            listen.setdefault(port, []).append({"name": name, "pid": int(pid), "unit": unit})
    routes: dict[str, int] = {}
    for path in sorted(host.path("/etc/streamfleet/routes").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            routes[path.stem] = int(json.loads(path.read_text())["port"])
    wanted: dict[str, list[str]] = {}
    for server in about.servers:
        for number in server.ports:
            wanted.setdefault(str(number), []).append(server.unit)
    wants = host.path("/etc/systemd/system/streamfleet-instances.target.wants")
    for engine in ("icecast", "icecast_kh", "shoutcast2"):
        for slug, number in routes.items():
            unit = f"streamfleet-{engine}@{slug}.service"
            if (wants / unit).is_symlink():
                wanted.setdefault(str(number), []).append(unit)
    return {"listen": listen, "routes": routes, "wanted": wanted, "error": "" if done.code == 0 else done.last_words}


def strangers(facts: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Unit → (port, words) where a port that it is to have is another's."""
    found = {}
    for port, units in facts["ports"]["wanted"].items():
        for unit in units:
            others = [one for one in facts["ports"]["listen"].get(port, []) if one["unit"] != unit]
            if others and not any(one["unit"] == unit for one in facts["ports"]["listen"].get(port, [])):
                one = others[0]
                words = f"{one['name']} (process {one['pid']}{', of ' + one['unit'] if one['unit'] else ''})"
                found[unit] = (port, words)
    return found


def judge(facts: dict[str, Any]) -> list[Finding]:
    """A port of ours that another program has; that its unit does not run follows from it."""
    return [
        Finding(
            "ports.taken",
            unit,
            f"Port {port} of {unit} is taken by another program, so it cannot serve.",
            f"{words} listens on port {port}",
            f"Stop that program, or give it another port; then systemctl restart {unit}.",
        )
        for unit, (port, words) in sorted(strangers(facts).items())
    ]
