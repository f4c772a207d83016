"""Planning of mounts one by one: items of their service's own list, which the engine's spec describes.

Of the list nothing is changed but the mounts that the document names, so two documents never lose each other's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamfleet_panel.apply import of_service
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.plan import DELETED, Plan, plain
from streamfleet_panel.apply.services import in_reach, judge_mounts, too_fast
from streamfleet_panel.engines import Engine, Property
from streamfleet_panel.models import MediaService

_BELOW = re.compile(r"\[(\d+)\](.*)", re.DOTALL)


@dataclass
class Mount:
    """A mount as an object of its own. It has no row: what is stored is its service."""

    media_service: MediaService
    item: Mapping[str, Any]
    pk: None = None

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.item["name"])


@dataclass
class _Station:
    """A service whose mounts the document names. ``paths``: by name, where; ``last``: what made it one more."""

    service: MediaService
    engine: Engine
    prop: Property
    mounts: list[dict[str, Any]]
    paths: dict[str, str] = field(default_factory=dict)
    last: str = ""
    # The mount that the document makes the default.
    default: str | None = None
    changed: bool = False


def mounts_of(service: MediaService, engine: Engine) -> list[Mount]:
    """The mounts of a service in their order; none where the engine has none."""
    if engine.mounts_field is None:
        return []
    return [Mount(service, item) for item in engine.settings(service.settings)[engine.mounts_field]]


def plan_mounts(plan: Plan, entries: list[Entry], services: list[Entry]) -> None:
    """All mounts of the document, and what those of each service mean together.

    ``services``: the document's media services; the faults of those are noted.
    """
    declared = {entry.key: entry for entry in services if not entry.absent}
    stations: dict[int, _Station] = {}
    faults = len(plan.problems)
    for entry in entries:
        station = _station(plan, entry, declared, stations)
        if station is not None and entry.absent:
            _absent(plan, entry, station)
        elif station is not None:
            _present(plan, entry, station)
    for station in stations.values():
        if station.changed and len(plan.problems) == faults:
            _judge(plan, station)
        if station.changed:
            settings = {**station.service.settings, station.prop.name: station.prop.normal(station.mounts)}
            station.service.settings = settings
            plan.update(station.service, ["settings"])
            plan.touch(station.service)


def _station(plan: Plan, entry: Entry, declared: Mapping[str, Entry], stations: dict[int, _Station]) -> _Station | None:
    """The service whose mount the entry names; None, and noted, where there is nothing to do."""
    service = plan.world.services.get(entry.parts[0])
    if service is not None and not in_reach(plan, service):
        service = None
    if not plan.permitted(entry, "delete" if entry.absent else "update"):
        return None
    gone = service is None or service.deleted_at is not None or service.customer.deleted_at is not None
    if entry.absent and gone and entry.parts[0] not in declared:
        plan.finish(entry, None, {}, "unchanged", None)
        return None
    engine = of_service.fit(plan, entry, service, declared)
    if engine is None or service is None or engine.mounts_field is None:
        return None
    name = engine.mounts_field
    if entry.parts[0] in declared and name in declared[entry.parts[0]].fields:
        whole = declared[entry.parts[0]].path
        plan.problem(
            f"{entry.path}.name",
            entry.parts[1],
            f"is a mount of a service whose whole list the document has in {whole}.{name}",
            "Keep this mount in one of both places.",
        )
        return None
    known = stations.get(id(service))
    if known is None:
        mounts = [dict(mount) for mount in engine.settings(service.settings)[name]]
        known = stations[id(service)] = _Station(service, engine, engine.fields[name], mounts)
    return known


def _absent(plan: Plan, entry: Entry, station: _Station) -> None:
    name = entry.parts[1]
    stored = next((mount for mount in station.mounts if mount["name"] == name), None)
    if stored is None:
        plan.finish(entry, None, {}, "unchanged", None)
        return
    station.mounts.remove(stored)
    station.changed = True
    plan.mounts_gone[station.service.slug, name] = entry.path
    station.last = station.last or entry.path
    plan.finish(entry, Mount(station.service, stored), dict(DELETED), "deleted", station.service.customer)


def _present(plan: Plan, entry: Entry, station: _Station) -> None:
    name, items = entry.parts[1], station.prop.schema["items"]
    known = [key for key in items["properties"] if key != "name"]
    unknown = [key for key in entry.fields if key not in known]
    for key in unknown:
        plan.unknown(entry, key, known)
    stored = next((mount for mount in station.mounts if mount["name"] == name), None)
    needed = [key for key in items["required"] if key != "name" and key not in {**(stored or {}), **entry.fields}]
    for key in needed:
        plan.problem(f"{entry.path}.{key}", None, "is missing", f"A new mount of {station.engine.title} needs it.")
    if unknown or needed:
        return
    if stored is None:
        station.mounts.append({"name": name})
        station.last = entry.path
    position = next(index for index, mount in enumerate(station.mounts) if mount["name"] == name)
    (wanted,) = station.prop.normal([{**station.mounts[position], **entry.fields}])
    station.mounts[position] = wanted
    station.paths[name] = entry.path
    station.last = station.last or entry.path
    if entry.fields.get("default") is True:
        _take_default(plan, entry, station)
    before = stored or {}
    changes = {
        key: {"before": plain(before.get(key)), "after": plain(value)}
        for key, value in wanted.items()
        if key != "name" and (key in entry.fields if stored is None else before.get(key) != value)
    }
    station.changed = station.changed or stored is None or bool(changes)
    action = "created" if stored is None else "updated"
    plan.finish(entry, Mount(station.service, wanted), changes, action, station.service.customer)


def _take_default(plan: Plan, entry: Entry, station: _Station) -> None:
    """What players open is one: the mark leaves the mount that had it."""
    name = entry.parts[1]
    if station.default is not None:
        message = f"{station.default} is made the default by this document already"
        plan.problem(f"{entry.path}.default", True, message, "Mark one mount as the default.")
    station.default = name
    for mount in station.mounts:
        if mount["name"] != name and mount.get("default"):
            mount["default"] = False
            station.changed = True


def _judge(plan: Plan, station: _Station) -> None:
    """The list as it would be: what the engine says of it, and what mounts mean together."""
    service, mounts = station.service, station.mounts
    if not mounts:
        plan.problem(
            f"{station.last}.name",
            None,
            f"is the only mount that {service.slug} would have left",
            "Declare another one first; a service keeps one.",
        )
        return
    faults = list(station.prop.faults(mounts))
    for below, wrong, message in faults:
        found = _BELOW.match(below)
        path = station.paths.get(mounts[int(found[1])]["name"]) if found else None
        where = f"{path}{found[2]}" if found and path else station.last
        plan.problem(where, wrong if found else len(mounts), message, f"See {station.prop.name} of the media service.")
    if faults:
        return
    left = {mount["name"] for mount in mounts}
    for mount in mounts:
        gone = mount.get("fallback")
        if gone is not None and gone not in left and (service.slug, gone) in plan.mounts_gone:
            path, message = plan.mounts_gone[service.slug, gone], f"is what {mount['name']} falls back to"
            plan.problem(f"{path}.name", gone, message, "Give that mount another fallback, or null for none.")
            return
    paths = [station.paths.get(mount["name"], station.last) for mount in mounts]
    judge_mounts(plan, service, mounts, paths, f"{station.last}.name", f"{station.last}.default")
    if service.max_bitrate_kbps is not None:
        for mount in mounts:
            if mount["name"] in station.paths:
                too_fast(plan, mount, service.max_bitrate_kbps, station.paths[mount["name"]])
