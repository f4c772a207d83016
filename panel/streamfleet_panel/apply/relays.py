"""Planning of relays."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from streamfleet_panel import guard, represent
from streamfleet_panel.apply import of_service
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.fields import REQUIRED
from streamfleet_panel.apply.plan import Plan
from streamfleet_panel.apply.relay_fields import SCHEMES
from streamfleet_panel.engines import Engine, engines
from streamfleet_panel.models import MediaService, Relay

MOST_RELAYS = 16


def plan_relay(plan: Plan, entry: Entry, declared: Container[str]) -> None:
    """One relay of the document. ``declared``: slugs that the document itself names; their faults are noted."""
    draft = of_service.begin(plan, entry, declared)
    if draft is None:
        return
    relay, service = draft.obj, draft.service
    if draft.created and not relay.mount and "mount" not in entry.fields:
        relay.mount = represent.default_mount(draft.engine, draft.engine.settings(service.settings))
        draft.changes["mount"] = {"before": None, "after": relay.mount}
    if draft.sound:
        _judge(plan, entry, relay, service, draft.changes)
    of_service.finish(plan, entry, draft)


def _judge(plan: Plan, entry: Entry, relay: Relay, service: MediaService, changes: dict[str, dict[str, Any]]) -> None:
    """What fields mean together."""
    missing = [name for name in REQUIRED["relay"] if not getattr(relay, name)]
    for name in missing:
        plan.problem(f"{entry.path}.{name}", None, "is missing", f"A new relay needs {name}.")
    if missing:
        return
    try:
        place = guard.place_of(relay.address, SCHEMES[relay.direction])
    except guard.Refused as refused:
        plan.problem(f"{entry.path}.address", relay.address, refused.message, refused.fix)
        return
    out = relay.direction == Relay.Direction.OUT
    if out and (place.path == "/" or "?" in place.path):
        fix = "Write it as icecast://radio.example.net:8000/stream."
        plan.problem(f"{entry.path}.address", relay.address, "does not end in a mount of the other server", fix)
    if _is_itself(place, service):
        plan.problem(
            f"{entry.path}.address", relay.address, "is this media service itself", "Name another server or service."
        )
    if out and relay.password is None:
        plan.problem(
            f"{entry.path}.password", None, "is missing: relays out log in", "Give the other server's password."
        )
    if not out and (relay.username is None) != (relay.password is None):
        name = "password" if relay.password is None else "username"
        plan.problem(f"{entry.path}.{name}", None, "is missing: a log-in has both", "Give both, or neither.")
    before = changes.get("address", {}).get("before")
    if before and relay.password is not None and "password" not in entry.fields:
        try:
            old: guard.Place | None = guard.place_of(before, SCHEMES[relay.direction])
        except guard.Refused:
            # Stored by a release that let it through.
            old = None
        if old is None or (old.scheme, old.host, old.port) != (place.scheme, place.host, place.port):
            fix = "Give the password for it, or null for none."
            plan.problem(
                f"{entry.path}.address", relay.address, "is another server, which must not get the old password", fix
            )


def _is_itself(place: guard.Place, service: MediaService) -> bool:
    hosts = {(host or "").lower().rstrip(".") for host in (service.node.stream_host, service.node.address)}
    if place.host not in hosts:
        return False
    path = place.path.partition("?")[0]
    return place.port == service.port or f"{path}/".startswith(f"/listen/{service.slug}/")


def check(plan: Plan) -> None:
    """Refuse more relays than a service may have, two that get in each other's way, and mounts that are not there."""
    of_service.check_most(plan, "relay", MOST_RELAYS)
    services = _touched(plan)
    if not services:
        return
    paths = {id(result.obj): path for path, result in plan.by_path.items()}
    known = engines()
    for service, relays in of_service.will_have(plan, "relay", services.values()):
        engine = known[service.engine]
        taken: dict[tuple[str, str], Relay] = {}
        for relay in relays:
            _mount(plan, service, engine, relay, paths)
            if not relay.enabled:
                continue
            end = relay.mount if relay.direction == Relay.Direction.IN else relay.address
            other = taken.setdefault((relay.direction, end), relay)
            if other is not relay:
                # Complain at the one that the document names.
                named, first = (relay, other) if id(relay) in paths else (other, relay)
                field, what = ("mount", "into") if relay.direction == Relay.Direction.IN else ("address", "to")
                message = f"is relayed {what} by {first.name} already"
                path = f"{paths.get(id(named), '')}.{field}"
                plan.problem(path, end, message, f"Use another {field}, or set enabled: false of one.")


def _touched(plan: Plan) -> dict[int, MediaService]:
    """Services whose relays, or whose own fields change, by identity."""
    found: dict[int, MediaService] = {}
    for result in plan.by_path.values():
        if result.kind == "relay" and result.obj is not None and result.action in ("created", "updated"):
            found[id(result.obj.media_service)] = result.obj.media_service
    for service, columns in plan.updated.get(MediaService, {}).values():
        if "settings" in columns and service.deleted_at is None:
            found[id(service)] = service
    return found


def _mount(plan: Plan, service: MediaService, engine: Engine, relay: Relay, paths: dict[int, str]) -> None:
    field = engine.mounts_field
    names = [mount["name"] for mount in engine.settings(service.settings)[field]] if field is not None else []
    if relay.mount in names:
        return
    if id(relay) in paths:
        fix = f"Use one of {', '.join(names)}."
        plan.problem(f"{paths[id(relay)]}.mount", relay.mount, "is not a mount of this service", fix)
    else:
        gone = plan.mounts_gone.get((service.slug, relay.mount))
        path = f"{paths.get(id(service), '')}.{field}" if gone is None else f"{gone}.name"
        message = f"lacks {relay.mount}, which the relay {relay.name} needs"
        plan.problem(path, None, message, "Keep this mount, or delete the relay, or give it another mount first.")
