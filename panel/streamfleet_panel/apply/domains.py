"""Planning of domains. Whether one is proved is not for a document to say (``streamfleet_panel.domains``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Sequence
from urllib.parse import urlsplit

from django.conf import settings

from streamfleet_panel.apply import of_service
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.plan import Plan
from streamfleet_panel.apply.world import rows
from streamfleet_panel.models import Domain, Node, PanelDomain


def plan_domains(plan: Plan, entries: Sequence[Entry], declared: Container[str]) -> None:
    """All domains of the document. ``declared``: slugs that the document itself names; their faults are noted."""
    taken = own_names(plan) if entries else frozenset()
    for entry in entries:
        draft = of_service.begin(plan, entry, declared)
        if draft is None:
            continue
        ours = is_among(draft.obj.name, taken) if draft.created else None
        if ours is not None:
            message, fix = (
                f"is a name of this installation ({ours}), or below one",
                "Name a domain of the customer's own.",
            )
            plan.problem(f"{entry.path}.name", draft.obj.name, message, fix)
        of_service.finish(plan, entry, draft)


def is_among(name: str, names: Container[str]) -> str | None:
    """Which of ``names`` it is, or is below; None where there is none."""
    return next((part for part in _with_parents(name) if part in names), None)


def _with_parents(name: str) -> list[str]:
    """``a.b.c`` → itself, ``b.c`` and ``c``."""
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


def own_names(plan: Plan) -> frozenset[str]:
    """Names of the panel, of nodes as the plan has them, and what customers' CNAMEs lead to, or led to before."""
    nodes = [
        host
        for node in plan.world.nodes.values()
        for host in (node.stream_host, node.address, *node.former_stream_hosts)
    ]
    targets = [settings.DOMAIN_TARGET, *settings.FORMER_DOMAIN_TARGETS]
    hosts = [urlsplit(settings.PUBLIC_URL).hostname, *settings.ALLOWED_HOSTS, *targets, *nodes]
    names = {(host or "").lower().strip(".") for host in hosts}
    return frozenset(name for name in names if "." in name and not _is_address(name))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def check(plan: Plan) -> None:
    """Refuse more domains than a service may have, one that two services of a customer would have, and names of nodes
    that are a customer's."""
    _check_nodes(plan)
    for growth, total in of_service.over(plan, "domain", "domain", -1):
        service = growth.service
        if service.max_domains is not None and total > service.max_domains:
            message = f"{service.slug} would have {total} domains, max_domains allows {service.max_domains}"
            plan.problem(growth.path, total, message, "Delete one that is not needed, or raise max_domains.")
    created: list[Domain] = plan.created.get(Domain, [])
    if not created:
        return
    paths = {id(result.obj): path for path, result in plan.by_path.items()}
    gone = {obj.pk for obj in plan.removed.get(Domain, [])}
    known = {service.pk: service for service in plan.world.services.values()}
    stored = rows(Domain.objects.select_related("media_service__customer"), "name", [obj.name for obj in created])
    wanted = {(claim.media_service.customer.username, claim.name) for claim in created}
    taken: dict[tuple[str, str], Domain] = {}
    for claim in stored:
        service = known.get(claim.media_service_id, claim.media_service)
        key = service.customer.username, claim.name
        if claim.pk in gone or key not in wanted:
            continue
        if service.deleted_at is not None or service.customer.deleted_at is not None:
            # The customer has named it anew: a service that comes back comes back without it.
            plan.remove(claim)
        else:
            taken[key] = claim
    for claim in created:
        other = taken.setdefault((claim.media_service.customer.username, claim.name), claim)
        if other is not claim:
            message = f"is a domain of {other.media_service.slug} already"
            plan.problem(f"{paths[id(claim)]}.name", claim.name, message, "Delete it there first.")


def _check_nodes(plan: Plan) -> None:
    """Refuse a node a name that a customer has proved: under it that customer's service is reached, or the node's."""
    wanted: dict[str, tuple[str, str]] = {}
    for result in plan.results:
        if not isinstance(result.obj, Node) or result.action not in ("created", "updated"):
            continue
        for field in ("stream_host", "former_stream_hosts", "address"):
            if field not in result.changes and result.action == "updated":
                continue
            value = getattr(result.obj, field)
            for host in value if isinstance(value, list) else [value or ""]:
                wanted.setdefault(host.lower().strip("."), (f"{result.path}.{field}", host))
    if not wanted:
        return
    gone = {obj.pk for obj in plan.removed.get(Domain, [])}
    alive = Domain.objects.filter(media_service__deleted_at=None, media_service__customer__deleted_at=None)
    for claim in rows(alive.select_related("media_service__customer"), "holds", list(wanted)):
        if claim.pk in gone:
            continue
        path, host = wanted[claim.name]
        service = claim.media_service
        message = f"is a domain of {service.customer.username}'s, who has proved it for {service.slug}"
        plan.problem(path, host, message, "Give the node another name, or delete that domain first.")
    gone = {obj.pk for obj in plan.removed.get(PanelDomain, [])}
    theirs = PanelDomain.objects.filter(reseller__deleted_at=None).select_related("reseller")
    for name in rows(theirs, "holds", list(wanted)):
        if name.pk not in gone:
            path, host = wanted[name.name]
            message = f"is a panel domain of {name.reseller.username}'s, who has proved it"
            plan.problem(path, host, message, "Give the node another name, or delete that panel domain first.")
