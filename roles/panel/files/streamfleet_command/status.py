"""``streamfleet status``: whether all is well, and what is not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from . import host, panel, systemd
from .errors import NOT_WELL, CommandFailed

#: Units without which the panel's host is not what it is for.
NEEDED = ("streamfleet-panel.service", "streamfleet-panel-jobs.service", "streamfleet-worker.service", "nginx.service")


def gather(now: datetime | None = None) -> dict[str, Any]:
    """All of it: ``well``, ``problems`` (sentences) and what they were told by. Raises nothing for what is down."""
    now = now or datetime.now(UTC)
    problems: list[str] = []
    units = systemd.units()
    found = {
        "version": host.release(),
        "units": _units([unit for unit in units if not unit.is_instance], problems),
        "instances": _instances([unit for unit in units if unit.is_instance], problems),
        "fleet": _fleet(problems),
        "certificates": _certificates(problems, now),
        "disks": _disks(problems),
    }
    return {"well": not problems, "problems": problems, **found}


def _units(units: list[systemd.Unit], problems: list[str]) -> list[dict[str, Any]]:
    states = {unit.name: unit for unit in units}
    for name in NEEDED:
        state = states[name].active if name in states else "inactive"
        if state != "active" and host.is_held(name):
            problems.append(
                f"{name} is {state}: a restore has begun on this host and has not ended, so it does not start; run"
                " restore.yml again, which goes on with it"
            )
        elif state != "active":
            problems.append(
                f"{name} is {state}: systemctl start {name}, or journalctl -u {name} -n 50 for why it does not run"
            )
    problems += [
        f"{unit.name} has failed: journalctl -u {unit.name} -n 50 says why"
        for unit in units
        if unit.has_failed and unit.name not in NEEDED
    ]
    return [asdict(unit) for unit in units]


def _instances(units: list[systemd.Unit], problems: list[str]) -> dict[str, Any]:
    """Of media services on this host: how many there are by state, and those that failed by name."""
    failed = [unit.name for unit in units if unit.has_failed]
    problems += [f"{name} has failed: journalctl -u {name} -n 50 says why" for name in failed]
    return {"states": dict(sorted(Counter(unit.active for unit in units).items())), "failed": failed}


def _fleet(problems: list[str]) -> dict[str, Any]:
    try:
        fleet = panel.ask("fleet_report")
    except CommandFailed as error:
        problems.append(f"the panel does not tell how the fleet is: {error}")
        return {"error": str(error)}
    for node in fleet["nodes"]:
        if node["late"]:
            why = node["message"] or "no run has brought it there yet; is streamfleet-worker.service well?"
            far = f"generation {node['observed_generation']} of {node['generation']}"
            problems.append(f"node {node['name']} is behind ({far}): {why}")
        if node["collection_message"] and node["status"] != "disabled":
            problems.append(f"node {node['name']} does not tell its news: {node['collection_message']}")
    problems += [
        f"media service {service['slug']} on {service['node']} has failed: {service['message']}"
        for service in fleet["failed"]
    ]
    return fleet


def _certificates(problems: list[str], now: datetime) -> list[dict[str, Any]]:
    found = []
    for certificate in host.certificates():
        due = certificate.is_due(now)
        days = (certificate.not_after - now).days if not certificate.error else None
        if due:
            what = certificate.error or ("has expired" if now > certificate.not_after else f"expires in {days} days")
            problems.append(f"certificate {certificate.name}: {what}; run certificates.yml for this host")
        found.append({
            "name": certificate.name, "due": due, "days_left": days, "error": certificate.error,
            "not_after": certificate.not_after.strftime("%Y-%m-%dT%H:%M:%SZ") if not certificate.error else None,
        })  # fmt: skip
    return found


def _disks(problems: list[str]) -> list[dict[str, Any]]:
    found = list(host.disks())
    problems += [f"{disk.path} is full to {disk.used_percent} percent" for disk in found if disk.is_full]
    return [{**asdict(disk), "full": disk.is_full} for disk in found]


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and words of each line that is shown."""
    rows = [
        (unit["name"], f"{unit['active']} ({unit['sub']})")
        for unit in found["units"]
        if unit["name"].endswith(".service")
    ]
    if found["instances"]["states"]:
        rows.append(("instances here", _counted(found["instances"]["states"])))
    fleet = found["fleet"]
    for node in fleet.get("nodes", []):
        word = "late" if node["late"] else "applying" if node["behind"] else "up to date"
        rows.append((f"node {node['name']}", word if node["status"] == "active" else f"{word}, {node['status']}"))
    if fleet.get("services"):
        rows.append(("media services", _counted(fleet["services"])))
    if fleet.get("jobs"):
        rows.append(("jobs", _counted({state: n for state, n in fleet["jobs"].items() if n}) or "none"))
    for certificate in found["certificates"]:
        words = certificate["error"] or f"{certificate['days_left']} days left"
        rows.append((f"certificate {certificate['name']}", words))
    rows += [
        (f"disk {disk['path']}", f"{disk['used_percent']}% used, {disk['free_bytes'] // 1024**2} MiB free")
        for disk in found["disks"]
    ]
    return rows


def _counted(numbers: dict[str, int]) -> str:
    return ", ".join(f"{n} {state}" for state, n in numbers.items())


def run(*, as_json: bool) -> int:
    """Print it; 0 where all is well, else 1."""
    found = gather()
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        rows = [("release", found["version"] or "none"), *_rows(found)]
        width = max(len(name) for name, words in rows)
        for name, words in rows:
            print(f"{name:<{width}}  {words}")
        print()
        print("All is well." if found["well"] else "Not well:")
        for problem in found["problems"]:
            print(f"- {problem}")
    return 0 if found["well"] else NOT_WELL
