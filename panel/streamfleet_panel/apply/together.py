"""What an engine's spec says of fields and credentials that depend on each other, or on a limit of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamfleet_panel import guard
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.plan import Plan
from streamfleet_panel.engines import Engine, Property
from streamfleet_panel.models import MediaService

Changes = Mapping[str, Mapping[str, Any]]


def judge_together(plan: Plan, entry: Entry, service: MediaService, engine: Engine, changes: Changes) -> None:
    """Refuse what cannot be together: it would be accepted here, and fail on the node."""
    credentials = service.credentials if any(_depends(prop) for prop in engine.credentials.values()) else {}
    values = {**service.settings, **credentials}
    for name, prop in {**engine.fields, **engine.credentials}.items():
        if prop.bound_to is not None:
            _same_server(plan, entry, values, prop, changes)
        if values.get(name) is None or values[name] == prop.default:
            continue
        shown = None if prop.secret else values[name]
        _limit(plan, entry, service, prop, shown, changes)
        for other in prop.excludes:
            there = values.get(other) is not None and values[other] != engine.fields[other].default
            if there and (name in changes or other in changes):
                fix = f"Choose one of them: give null for {other}, or leave {name} out."
                plan.problem(f"{entry.path}.{name}", shown, f"cannot be had together with {other}", fix)
        other_one = prop.together
        if other_one and values.get(other_one) is None and (name in changes or other_one in changes):
            message = f"is missing: {name} goes with it"
            plan.problem(f"{entry.path}.{other_one}", None, message, f"Give both {name} and {other_one}, or neither.")
        for field, schemes in prop.for_schemes.items():
            place = _place(values.get(field))
            if place is not None and place.scheme not in schemes and (name in changes or field in changes):
                message = f"is not for a {field} by {place.scheme}"
                fix = f"Give null for {name}, or a {field} by {' or '.join(schemes)}."
                plan.problem(f"{entry.path}.{name}", shown, message, fix)


def _depends(prop: Property) -> bool:
    return bool(prop.together or prop.for_schemes or prop.bound_to)


def _limit(plan: Plan, entry: Entry, service: MediaService, prop: Property, shown: Any, changes: Changes) -> None:
    """A limit that there must be, and how much of it."""
    name, limit = prop.name, prop.with_limit
    if limit is None or not (name in changes or limit in changes):
        return
    found = getattr(service, limit)
    if found is None:
        plan.problem(
            f"{entry.path}.{name if name in changes else limit}",
            shown if name in changes else None,
            f"{name} needs {limit}",
            f"Set {limit} as well, or {name}: null.",
        )
    elif found < prop.limit_at_least:
        plan.problem(
            f"{entry.path}.{limit}",
            found,
            f"is too little for {name}, which needs at least {prop.limit_at_least}",
            f"Set {limit} to {prop.limit_at_least} or more, or {name}: null.",
        )


def _same_server(plan: Plan, entry: Entry, values: Mapping[str, Any], prop: Property, changes: Changes) -> None:
    """Whoever may write an address, and read no secret, gets none by naming a server of their own."""
    field = str(prop.bound_to)
    before = changes.get(field, {}).get("before")
    if before is None or values.get(prop.name) is None or prop.name in entry.fields:
        return
    old, new = _place(before), _place(values.get(field))
    if old is None or new is None or (old.scheme, old.host, old.port) != (new.scheme, new.host, new.port):
        plan.problem(
            f"{entry.path}.{field}",
            values.get(field),
            f"is another server, which must not get the old {prop.name}",
            f"Give {prop.name} for it, or null for none.",
        )


def _place(address: Any) -> guard.Place | None:
    """The parts of an address; None where it is none, or none that is let through today."""
    try:
        return guard.place_of(str(address), tuple(guard.PORTS)) if address is not None else None
    except guard.Refused:
        return None
