"""Customers' media libraries: which services have to do with one, and how much may be stored there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from streamfleet_panel.engines import engines
from streamfleet_panel.models import Account, MediaService

Key = TypeVar("Key", int, str, tuple[int, int])


def uses_library(service: MediaService) -> bool:
    """Whether the service has to do with its customer's library on its node."""
    engine = engines().get(service.engine)
    return engine is not None and engine.has_library(service.settings, service.service_type)


def quotas_of(libraries: Mapping[Key, list[tuple[str, int | None]]]) -> dict[Key, int | None]:
    """Disk quotas of libraries, out of state and disk quota of each service that uses one.

    The quotas are added; one service without makes the library unlimited. Where all services are switched off, there
    is no library.
    """
    found: dict[Key, int | None] = {}
    for key, services in libraries.items():
        kept = [(state, quota) for state, quota in services if state != "deleted"]
        if any(state not in ("disabled", "suspended") for state, _ in kept):
            limits = [quota for _, quota in kept]
            found[key] = None if None in limits else sum(limit or 0 for limit in limits)
    return found


def of_services(services: Iterable[MediaService]) -> dict[tuple[int, int], int | None]:
    """Disk quotas of the libraries of these services' customers on their nodes, by the ids of both. One query."""
    places = {(service.customer_id, service.node_id) for service in services}
    customers, nodes = ({place[part] for place in places} for part in (0, 1))
    beside = MediaService.objects.filter(customer_id__in=customers, node_id__in=nodes)
    beside = beside.select_related("customer__reseller").order_by()
    libraries: dict[tuple[int, int], list[tuple[str, int | None]]] = {}
    for service in beside.defer("credentials_encrypted", "previous_credentials_encrypted"):
        place = service.customer_id, service.node_id
        if place in places and uses_library(service):
            libraries.setdefault(place, []).append((service.desired_state()[0], service.disk_quota_mb))
    return quotas_of(libraries)


def of_customer(customer: Account) -> list[dict[str, Any]]:
    """The customer's libraries with what may be stored there, as the documents of their nodes have it."""
    found: dict[str, list[tuple[str, int | None]]] = {}
    for service in MediaService.objects.filter(customer=customer).select_related("customer__reseller", "node"):
        if uses_library(service):
            found.setdefault(service.node.name, []).append((service.desired_state()[0], service.disk_quota_mb))
    return [{"node": node, "disk_quota_mb": quota} for node, quota in sorted(quotas_of(found).items())]
