"""Things done to a service outside a document: start, stop, restart, rotate credentials, clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from streamfleet_panel import queueing, secrets
from streamfleet_panel.access import Actor
from streamfleet_panel.apply.execute import audit_entry, bulk_update, bump, locked
from streamfleet_panel.apply.fields import key_of
from streamfleet_panel.apply.plan import SECRET_CHANGE
from streamfleet_panel.apply.problems import ApiError, Problem, shown
from streamfleet_panel.engines import engines, generate_credential
from streamfleet_panel.models import ConvergeRun, Counter, Dj, MediaService, Node, UniqueCredential
from streamfleet_panel.nodedoc import still_valid
from streamfleet_panel.times import rfc3339

ACTIONS = ("start", "stop", "restart", "skip")
MOST_OVERLAP = 30 * 86400
# Former values of one credential that work on at once; the oldest goes first.
MOST_OLDER = 5


def act(actor: Actor, service: MediaService, action: str) -> int:
    """Start, stop, restart or skip what the AutoDJ plays; returns the generation to wait for.

    Raises ApiError where the service is off for a reason.
    """
    if action not in ACTIONS:
        problem = Problem("action", shown(action), "is not an action", f"Use {', '.join(ACTIONS)}.")
        raise ApiError("invalid_document", "action: is not an action", [problem])
    with transaction.atomic():
        service = locked(service)
        state, reason = service.desired_state()
        if (action != "stop" and state not in ("running", "stopped")) or (action == "skip" and state != "running"):
            why = f": {reason}" if reason else ""
            past = {"skip": "skipped"}.get(action, f"{action}ed")
            raise ApiError("conflict", f"{service.slug} cannot be {past}, it is {state.replace('_', ' ')}{why}")
        if action == "skip":
            queueing.require_player(service, on=True)
            return _skip(actor, service)
        changes: dict[str, Any] = {}
        wanted = action == "stop"
        if service.stopped != wanted:
            changes["stopped"] = {"before": service.stopped, "after": wanted}
            service.stopped = wanted
        if action == "restart":
            changes["restart"] = {"before": service.restart, "after": service.restart + 1}
            service.restart += 1
        if changes:
            bump([service])
            service.save(update_fields=["stopped", "restart", "generation"])
            audit_entry(actor, action, "media_service", service.slug, changes, service.customer).save()
    return service.generation


def _skip(actor: Actor, service: MediaService) -> int:
    changes = {"skip": {"before": service.skip, "after": service.skip + 1}}
    service.skip += 1
    bump([service])
    service.save(update_fields=["skip", "generation"])
    audit_entry(actor, "skip", "media_service", service.slug, changes, service.customer).save()
    return service.generation


def kick(actor: Actor, dj: Dj) -> int:
    """Have the DJ disconnected; returns the generation to wait for. Raises ApiError where the DJ is gone meanwhile."""
    with transaction.atomic():
        Counter.lock()
        found = Dj.objects.select_related("media_service__customer", "media_service__node").filter(pk=dj.pk).first()
        if found is None:
            raise ApiError("not_found", f"There is no DJ {dj.username}")
        service = found.media_service
        changes = {"kick": {"before": found.kick, "after": found.kick + 1}}
        found.kick += 1
        found.save(update_fields=["kick"])
        bump([service])
        service.save(update_fields=["generation"])
        audit_entry(actor, "kick", "dj", key_of("dj", found), changes, service.customer).save()
    return service.generation


def converge(actor: Actor, node: Node) -> ConvergeRun:
    """Ask for a run of the node, even where nothing changed; joins one that is waiting already."""
    with transaction.atomic():
        Counter.lock()
        run = ConvergeRun.objects.filter(node=node, state=ConvergeRun.State.PENDING).first()
        if run is None:
            run = ConvergeRun.objects.create(node=node, requested_by=actor.name)
        elif run.next_attempt_at is not None:
            # Somebody waits: the next attempt need not.
            run.next_attempt_at = None
            run.save(update_fields=["next_attempt_at"])
        audit_entry(actor, "converge", "node", node.name).save()
    return run


def rotate(actor: Actor, service: MediaService, names: Sequence[str], overlap_seconds: int) -> MediaService:
    """New values for credentials (all generated ones where ``names`` is empty); old ones work on for the overlap.

    Raises ApiError for names of other credentials, which somebody sets.
    """
    engine = engines()[service.engine]
    unknown = [name for name in names if name not in engine.credentials]
    if unknown:
        fix = f"Credentials of {engine.name}: {', '.join(engine.credentials)}."
        problem = Problem("names", shown(unknown[0]), f"is not a credential of {engine.name}", fix)
        raise ApiError("invalid_document", f"names: {problem.message}", [problem])
    made = [name for name, prop in engine.credentials.items() if prop.generate and prop.is_for(service.service_type)]
    for name in names:
        if name in made:
            continue
        if engine.credentials[name].is_for(service.service_type):
            # Such as what a server elsewhere asks for: a new value would be wrong there.
            message, fix = "is set by hand, so it cannot be made anew", f"Give {name} its new value in the service."
        else:
            message = f"is not for services of type {service.service_type}"
            fix = f"Credentials of this service that can be made anew: {', '.join(made) or 'none'}."
        raise ApiError("invalid_document", f"names: {name} {message}", [Problem("names", shown(name), message, fix)])
    chosen = list(dict.fromkeys(names)) or made
    single = [name for name in chosen if overlap_seconds and not engine.credentials[name].overlap]
    if single:
        message = f"{engine.name} knows one {single[0]} at a time, so the old one cannot work on"
        problem = Problem("overlap_seconds", overlap_seconds, message, f"Rotate {single[0]} without an overlap.")
        raise ApiError("invalid_document", f"overlap_seconds: {message}", [problem])
    now = timezone.now()
    with transaction.atomic():
        service = locked(service)
        current = service.credentials
        previous = still_valid(service.previous_credentials, now)
        expires = now + timedelta(seconds=overlap_seconds)
        for name in chosen:
            if overlap_seconds and current.get(name):
                older = [*previous.get(name, []), {"value": current[name], "expires": str(rfc3339(expires))}]
                previous[name] = older[-MOST_OLDER:]
            elif not overlap_seconds:
                # "At once" means every older value too.
                previous.pop(name, None)
            current[name] = generate_credential()
        service.credentials_encrypted = secrets.encrypt(current)
        _keep(service, previous)
        UniqueCredential.replace([service])
        bump([service])
        service.save(
            update_fields=[
                "credentials_encrypted",
                "previous_credentials_encrypted",
                "previous_credentials_until",
                "generation",
            ]
        )
        changes = {name: dict(SECRET_CHANGE) for name in chosen}
        audit_entry(actor, "rotate", "media_service", service.slug, changes, service.customer).save()
    return service


def _keep(service: MediaService, previous: dict[str, list[dict[str, str]]]) -> None:
    """Store what is still accepted, and when the first of it ends."""
    service.previous_credentials_encrypted = secrets.encrypt(previous)
    ends = [datetime.fromisoformat(item["expires"]) for items in previous.values() for item in items]
    service.previous_credentials_until = min(ends, default=None)


def tick(actor: Actor) -> int:
    """What the clock does to services: ends suspensions and overlaps that are over. Returns how many changed."""
    now = timezone.now()
    due = MediaService.objects.filter(suspended_until__lte=now, suspended=True) | MediaService.objects.filter(
        previous_credentials_until__lte=now
    )
    if not due.exists():
        return 0
    with transaction.atomic():
        Counter.lock()
        services = list(due.select_related("customer"))
        entries = []
        for service in services:
            if service.suspended and service.suspended_until is not None and service.suspended_until <= now:
                changes: dict[str, Any] = {
                    "suspended": {"before": True, "after": False},
                    "suspended_until": {"before": rfc3339(service.suspended_until), "after": None},
                }
                service.suspended, service.suspended_until = False, None
                entries.append(("updated", service, changes))
            if service.previous_credentials_until is not None and service.previous_credentials_until <= now:
                _keep(service, still_valid(service.previous_credentials, now))
        UniqueCredential.replace(services)
        bump(services)
        bulk_update(
            MediaService,
            services,
            [
                "suspended",
                "suspended_until",
                "previous_credentials_encrypted",
                "previous_credentials_until",
                "generation",
            ],
        )
        _audit(actor, entries)
    return len(services)


def _audit(actor: Actor, entries: Iterable[tuple[str, MediaService, dict[str, Any]]]) -> None:
    for action, service, changes in entries:
        audit_entry(actor, action, "media_service", service.slug, changes, service.customer).save()
