"""Writing a plan: bulk statements only, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from django.db import connection
from django.db.models import F, Model, OuterRef, Q, Subquery

from streamfleet_panel import logins, secrets
from streamfleet_panel.access import Actor
from streamfleet_panel.apply.fields import OF_SERVICE
from streamfleet_panel.apply.plan import Plan, Result
from streamfleet_panel.apply.problems import ApiError
from streamfleet_panel.apply.world import chunks
from streamfleet_panel.models import (
    Account,
    AuditLog,
    Counter,
    Job,
    MediaService,
    MediaUser,
    Node,
    PanelDomain,
    ResellerPlan,
    TransferredService,
    UniqueCredential,
)

# In the order in which they are written; accounts and plans are created apart.
_CREATED: tuple[type[Model], ...] = (Node, MediaService, MediaUser, PanelDomain, *OF_SERVICE.values())
_UPDATED: tuple[type[Model], ...] = (
    ResellerPlan,
    Node,
    Account,
    MediaService,
    MediaUser,
    PanelDomain,
    *OF_SERVICE.values(),
)
_REMOVED: tuple[type[Model], ...] = (*OF_SERVICE.values(), MediaUser, PanelDomain, ResellerPlan, Node)
# An audit entry shows so many items of a list; a list of files may have thousands.
MOST_ITEMS = 100


def bulk_update(model: type[Model], objects: Iterable[Any], columns: Iterable[str]) -> None:
    """Write ``columns`` of stored objects in one upsert, which locks them by their primary keys' order.

    Django's own bulk_update builds one CASE per row and column.
    """
    objects, columns = sorted(objects, key=lambda obj: obj.pk), sorted(columns)
    if not objects or not columns:
        return
    more: dict[str, Any] = (
        {"unique_fields": ["id"]} if connection.features.supports_update_conflicts_with_target else {}
    )
    model._default_manager.bulk_create(objects, update_conflicts=True, update_fields=columns, **more)


def lock_services(pks: Iterable[int]) -> set[int]:
    """Lock these media services, in their primary keys' order, until the transaction ends; those that are there.

    Whoever locks several keeps this order: two who do it otherwise wait for each other.
    """
    there: set[int] = set()
    for part in chunks(sorted(pks)):
        locked = MediaService.objects.select_for_update().filter(pk__in=part).order_by("pk")
        there.update(locked.values_list("pk", flat=True))
    return there


def execute(plan: Plan, counter: Counter) -> None:
    """Write everything. ``counter`` is the locked counter of uids."""
    _generations(plan)
    _create_accounts(plan, counter)
    for model in _CREATED:
        new = plan.created.get(model)
        if new:
            model._default_manager.bulk_create(new)
    _update(plan)
    stored = [service.pk for service in plan.touched_services.values() if service.pk is not None]
    _tell_former(stored, {node.pk for node in plan.touched_nodes.values()})
    if plan.rekeyed:
        UniqueCredential.replace(service for service, _ in plan.rekeyed.values())
    _flip(plan)
    _remove(plan)
    _end_sessions(plan)
    record(plan.actor, [result for result in plan.results if result.action != "unchanged"])
    _welcome(plan)


def _generations(plan: Plan) -> None:
    """The document's generation rises once for each node that changes; its changed services take that number."""
    for node in plan.touched_nodes.values():
        node.generation += 1
        plan.update(node, ["generation"])
    for service in plan.touched_services.values():
        service.generation = service.node.generation
        plan.update(service, ["generation"])


def _tell_former(services: Iterable[int], told: Collection[int]) -> None:
    """Raise the generation of nodes that have something of services that are another's, but for those ``told``."""
    for part in chunks(services):
        items = TransferredService.objects.filter(service__in=part)
        places = items.values_list("service__node", "transfer__source", "transfer__target")
        others = {other for node, *both in places for other in both if other != node} - set(told)
        if others:
            Node.objects.filter(pk__in=others).update(generation=F("generation") + 1)


def _create_accounts(plan: Plan, counter: Counter) -> None:
    if plan.created.get(ResellerPlan):
        ResellerPlan.objects.bulk_create(plan.created[ResellerPlan])
    accounts: list[Account] = plan.created.get(Account, [])
    for account, uid in zip(accounts, counter.take(len(accounts)), strict=True):
        account.uid = uid
    # Resellers first: their customers refer to them.
    for batch in (
        [account for account in accounts if account.reseller is None],
        [account for account in accounts if account.reseller is not None],
    ):
        if batch:
            Account.objects.bulk_create(batch)


def _update(plan: Plan) -> None:
    for model in _UPDATED:
        changed = plan.updated.get(model, {}).values()
        if not changed:
            continue
        columns: set[str] = set().union(*(names for _, names in changed))
        # Objects that changed in other columns are written with what was read under the lock: the same value.
        bulk_update(model, (obj for obj, _ in changed), columns)


def _flip(plan: Plan) -> None:
    if not plan.flipped:
        return
    ids = [account.pk for account in plan.flipped]
    newest = Node.objects.filter(pk=OuterRef("node_id")).values("generation")[:1]
    for affected in (Q(customer_id__in=ids), Q(customer__reseller_id__in=ids)):
        pks = MediaService.objects.filter(affected, deleted_at=None).values_list("pk", flat=True)
        MediaService.objects.filter(pk__in=lock_services(pks)).update(generation=Subquery(newest))


def _end_sessions(plan: Plan) -> None:
    """Whoever gets another password, or loses the account or its API, logs in anew, wherever that was changed.

    A reseller's customers lose theirs with the reseller's.
    """
    ended, closed = set(), set()
    for account, names in plan.updated.get(Account, {}).values():
        off = account.status != Account.Status.ENABLED or account.deleted_at is not None
        if off and {"status", "deleted_at"} & set(names):
            closed.add(account.pk)
        elif "password" in names or ("api_access" in names and not account.api_access):
            ended.add(account.pk)
    if closed:
        ended |= closed | set(Account.objects.filter(reseller_id__in=closed).values_list("pk", flat=True))
    logins.end(ended)


def _remove(plan: Plan) -> None:
    for model in _REMOVED:
        for part in chunks(obj.pk for obj in plan.removed.get(model, [])):
            model._default_manager.filter(pk__in=part).delete()


def record(actor: Actor, results: Iterable[Result]) -> None:
    """Write audit entries, one for each result."""
    AuditLog.objects.bulk_create(
        [audit_entry(actor, result.action, result.kind, result.key, result.changes, result.owner) for result in results]
    )


def audit_entry(
    actor: Actor, action: str, kind: str, key: str, changes: dict[str, Any] | None = None, owner: Account | None = None
) -> AuditLog:
    """An unsaved audit entry; ``changes`` must carry no secret. Long lists are cut."""
    brief = {name: {when: _cut(value) for when, value in change.items()} for name, change in (changes or {}).items()}
    entry = AuditLog(
        actor_id=actor.account.pk if actor.account is not None else None,
        actor_name=actor.name,
        impersonator=actor.impersonator,
        token_id=actor.token_id,
        via=actor.via,
        ip=actor.ip or None,
        action=action,
        kind=kind,
        key=key,
        owner_id=owner.pk if owner is not None else None,
        changes=brief,
    )
    entry.owner_name = owner.username if owner is not None else None
    return entry


def _cut(value: Any) -> Any:
    if not isinstance(value, list) or len(value) <= MOST_ITEMS:
        return value
    return [*value[:MOST_ITEMS], f"… and {len(value) - MOST_ITEMS} more"]


def _welcome(plan: Plan) -> None:
    if plan.welcome:
        Job.objects.bulk_create(
            [
                Job(
                    kind=Job.Kind.WELCOME_EMAIL,
                    total=1,
                    payload_encrypted=secrets.encrypt({"account": account.pk}),
                    requested_by_id=plan.actor.account.pk if plan.actor.account is not None else None,
                )
                for account in plan.welcome
            ]
        )


def locked(service: MediaService) -> MediaService:
    """The service as it is now; nobody else changes any until the caller's transaction ends. For single changes.

    Raises ApiError where it is gone for good.
    """
    Counter.lock()
    found = MediaService.objects.select_related("customer__reseller", "node").filter(pk=service.pk).first()
    if found is None:
        raise ApiError("not_found", f"There is no media service {service.slug}")
    return found


def bump(services: Iterable[MediaService]) -> None:
    """Raise the generation of the services' nodes, and the services' to it. For single changes outside a document.

    Call in a transaction that holds ``Counter.lock()``; the services' own columns are the caller's to save.
    """
    services = list(services)
    node_ids = {service.node_id for service in services}
    Node.objects.filter(pk__in=node_ids).update(generation=F("generation") + 1)
    _tell_former((service.pk for service in services), node_ids)
    newest = dict(Node.objects.filter(pk__in=node_ids).values_list("pk", "generation"))
    for service in services:
        service.generation = newest[service.node_id]
