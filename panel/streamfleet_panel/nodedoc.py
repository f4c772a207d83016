"""The node document (desired state of one node) and the status that comes back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from streamfleet_panel import queueing, service_transfers
from streamfleet_panel.apply.checks import kind_of
from streamfleet_panel.apply.fields import COLLECTION_OF, KEYS, OF_SERVICE
from streamfleet_panel.apply.problems import ApiError, Problem, invalid, shown
from streamfleet_panel.apply.world import rows
from streamfleet_panel.engines import Engine, EngineSpecError, engines, release_digest
from streamfleet_panel.libraries import quotas_of
from streamfleet_panel.models import (
    Domain,
    Installation,
    MediaService,
    MediaUser,
    Node,
    ServiceStatus,
    TransferredService,
)

#: Of these kinds only such objects are in a document: an unproved claim to a domain is none of a node's business.
_TOLD = {"domain": Q(enabled=True, status=Domain.Status.VERIFIED, media_service__deleted_at=None)}
STATES = ("running", "stopped", "suspended", "disabled", "over_quota", "moved", "deleted", "failed")


def document(node: Node) -> dict[str, Any]:
    """All of the node's services as they shall be: deleted ones in grace included, and what it has of transferred ones.

    Ten queries, and one where another node has some of them by now.
    """
    epoch = str(Installation.current().epoch)
    found = MediaService.objects.filter(node=node).select_related("customer__reseller").order_by("slug")
    now = timezone.now()
    belonging = {COLLECTION_OF[kind]: _belonging(kind, node) for kind in OF_SERVICE}
    queues = queueing.for_node(node)
    services = []
    libraries: dict[int, list[tuple[str, int | None]]] = {}
    owners: list[tuple[dict[str, Any], int]] = []
    held, others = service_transfers.roles_on(node)
    for service in found:
        engine = _engine_of(service)
        state, reason = service.desired_state()
        # Nobody uploads to a library while the last changes to it are copied.
        with_library = service.pk not in held and engine.has_library(service.settings, service.service_type)
        if with_library:
            libraries.setdefault(service.customer_id, []).append((state, service.disk_quota_mb))
        services.append(
            {
                **_described(service, engine, now),
                "state": state,
                "reason": reason,
                **_objects(service, engine, belonging, queues),
            }
        )
        if service.pk in held:
            services[-1] |= _moved(node, *held[service.pk], now)
        if with_library:
            owners.append((services[-1], service.customer_id))
    names = _names_of([pk for pk, (state, _item) in others.items() if state == "moved"])
    for pk, (state, item) in others.items():
        services.append(_left_behind(node, state, item, now, names.get(pk, [])))
    services.sort(key=lambda described: str(described["slug"]))
    quotas = quotas_of(libraries)
    for described, owner in owners:
        described["library_mb"] = quotas.get(owner)
    return {
        "schema": 1,
        "epoch": epoch,
        "node": node.name,
        "generation": node.generation,
        "stream_host": node.stream_host or node.address,
        "former_stream_hosts": node.former_stream_hosts,
        "services": services,
        "media_users": _media_users(libraries),
    }


def _engine_of(service: MediaService) -> Engine:
    engine = engines().get(service.engine)
    if engine is None:
        raise EngineSpecError(f"{service.slug}: this release has no engine {service.engine}")
    return engine


def _names_of(services: list[int]) -> dict[int, list[str]]:
    """The domains of these services, by their ids."""
    names: dict[int, list[str]] = {}
    if services:
        told = Domain.objects.filter(_TOLD["domain"], media_service__in=services).order_by("name")
        for service, name in told.values_list("media_service_id", "name"):
            names.setdefault(service, []).append(name)
    return names


def _described(service: MediaService, engine: Engine, now: datetime) -> dict[str, Any]:
    """A service but for its state and its objects."""
    return {
        "slug": service.slug,
        "name": service.name,
        "customer": service.customer.username,
        "uid": service.customer.uid,
        "engine": service.engine,
        "service_type": service.service_type,
        "generation": service.generation,
        "restart": service.restart,
        "port": service.port,
        "limits": {
            "max_listeners": service.max_listeners,
            "max_bitrate_kbps": service.max_bitrate_kbps,
            "monthly_transfer_mb": service.monthly_transfer_mb,
            "disk_quota_mb": service.disk_quota_mb,
        },
        "settings": engine.settings(service.settings),
        "credentials": engine.all_credentials(service.credentials),
        "previous_credentials": still_valid(service.previous_credentials, now),
    }


def _objects(
    service: MediaService, engine: Engine, belonging: Mapping[str, Mapping[int, list[Any]]], queues: Mapping[int, Any]
) -> dict[str, Any]:
    """What belongs to a service, of the kinds that it can have."""
    kinds = engine.objects_of(service.service_type)
    found: dict[str, Any] = {name: of.get(service.pk, []) for name, of in belonging.items() if name in kinds}
    if queueing.OBJECTS in kinds:
        found |= {"queue": queues.get(service.pk, []), "skip": service.skip}
    return found


def _moved(node: Node, state: str, item: TransferredService, now: datetime) -> dict[str, Any]:
    other = item.transfer.target if item.transfer.source_id == node.pk else item.transfer.source
    found = {"state": state, "reason": f"moves to {other}", "forward": service_transfers.forward_of(node, item)}
    if digests := service_transfers.digests_of(item, now):
        found["digests"] = digests
    return found


def _left_behind(node: Node, state: str, item: TransferredService, now: datetime, names: list[str]) -> dict[str, Any]:
    """A service that is another node's, as this one still has it: with its ports here, off the air.

    ``names``: domains that lead to it.
    """
    service = item.service
    engine = _engine_of(service)
    described = _described(service, engine, now)
    ports = item.source_ports if item.transfer.source_id == node.pk else item.target_ports
    described["port"] = ports.get("port")
    described["settings"] |= {name: port for name, port in ports.items() if name != "port"}
    # Of a node that is told of it no more, this generation says that it was seen.
    described["generation"] = item.transfer.generation if state == "deleted" else service.generation
    nothing: dict[str, Any] = {COLLECTION_OF[kind]: {} for kind in OF_SERVICE}
    nothing["domains"] = {service.pk: names}
    described |= _objects(service, engine, nothing, {})
    described |= {"credentials": _withheld(item, described["credentials"]), "previous_credentials": {}}
    if state == "moved":
        return described | _moved(node, state, item, now)
    return described | {"state": state, "reason": ""}


def _withheld(item: TransferredService, credentials: Mapping[str, Any]) -> dict[str, Any]:
    """In place of what is another node's to know: nobody's passwords, the same at every call."""
    key = f"transfer {item.transfer_id} {item.service_id}"
    return {
        name: value if value is None else salted_hmac(key, name, algorithm="sha256").hexdigest()[:32]
        for name, value in credentials.items()
    }


def _media_users(libraries: Mapping[int, list[tuple[str, int | None]]]) -> list[dict[str, Any]]:
    """Who may log in: of customers who have a library on the node. ``libraries``: by the customer's id."""
    quotas = quotas_of(libraries)
    users = rows(MediaUser.objects.filter(enabled=True).select_related("customer"), "customer_id", quotas)
    ready = (user for user in users if user.password.startswith("$"))
    return sorted((user.for_node(quotas[user.customer_id]) for user in ready), key=lambda item: str(item["login"]))


def _belonging(kind: str, node: Node) -> dict[int, list[Any]]:
    """What of ``kind`` belongs to the node's services by the service's id, each sorted by its own part of the key."""
    by_service: dict[int, list[Any]] = {}
    told = OF_SERVICE[kind]._default_manager.filter(_TOLD.get(kind, Q()), media_service__node=node)
    objects: Any = told.order_by(KEYS[kind][-1])
    for obj in objects:
        by_service.setdefault(obj.media_service_id, []).append(obj.for_node())
    return by_service


def etag(node: Node) -> str:
    """Changes whenever the document does: with the generation, and with a release whose engines differ."""
    return f'"{Installation.current().epoch}.{node.generation}.{release_digest()}"'


def still_valid(previous: Mapping[str, list[dict[str, str]]], now: datetime) -> dict[str, list[dict[str, str]]]:
    """``previous`` credentials without those whose overlap is over."""
    left = {
        name: [item for item in items if datetime.fromisoformat(item["expires"]) > now]
        for name, items in previous.items()
    }
    return {name: items for name, items in left.items() if items}


def store_status(node: Node, body: Any) -> dict[str, Any]:
    """Take a node's report. Raises ApiError; an older report than the last one of the same epoch is refused (409)."""
    problems = _check(body)
    if problems:
        raise invalid(problems)
    if body["epoch"] != str(Installation.current().epoch):
        raise ApiError("conflict", "This report is about another database (epoch differs); fetch the document anew")
    reported: dict[str, dict[str, Any]] = body["services"]
    with transaction.atomic():
        node = Node.objects.select_for_update().get(pk=node.pk)
        if body["generation"] < node.observed_generation:
            raise ApiError(
                "conflict",
                f"{node.name} has reported generation {node.observed_generation} already, this is {body['generation']}",
            )
        if body["generation"] > node.generation:
            raise ApiError("conflict", f"{node.name} is at generation {node.generation}, not {body['generation']}")
        services = {
            service.slug: service
            for service in MediaService.objects.filter(node=node).select_related("observed").only("slug", "observed")
        }
        now = timezone.now()
        new: list[ServiceStatus] = []
        changed: list[ServiceStatus] = []
        for slug, item in reported.items():
            service = services.get(slug)
            if service is None:
                continue  # purged meanwhile
            observed = service._state.fields_cache.get("observed")
            if observed is None:
                observed = ServiceStatus(service=service, reported_at=now)
                new.append(observed)
            elif (observed.generation, observed.state, observed.message) != (
                item["generation"],
                item["state"],
                item["message"],
            ):
                changed.append(observed)
            observed.generation, observed.state, observed.message = item["generation"], item["state"], item["message"]
            observed.reported_at = now
        ServiceStatus.objects.bulk_create(new)
        _update(changed)
        node.observed_generation = body["generation"]
        node.observed_at = now
        node.save(update_fields=["observed_generation", "observed_at"])
    return {"generation": node.generation, "behind": node.is_behind}


def _update(changed: list[ServiceStatus]) -> None:
    from django.db import connection

    if not changed:
        return
    more: dict[str, Any] = (
        {"unique_fields": ["service"]} if connection.features.supports_update_conflicts_with_target else {}
    )
    ServiceStatus.objects.bulk_create(
        changed, update_conflicts=True, update_fields=["generation", "state", "message", "reported_at"], **more
    )


def _check(body: Any) -> list[Problem]:
    if not isinstance(body, dict):
        return [
            Problem("", shown(body), f"must be a mapping, is {kind_of(body)}", "Send epoch, generation and services.")
        ]
    problems: list[Problem] = []
    if not isinstance(body.get("epoch"), str):
        problems.append(Problem("epoch", shown(body.get("epoch")), "must be a text", "Send the document's epoch back."))
    if type(body.get("generation")) is not int or body["generation"] < 0:
        problems.append(
            Problem("generation", shown(body.get("generation")), "must be a number", "Send the document's generation.")
        )
    services = body.get("services")
    if not isinstance(services, dict):
        problems.append(Problem("services", shown(services), f"must be a mapping, is {kind_of(services)}", "slug: {…}"))
        return problems
    for slug, item in services.items():
        path = f"services.{shown(slug)}"
        if not isinstance(item, dict):
            problems.append(Problem(path, shown(item), f"must be a mapping, is {kind_of(item)}", "Send its state."))
            continue
        if type(item.get("generation")) is not int or item["generation"] < 0:
            problems.append(Problem(f"{path}.generation", shown(item.get("generation")), "must be a number", ""))
        if item.get("state") not in STATES:
            fix = f"Use {', '.join(STATES)}."
            problems.append(Problem(f"{path}.state", shown(item.get("state")), "is not a state", fix))
        message = item.setdefault("message", "")
        if not isinstance(message, str):
            problems.append(Problem(f"{path}.message", shown(message), "must be a text", ""))
        else:
            item["message"] = message[:2000].replace("\x00", "")
    return problems
