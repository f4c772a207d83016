"""From a document to its outcome."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from streamfleet_panel import service_transfers
from streamfleet_panel.access import Actor, may
from streamfleet_panel.apply import (
    customers,
    djs,
    domains,
    hosts,
    limits,
    media_users,
    mounts,
    of_service,
    panel_domains,
    passwords,
    playlists,
    relays,
    schedules,
    service_ports,
    services,
)
from streamfleet_panel.apply.document import Entry, parse
from streamfleet_panel.apply.execute import execute
from streamfleet_panel.apply.fields import COLLECTION_OF, LABEL, OF_SERVICE
from streamfleet_panel.apply.passwords import Hashes
from streamfleet_panel.apply.plan import DELETED, Options, Plan, Result
from streamfleet_panel.apply.problems import ApiError, Problem, invalid, shown
from streamfleet_panel.apply.world import World
from streamfleet_panel.models import Counter, Node
from streamfleet_panel.models.counter import UidsExhausted
from streamfleet_panel.represent import represent_results


@dataclass
class Outcome:
    """What an apply did, or would do."""

    dry_run: bool
    results: list[Result]
    nodes: dict[str, int] = field(default_factory=dict)
    objects: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Anything but "unchanged" happened."""
        return any(result.action != "unchanged" for result in self.results)

    def result(self, result: Result) -> dict[str, Any]:
        """One item of ``results`` as the API shows it."""
        shown_ = {
            "kind": result.kind,
            "key": result.key,
            "path": result.path,
            "action": result.action,
            "changes": result.changes,
        }
        if id(result) in self.objects:
            shown_["object"] = self.objects[id(result)]
        return shown_

    def as_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        summary = {"created": 0, "updated": 0, "unchanged": 0, "deleted": 0}
        for result in self.results:
            summary[result.action] += 1
        return {
            "dry_run": self.dry_run,
            "changed": self.changed,
            "summary": summary,
            "results": [self.result(result) for result in self.results],
            "nodes": self.nodes,
        }


def apply_document(
    document: Any,
    actor: Actor,
    options: Options | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    defer: Callable[[int], bool] | None = None,
) -> Outcome | None:
    """Apply ``document`` as ``actor``. Raises ApiError; then nothing has changed.

    ``defer`` is asked, with the number of passwords to hash, before that work begins; if it says yes, None is
    returned and the document is left to a job. ``progress`` is told how many have been hashed.
    """
    options = options or Options()
    entries, faults = _entries(document, options)
    if faults:
        # Refused in any case; planning finds what else is wrong.
        _plan(entries, actor, options, faults)
    if not any(entry.kind in ("customer", "media_user") and "password" in entry.fields for entry in entries):
        return _locked(entries, actor, options, {})
    # Passwords cost 25 ms each: a first plan, without the lock, finds out which there are and whether all is well.
    draft = _plan(entries, actor, options)
    work = len(draft.passwords)
    if options.dry_run:
        work -= len(draft.new_passwords)
    if defer is not None and defer(work):
        return None
    if options.dry_run:
        passwords.compare_only(draft)
        media_users.touch_nodes(draft)
        return _outcome(draft)
    return _locked(entries, actor, options, passwords.prepare(draft, progress))


def apply_one(
    kind: str, fields: dict[str, Any], actor: Actor, options: Options | None = None
) -> tuple[dict[str, Any], Outcome]:
    """Apply a document of one object; the item of ``results`` that is its, and the whole outcome."""
    outcome = apply_document({COLLECTION_OF[kind]: [fields]}, actor, options)
    assert outcome is not None  # nothing was deferred
    return outcome.result(outcome.results[0]), outcome


def _entries(document: Any, options: Options) -> tuple[list[Entry], list[Problem]]:
    """The document's objects, and what is wrong with its structure; raises where nothing further can be judged."""
    label = options.label
    problems: list[Problem] = []
    if label is not None and not re.fullmatch(LABEL, label):
        fix = "Letters, digits and . _ : / @ -; at most 100 characters."
        problems.append(Problem("label", shown(label), "is not a label", fix))
    if options.prune and label is None:
        problems.append(Problem("label", None, "is missing", "prune deletes by label: name the document's label."))
    entries, faults = parse(document)
    problems += faults
    if problems and not entries:
        raise invalid(problems)
    return entries, problems


def _locked(entries: list[Entry], actor: Actor, options: Options, hashes: Hashes) -> Outcome:
    if options.dry_run:
        return _outcome(_plan(entries, actor, options))
    with transaction.atomic():
        counter = Counter.lock()
        plan = _plan(entries, actor, options)
        passwords.settle(plan, hashes)
        media_users.touch_nodes(plan)
        try:
            execute(plan, counter)
        except UidsExhausted as error:
            raise ApiError("conflict", str(error)) from None
        return _outcome(plan)


def _plan(entries: list[Entry], actor: Actor, options: Options, faults: Iterable[Problem] = ()) -> Plan:
    """Plan the whole document. Raises ApiError with every fault, those found before (``faults``) first."""
    also = [actor.account.username] if actor.account is not None else []
    world = World(entries, options.label, prune=options.prune and options.label is not None, also=also)
    plan = Plan(actor, options, world, problems=list(faults))
    of_kind: dict[str, list[Entry]] = {kind: [] for kind in COLLECTION_OF}
    for entry in entries:
        of_kind[entry.kind].append(entry)
    for entry in of_kind["reseller_plan"]:
        hosts.plan_reseller_plan(plan, entry)
    for entry in of_kind["node"]:
        hosts.plan_node(plan, entry)
    for entry in of_kind["customer"]:
        customers.plan_customer(plan, entry)
    for entry in of_kind["customer"]:
        customers.link_reseller(plan, entry)
    for entry in of_kind["media_service"]:
        services.plan_service(plan, entry)
    declared = {entry.key for entry in of_kind["media_service"] if not entry.absent}
    # Before relays, which name mounts.
    mounts.plan_mounts(plan, of_kind["mount"], of_kind["media_service"])
    for entry in of_kind["playlist"]:
        playlists.plan_playlist(plan, entry, declared)
    for entry in of_kind["dj"]:
        djs.plan_dj(plan, entry, declared)
    for entry in of_kind["schedule"]:
        schedules.plan_schedule(plan, entry, declared)
    for entry in of_kind["relay"]:
        relays.plan_relay(plan, entry, declared)
    domains.plan_domains(plan, of_kind["domain"], declared)
    declared = {entry.key for entry in of_kind["customer"] if not entry.absent}
    for entry in of_kind["media_user"]:
        media_users.plan_media_user(plan, entry, declared)
    panel_domains.plan_panel_domains(plan, of_kind["panel_domain"], declared)
    service_ports.allot(plan)
    order = {entry.path: entry.index for entry in entries}
    plan.results.sort(key=lambda result: order[result.path])
    pruned = _prune(plan, entries) if options.prune and not plan.problems else []
    customers.cascade(plan)
    plan.results += plan.cascaded + pruned
    customers.flips(plan)
    if not plan.problems:
        limits.check(plan)
        services.check_unique(plan)
        playlists.check_room(plan)
        djs.check_room(plan)
        schedules.check(plan)
        relays.check(plan)
        domains.check(plan)
        panel_domains.check_room(plan)
        media_users.check_room(plan)
        hosts.check_removed(plan)
        service_transfers.check(plan)
    if plan.problems:
        raise invalid(plan.problems)
    if options.prune:
        _guard(plan)
    media_users.touch_nodes(plan)
    return plan


def _prune(plan: Plan, entries: list[Entry]) -> list[Result]:
    """Delete what carries the label and is not in the document; only what the actor may delete."""
    actor, world, label = plan.actor, plan.world, plan.options.label
    named = {(entry.kind, entry.key) for entry in entries}
    pruned: list[Result] = []

    def note(kind: str, key: str, obj: Any, owner: Any) -> None:
        pruned.append(Result(kind, key, "", "deleted", dict(DELETED), obj, owner, pruned=True))

    if may(actor, "delete", "media_service"):
        for service in sorted(world.services.values(), key=lambda service: service.slug):
            mine = service.pk is not None and service.label == label and service.deleted_at is None
            if mine and ("media_service", service.slug) not in named and services.in_reach(plan, service):
                services.delete_service(plan, service)
                note("media_service", service.slug, service, service.customer)
    if may(actor, "delete", "customer"):
        for account in sorted(world.accounts.values(), key=lambda account: account.username):
            mine = account.pk is not None and account.label == label and account.deleted_at is None
            if mine and ("customer", account.username) not in named and customers.in_reach(plan, account):
                customers.delete_account(plan, "", account)
                note("customer", account.username, account, account)
    if may(actor, "delete", "reseller_plan"):
        for offer in list(world.plans.values()):
            if offer.pk is not None and offer.label == label and ("reseller_plan", offer.name) not in named:
                plan.remove(offer)
                note("reseller_plan", offer.name, offer, None)
    if may(actor, "delete", "node"):
        for node in list(world.nodes.values()):
            if node.pk is not None and node.label == label and ("node", node.name) not in named:
                plan.remove(node)
                note("node", node.name, node, None)
    for key, login in sorted(world.media_users.items()) if may(actor, "delete", "media_user") else ():
        if login.label == label and ("media_user", key) not in named and media_users.prunable(plan, login):
            media_users.delete(plan, login)
            note("media_user", key, login, login.customer)
    for key, claim in sorted(world.panel_domains.items()) if may(actor, "delete", "panel_domain") else ():
        if claim.label == label and ("panel_domain", key) not in named and panel_domains.prunable(plan, claim):
            plan.remove(claim)
            note("panel_domain", key, claim, claim.reseller)
    for kind in OF_SERVICE:
        # Last: what goes with its service is not deleted by itself.
        for key, obj in sorted(world.of_service[kind].items()) if may(actor, "delete", kind) else ():
            if obj.label == label and (kind, key) not in named and of_service.prunable(plan, obj):
                of_service.delete(plan, kind, obj)
                note(kind, key, obj, obj.media_service.customer)
    return pruned


def _guard(plan: Plan) -> None:
    pruned = [result for result in plan.results if result.pruned]
    if len(pruned) <= plan.options.max_delete:
        return
    message = f"prune would delete {len(pruned)} objects, max_delete is {plan.options.max_delete}; nothing was changed"
    fix = f"Put them back into the document, or set max_delete to {len(pruned)}."
    problems = [Problem("", result.key, f"{result.kind} {result.key} would be deleted", fix) for result in pruned]
    raise ApiError("max_delete_exceeded", message, problems[:1000])


def _outcome(plan: Plan) -> Outcome:
    outcome = Outcome(dry_run=plan.options.dry_run, results=plan.results)
    gone = {id(node) for node in plan.removed.get(Node, [])}
    touched = [node for node in plan.touched_nodes.values() if id(node) not in gone]
    ahead = 1 if plan.options.dry_run else 0
    outcome.nodes = {node.name: node.generation + ahead for node in sorted(touched, key=lambda node: node.name)}
    if plan.options.return_objects:
        outcome.objects = represent_results(plan.actor, plan.results, dry_run=plan.options.dry_run)
    return outcome
