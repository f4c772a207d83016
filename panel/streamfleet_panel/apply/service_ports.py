"""Which ports a service gets: those of its engine in a row, and one for each companion that needs one."""

from __future__ import annotations

from typing import Any

from streamfleet_panel.access import writable
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.plan import Plan
from streamfleet_panel.apply.ports import key_of_node
from streamfleet_panel.engines import Companion, Engine, engines
from streamfleet_panel.models import MediaService

Changes = dict[str, dict[str, Any]]


def settle(
    plan: Plan,
    entry: Entry,
    service: MediaService,
    engine: Engine,
    changes: Changes,
    *,
    creating: bool,
    old: int | None,
) -> None:
    """Take the ports that the entry names, and give back those that are not needed; ``old`` is what ``port`` was.

    Those that nobody names are chosen at the end, by ``allot``.
    """
    if service.port != old:
        _own(plan, entry, service, engine, changes, old)
    for companion in engine.companions:
        if companion.port is not None:
            _of_companion(plan, entry, service, companion, companion.port, changes)
    if creating or engine.fields.keys() & changes.keys():
        lacking(plan, service, engine, entry.path, changes)


def _own(plan: Plan, entry: Entry, service: MediaService, engine: Engine, changes: Changes, old: int | None) -> None:
    path = f"{entry.path}.port"
    if engine.ports == 0:
        plan.problem(path, service.port, f"{engine.name} has no port of its own", "Leave port out.")
    elif service.port is None:
        # null asks for "any", and it has one.
        service.port = old
        changes.pop("port", None)
    else:
        _given(plan, service, path, service.port, engine.ports, old)


def _of_companion(
    plan: Plan, entry: Entry, service: MediaService, companion: Companion, name: str, changes: Changes
) -> None:
    port, path = service.settings.get(name), f"{entry.path}.{name}"
    old = changes[name]["before"] if name in changes else port
    if port != old and port is not None:
        allowed = writable(plan.actor, entry.kind)
        if allowed is not None and "port" not in allowed:
            plan.not_yours(entry, name, port)
            return
    if not companion.is_there(service.settings):
        if port is not None and entry.fields.get(name) == port:
            fix = f"Set {companion.name} as well, or leave {name} out."
            plan.problem(path, port, f"is the port of the {companion.title}, which the service has not", fix)
        elif old is not None:
            plan.ports.load()
            plan.ports.free(key_of_node(service.node), old, 1)
            _set(plan, service, name, old, None, changes)
    elif port is None and old is not None:
        # null asks for "any", and it has one.
        service.settings = {**service.settings, name: old}
        changes.pop(name)
    elif port is not None and port != old:
        _given(plan, service, path, port, 1, old)


def lacking(plan: Plan, service: MediaService, engine: Engine, path: str, changes: Changes) -> None:
    """Leave to ``allot`` the ports that the service has not; it tells ``changes`` of them."""
    if _own_lacks(service, engine) or any(_lacks(service, companion) for companion in engine.companions):
        plan.portless.setdefault(id(service), (service, path, changes))


def _own_lacks(service: MediaService, engine: Engine) -> bool:
    return engine.ports > 0 and service.port is None


def _lacks(service: MediaService, companion: Companion) -> bool:
    there = companion.port is not None and companion.is_there(service.settings)
    return there and service.settings.get(companion.port) is None


def allot(plan: Plan) -> None:
    """Choose the ports that services lack, after all that the document names are taken."""
    for service, path, changes in plan.portless.values():
        engine = engines()[service.engine]
        if _own_lacks(service, engine):
            service.port = _next(plan, service, f"{path}.port", engine.ports)
            if service.port is None:
                continue
            changes["port"] = {"before": None, "after": service.port}
            plan.update(service, ["port"])
        for companion in engine.companions:
            if companion.port is None or not _lacks(service, companion):
                continue
            port = _next(plan, service, f"{path}.{companion.port}", 1)
            if port is not None:
                _set(plan, service, companion.port, None, port, changes)


def _set(plan: Plan, service: MediaService, name: str, old: int | None, new: int | None, changes: Changes) -> None:
    service.settings = {**service.settings, name: new}
    changes[name] = {"before": old, "after": new}
    plan.update(service, ["settings"])
    plan.touch(service)


def _next(plan: Plan, service: MediaService, path: str, width: int) -> int | None:
    """The next free ports of the service's node, taken; notes where there are none."""
    plan.ports.load()
    node = service.node
    first, last = node.port_range_start, node.port_range_end
    port = plan.ports.next(key_of_node(node), first, last, width)
    if port is None:
        plan.problem(path, None, f"no port is free on {node.name} ({first}-{last})", "Widen the node's port range.")
    else:
        plan.ports.take(key_of_node(node), port, width, service.slug)
    return port


def _given(plan: Plan, service: MediaService, path: str, port: int, width: int, old: int | None) -> None:
    """Take the ports that were asked for, and give back ``old``; notes why they cannot be had."""
    plan.ports.load()
    node, key = service.node, key_of_node(service.node)
    first, last = node.port_range_start, node.port_range_end
    if not first <= port <= last - width + 1:
        message = f"is outside the port range of {node.name} ({first}-{last})"
        plan.problem(path, port, message, "Choose a port of the range, or leave it out.")
        return
    if old is not None:
        plan.ports.free(key, old, width)
    holder = plan.ports.holder(key, port, width)
    if holder is not None:
        whose = f" by {holder}" if plan.actor.is_administrator else ""
        plan.problem(path, port, f"is taken on {node.name}{whose}", "Choose another, or leave it out.")
        return
    plan.ports.take(key, port, width, service.slug)
