"""Objects as the API shows them. Never a password, a credential or a token."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings as panel_settings
from django.db.models import Max, QuerySet
from django.utils import timezone

from streamfleet_panel import journal, libraries, service_transfers
from streamfleet_panel.access import Actor
from streamfleet_panel.domains.records import proof
from streamfleet_panel.engines import Engine, engines
from streamfleet_panel.models import (
    MB,
    Account,
    ApiToken,
    AuditLog,
    ConvergeRun,
    Dj,
    Domain,
    Job,
    ListenerSession,
    MediaService,
    MediaUser,
    Node,
    OnAir,
    PanelDomain,
    PassedOver,
    PlayedTrack,
    Playlist,
    QueuedTrack,
    Relay,
    ResellerPlan,
    Schedule,
    ServiceStatus,
    ServiceTransfer,
    TransferredService,
    Usage,
)
from streamfleet_panel.times import rfc3339
from streamfleet_panel.transfer import month_of, transferred

if TYPE_CHECKING:
    from streamfleet_panel.apply.mounts import Mount
    from streamfleet_panel.apply.plan import Result

Runs = Mapping[int, ConvergeRun]

#: What of a URL a domain of the service stands for.
_OF_DOMAINS = ("https://{stream_host}/listen/{slug}", "https://{stream_host}/hls/{slug}")


def plan(obj: ResellerPlan) -> dict[str, Any]:
    """A reseller plan."""
    return {
        "name": obj.name,
        "max_customers": obj.max_customers,
        "max_media_services": obj.max_media_services,
        "max_listeners": obj.max_listeners,
        "max_disk_mb": obj.max_disk_mb,
        "max_transfer_mb": obj.max_transfer_mb,
        "max_mounts": obj.max_mounts,
        "max_mounts_per_service": obj.max_mounts_per_service,
        "max_bitrate_kbps": obj.max_bitrate_kbps,
        "max_panel_domains": obj.max_panel_domains,
        "max_renditions": obj.max_renditions,
        "max_transcode_mpixels": obj.max_transcode_mpixels,
        "allowed_engines": obj.allowed_engines,
        "label": obj.label,
        "created_at": rfc3339(obj.created_at),
    }


def customer(obj: Account) -> dict[str, Any]:
    """An account; reads ``reseller`` and ``reseller_plan``: select them along."""
    return {
        "username": obj.username,
        "name": obj.name,
        "email": obj.email,
        "contact_number": obj.contact_number,
        "status": obj.status,
        "api_access": obj.api_access,
        "accessibility_features": obj.accessibility_features,
        "account_type": obj.account_type,
        "reseller_plan": obj.reseller_plan.name if obj.reseller_plan is not None else None,
        "reseller": obj.reseller.username if obj.reseller is not None else None,
        "uid": obj.uid,
        "label": obj.label,
        "last_login": rfc3339(obj.last_login),
        "created_at": rfc3339(obj.created_at),
        "deleted_at": rfc3339(obj.deleted_at),
    }


def node(obj: Node) -> dict[str, Any]:
    """A node. How it was last asked for news is there where ``collection`` is selected along."""
    asked = obj._state.fields_cache.get("collection")
    return {
        "name": obj.name,
        "address": obj.address,
        "ssh_port": obj.ssh_port,
        "ssh_user": obj.ssh_user,
        "host_key": obj.host_key,
        "engines": obj.engines,
        "stream_host": obj.stream_host,
        "former_stream_hosts": obj.former_stream_hosts,
        "port_range_start": obj.port_range_start,
        "port_range_end": obj.port_range_end,
        "max_media_services": obj.max_media_services,
        "status": obj.status,
        "facts": obj.facts,
        "label": obj.label,
        "generation": obj.generation,
        "observed_generation": obj.observed_generation,
        "observed_at": rfc3339(obj.observed_at),
        "collected_at": rfc3339(asked.collected_at) if asked is not None else None,
        "collection_message": asked.message if asked is not None else "",
        "created_at": rfc3339(obj.created_at),
    }


def run(obj: ConvergeRun) -> dict[str, Any]:
    """A converge run."""
    return {
        "id": obj.pk,
        "node": obj.node.name,
        "state": obj.state,
        "attempts": obj.attempts,
        "generation": obj.generation,
        "requested_by": obj.requested_by,
        "requested_at": rfc3339(obj.requested_at),
        "next_attempt_at": rfc3339(obj.next_attempt_at),
        "started_at": rfc3339(obj.started_at),
        "finished_at": rfc3339(obj.finished_at),
        "message": obj.message,
        "output": obj.output,
    }


def transfer(obj: ServiceTransfer, items: list[TransferredService] | None = None) -> dict[str, Any]:
    """A transfer; ``items``: its services, where they are known."""
    (shown,) = _transfers([(obj, service_transfers.items_of(obj) if items is None else items)])
    return shown


def transfers(objs: Sequence[ServiceTransfer]) -> list[dict[str, Any]]:
    """Transfers, by the same number of statements however many they are."""
    items = service_transfers.items_of_all(objs)
    return _transfers([(obj, items[obj.pk]) for obj in objs])


def _transfers(given: Sequence[tuple[ServiceTransfer, list[TransferredService]]]) -> list[dict[str, Any]]:
    every = [item for _obj, items in given for item in items]
    services = [item.service_id for item in every]
    names: dict[int, list[str]] = {}
    told = Domain.objects.filter(media_service__in=services, enabled=True).order_by("name")
    for service, name in told.values_list("media_service_id", "name"):
        names.setdefault(service, []).append(name)
    usage = Usage.objects.filter(media_service__in=services)
    listeners = dict(usage.values_list("media_service_id", "listeners"))
    others = service_transfers.beside(every)
    reports = service_transfers.reports_of(every)
    return [_transfer(obj, items, names, listeners, others, reports) for obj, items in given]


def _transfer(
    obj: ServiceTransfer,
    items: list[TransferredService],
    names: Mapping[int, list[str]],
    listeners: Mapping[int, int | None],
    others: Sequence[MediaService],
    reports: Mapping[int, ServiceStatus],
) -> dict[str, Any]:
    return {
        "id": obj.pk,
        "state": obj.state,
        "source": _place(obj.source),
        "target": _place(obj.target),
        "services": [
            {
                "slug": item.service.slug,
                "customer": item.service.customer.username,
                "uid": item.service.customer.uid,
                "engine": item.service.engine,
                "state": item.service.desired_state()[0],
                "source_ports": item.source_ports,
                "target_ports": item.target_ports,
                "opens": [there for _here, there in service_transfers.pairs_of(item)],
                "domains": names.get(item.service_id, []),
                "listeners": listeners.get(item.service_id),
            }
            for item in items
        ],
        "libraries": service_transfers.libraries_of(obj, items, others),
        "requested_by": obj.requested_by,
        "held_at": rfc3339(obj.held_at),
        "hold": obj.hold,
        "reached": obj.reached,
        "unsettled": service_transfers.unsettled(obj, items, reports),
        "created_at": rfc3339(obj.created_at),
    }


def _place(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "address": node.address,
        "ssh_port": node.ssh_port,
        "ssh_user": node.ssh_user,
        "host_key": node.host_key,
        "stream_host": node.stream_host or node.address,
        "status": node.status,
    }


def token(obj: ApiToken) -> dict[str, Any]:
    """A token, without its secret."""
    return {
        "id": obj.token_id,
        "name": obj.name,
        "scope": obj.scope,
        "account": obj.account.username if obj.account is not None else None,
        "expires_at": rfc3339(obj.expires_at),
        "last_used_at": rfc3339(obj.last_used_at),
        "created_by": obj.created_by,
        "created_at": rfc3339(obj.created_at),
    }


def audit(obj: AuditLog) -> dict[str, Any]:
    """An entry of the audit log, as the system's log is told of it; reads ``owner``: select it along."""
    return {**journal.describe(obj), "owner": obj.owner.username if obj.owner is not None else None}


def job(obj: Job) -> dict[str, Any]:
    """A job."""
    return {
        "id": str(obj.pk),
        "kind": obj.kind,
        "state": obj.state,
        "done": obj.done,
        "total": obj.total,
        "result": obj.result,
        "error": obj.error,
        "created_at": rfc3339(obj.created_at),
        "finished_at": rfc3339(obj.finished_at),
    }


def latest_runs(node_ids: Iterable[int]) -> Runs:
    """The newest converge run of each node: one query."""
    newest = ConvergeRun.objects.filter(node_id__in=set(node_ids)).order_by().values("node_id").annotate(last=Max("id"))
    return {obj.node_id: obj for obj in ConvergeRun.objects.filter(pk__in=newest.values("last")).defer("output")}


def status(obj: MediaService, runs: Runs, actor: Actor) -> dict[str, Any]:
    """What is known of the service's state, truthfully: what its node reported, or how far it is from reporting."""
    desired, reason = obj.desired_state()
    observed = obj._state.fields_cache.get("observed")
    generation = observed.generation if observed is not None else 0
    if observed is not None and generation >= obj.generation:
        state, message = observed.state, observed.message
    else:
        newest = runs.get(obj.node_id)
        state, message = "pending", ""
        if obj.node.status == Node.Status.DISABLED:
            message = "the node is disabled"
        elif newest is not None and newest.state == ConvergeRun.State.RUNNING:
            state = "applying"
        elif newest is not None and (newest.state == ConvergeRun.State.FAILED or (newest.attempts and newest.message)):
            state = "failed" if newest.state != ConvergeRun.State.SUCCEEDED else "pending"
            message = newest.message if actor.is_administrator else "the node could not be brought up to date yet"
    return {
        "slug": obj.slug,
        "state": state,
        "desired": desired,
        "message": message or reason,
        "generation": obj.generation,
        "observed_generation": generation,
        "node": obj.node.name,
    }


def default_mount(engine: Engine, settings: Mapping[str, Any]) -> str:
    """Name of the mount that players open: the one marked, else the first; "" where the engine has none."""
    mounts = settings[engine.mounts_field] if engine.mounts_field is not None else []
    marked = [mount["name"] for mount in mounts if mount.get("default")]
    first: str = (marked or [mount["name"] for mount in mounts] or [""])[0]
    return first


def connection(
    obj: MediaService, engine: Engine, settings: Mapping[str, Any], credentials: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """What a broadcaster enters into the encoder.

    Secrets only where ``credentials`` are given, else just their names.
    """
    words = {**_words(obj, default_mount(engine, settings)), **_host_ports(obj.node, engine)}
    lines: list[dict[str, Any]] = []
    for line in engine.connection_of(obj.service_type):
        if "needs" in line and not words[line["needs"]]:
            continue
        if "credential" in line:
            item = {"label": line["label"], "credential": line["credential"]}
            if credentials is not None:
                secret = credentials.get(line["credential"])
                item["value"] = (
                    _formatted(line["value"], {**words, "credential": secret or ""}) if "value" in line else secret
                )
        else:
            item = {"label": line["label"], "value": _formatted(line["value"], words)}
        lines.append(item)
    return lines


def listen_urls(
    obj: MediaService, engine: Engine, settings: Mapping[str, Any], domains: Iterable[str] = ()
) -> list[str]:
    """Where listeners find the service: one URL for each mount, the default mount's first.

    Then the same on each of its ``domains``, where a path of the node's web server is one of the domain's own.
    """
    first = default_mount(engine, settings)
    names = [first]
    if engine.mounts_field is not None:
        names += [mount["name"] for mount in settings[engine.mounts_field] if mount["name"] != first]
    known = engine.listen_urls_of(obj.service_type)
    own = [f"https://{domain}{url.removeprefix(way)}" for domain in domains for url, way in _ways(known)]
    urls = [_formatted(url, _words(obj, name)) for name in names for url in known]
    urls += [_formatted(url, _words(obj, name)) for url in own for name in names]
    return list(dict.fromkeys(urls))


def _ways(urls: Iterable[str]) -> list[tuple[str, str]]:
    """Those of an engine's URLs that a domain of a service has too, each with what its host and slug stand in for."""
    return [(url, way) for url in urls for way in _OF_DOMAINS if url.startswith(f"{way}/") or url.startswith(way + "{")]


def domains_of(services: Iterable[MediaService]) -> dict[int, list[str]]:
    """Names under which services are served, by the service's id, each sorted. One query."""
    told = Domain.objects.filter(enabled=True, status=Domain.Status.VERIFIED)
    names: dict[int, list[str]] = {}
    found = told.filter(media_service__in=[obj.pk for obj in services if obj.pk]).order_by("name")
    for pk, name in found.values_list("media_service_id", "name"):
        names.setdefault(pk, []).append(name)
    return names


def _words(obj: MediaService, mount: str) -> dict[str, str]:
    return {
        "stream_host": obj.node.stream_host or obj.node.address,
        "port": str(obj.port or ""),
        "slug": obj.slug,
        "mount": mount,
    }


def _host_ports(node: Node, engine: Engine) -> dict[str, str]:
    """``:RTMP`` → ``:1940`` where the node's operator has moved the engine's port; empty where it is the usual one.

    ``RTMPS`` → ``1936``, the port in any case, as the node has told it; empty where it has not, or has switched it off.
    """
    words = {}
    told = engine.told_ports(node.facts)
    for use, usual in engine.host_ports.items():
        port = told.get(use, usual)
        words[f":{use}"] = "" if port == usual else f":{port}"
        known = told.get(use)
        words[use] = str(known) if isinstance(known, int) and known > 0 else ""
    return words


def _formatted(template: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        template = template.replace("{" + name + "}", value)
    return template


def service(obj: MediaService, runs: Runs, actor: Actor, sent: int, domains: Iterable[str] = ()) -> dict[str, Any]:
    """A media service; reads ``customer``, ``node`` and ``observed``: select them along.

    ``sent``: bytes this month. ``domains``: under which it is served.
    """
    engine = engines().get(obj.engine)
    settings = engine.settings(obj.settings) if engine is not None else dict(obj.settings)
    return {
        "slug": obj.slug,
        "name": obj.name,
        "customer": obj.customer.username,
        "engine": obj.engine,
        "service_type": obj.service_type,
        "node": obj.node.name,
        "port": obj.port,
        "enabled": obj.enabled,
        "stopped": obj.stopped,
        "suspended": obj.suspended,
        "suspend_reason": obj.suspend_reason,
        "suspended_until": rfc3339(obj.suspended_until),
        "over_quota": obj.over_quota,
        "transferred_mb": sent // MB,
        "max_listeners": obj.max_listeners,
        "max_bitrate_kbps": obj.max_bitrate_kbps,
        "monthly_transfer_mb": obj.monthly_transfer_mb,
        "disk_quota_mb": obj.disk_quota_mb,
        "max_mounts": obj.max_mounts,
        "max_domains": obj.max_domains,
        "max_renditions": obj.max_renditions,
        "max_transcode_mpixels": obj.max_transcode_mpixels,
        **settings,
        "status": status(obj, runs, actor),
        "connection": connection(obj, engine, settings) if engine is not None else [],
        "listen_urls": listen_urls(obj, engine, settings, domains) if engine is not None else [],
        "label": obj.label,
        "generation": obj.generation,
        "created_at": rfc3339(obj.created_at),
        "deleted_at": rfc3339(obj.deleted_at),
    }


def services(items: Iterable[MediaService], actor: Actor) -> list[dict[str, Any]]:
    """Media services of a page; three queries for all their nodes' runs, what they have sent and their domains."""
    found = list(items)
    runs = latest_runs(obj.node_id for obj in found)
    sent = transferred(obj.pk for obj in found if obj.pk)
    domains = domains_of(found)
    return [service(obj, runs, actor, sent.get(obj.pk, 0), domains.get(obj.pk, ())) for obj in found]


def usage(obj: MediaService, told: Usage | None, sent: int, library_quota_mb: int | None) -> dict[str, Any]:
    """What a media service uses, beside what it may; reads ``customer``, its reseller and ``node``: select them along.

    ``told``: what its node told last. ``sent``: bytes this month. ``library_quota_mb``: the limit of the whole library.
    """
    engine = engines().get(obj.engine)
    mounts = engine.settings(obj.settings)[engine.mounts_field] if engine is not None and engine.mounts_field else None
    now = timezone.now()
    current = told is not None and told.month == month_of(now)
    listeners, sources = _live(obj, told, now)
    return {
        "media_service": obj.slug,
        "customer": obj.customer.username,
        "node": obj.node.name,
        "engine": obj.engine,
        "listeners": listeners,
        "listeners_peak": told.listeners_peak if told is not None and current else 0,
        "max_listeners": obj.max_listeners,
        "sources": sources,
        "max_bitrate_kbps": obj.max_bitrate_kbps,
        "dropped_sources": told.drops if told is not None else [],
        "mounts": None if mounts is None else len(mounts),
        "max_mounts": obj.max_mounts,
        "transferred_mb": sent // MB,
        "monthly_transfer_mb": obj.monthly_transfer_mb,
        "own_files_mb": _megabytes(told.disk_bytes if told is not None else None),
        "library_mb": _megabytes(told.library_bytes if told is not None else None),
        "library_quota_mb": library_quota_mb,
        "disk_quota_mb": obj.disk_quota_mb,
        "reported_at": rfc3339(told.reported_at) if told is not None else None,
    }


def _live(obj: MediaService, told: Usage | None, now: datetime) -> tuple[int | None, list[dict[str, Any]] | None]:
    """Who listens, and who sends. Off the air nobody does, whatever was told last: of a service that has neither
    route nor unit any more the node tells nothing."""
    if obj.desired_state()[0] != "running":
        return 0, []
    return (told.listeners, told.sources) if told is not None and is_fresh(told, now) else (None, None)


def is_fresh(told: Usage, now: datetime) -> bool:
    """Whether its node tells it still: nodes do every five minutes, new or not."""
    return now - told.reported_at < _FRESH


def _megabytes(size: int | None) -> int | None:
    """As transfer is counted, but begun ones as whole: what is there is never shown as nothing."""
    return None if size is None else -(-size // MB)


def usages(items: Iterable[MediaService]) -> list[dict[str, Any]]:
    """What media services of a page use: three queries."""
    found = list(items)
    sent = transferred(obj.pk for obj in found)
    told = Usage.objects.in_bulk([obj.pk for obj in found])
    quotas = libraries.of_services(found)
    return [
        usage(obj, told.get(obj.pk), sent.get(obj.pk, 0), quotas.get((obj.customer_id, obj.node_id))) for obj in found
    ]


#: So long is known who listens and sends, once it was told: that it is told anew may fail twice.
_FRESH = timedelta(minutes=15)
#: Columns of services that no sum needs.
_LARGE = ("settings", "credentials_encrypted", "previous_credentials_encrypted")
#: Limit of a reseller plan → the services' own that it is the sum of.
_GRANTED = {
    "listeners": "max_listeners",
    "transfer_mb": "monthly_transfer_mb",
    "disk_mb": "disk_quota_mb",
    "mounts": "max_mounts",
}


def usage_of_account(obj: Account, customers: int, services: QuerySet[MediaService]) -> dict[str, Any]:
    """What all these services use together, beside what the account's plan allows. Two queries; reads the plan.

    ``services`` have ``customer`` and its reseller selected along.
    """
    rows = list(services.select_related("usage", "customer__reseller").defer(*_LARGE).order_by())
    told = {row.pk: getattr(row, "usage", None) for row in rows}
    sent = sum(transferred(told).values())
    now = timezone.now()
    # All services of a customer on a node share one library.
    stored: dict[tuple[int, int], int] = {}
    for row in rows:
        place, use = (row.customer_id, row.node_id), told[row.pk]
        stored[place] = max(stored.get(place, 0), (use.library_bytes if use is not None else 0) or 0)
    held = engines()
    granted: dict[str, int | None] = {}
    for name, field in _GRANTED.items():
        # What an engine does not hold is no claim to unlimited (apply/limits.py).
        limits = [getattr(row, field) for row in rows if row.engine not in held or held[row.engine].holds(field)]
        granted[name] = None if None in limits else sum(limits)
    offer = obj.reseller_plan
    return {
        "username": obj.username,
        "reseller_plan": offer.name if offer is not None else None,
        "customers": customers,
        "media_services": len(rows),
        "listeners": sum(_live(row, told[row.pk], now)[0] or 0 for row in rows),
        "transferred_mb": sent // MB,
        "disk_mb": _megabytes(
            sum(use.disk_bytes or 0 for use in told.values() if use is not None) + sum(stored.values())
        ),
        "granted": granted,
        "max_customers": offer.max_customers if offer is not None else None,
        "max_media_services": offer.max_media_services if offer is not None else None,
        "max_listeners": offer.max_listeners if offer is not None else None,
        "max_transfer_mb": offer.max_transfer_mb if offer is not None else None,
        "max_disk_mb": offer.max_disk_mb if offer is not None else None,
        "max_mounts": offer.max_mounts if offer is not None else None,
    }


def listener_session(obj: ListenerSession) -> dict[str, Any]:
    """A session of a listener; reads ``media_service``: select it along."""
    return {
        "id": obj.name,
        "media_service": obj.media_service.slug,
        "source": obj.source,
        "mount": obj.mount,
        "address": obj.address,
        "agent": obj.agent,
        "started_at": rfc3339(obj.started_at),
        "ended_at": rfc3339(obj.ended_at),
        "seconds": round((obj.ended_at - obj.started_at).total_seconds(), 3),
        "bytes": obj.bytes,
    }


def running_session(service: MediaService, row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """One who listens now; of what a session has when it has ended, null is what is not known yet."""
    told = [service.slug, *(str(row[name]) for name in ("source", "mount", "address", "agent", "started_at"))]
    started = datetime.fromisoformat(row["started_at"])
    return {
        "id": hashlib.sha256("\n".join(told).encode()).hexdigest()[:32],
        "media_service": service.slug,
        "source": row["source"],
        "mount": row["mount"],
        "address": row["address"],
        "agent": row["agent"],
        "started_at": row["started_at"],
        "ended_at": None,
        "seconds": max(0.0, round((now - started).total_seconds(), 3)),
        "bytes": row["bytes"],
    }


def playlist(obj: Playlist) -> dict[str, Any]:
    """A playlist; reads ``media_service``: select it along."""
    return {
        "media_service": obj.media_service.slug,
        **obj.for_node(),
        "label": obj.label,
        "created_at": rfc3339(obj.created_at),
    }


def dj(obj: Dj) -> dict[str, Any]:
    """A DJ; reads ``media_service`` and its ``node``: select them along."""
    return {
        "media_service": obj.media_service.slug,
        "username": obj.username,
        "name": obj.name,
        "priority": obj.priority,
        "enabled": obj.enabled,
        "scheduled_only": obj.scheduled_only,
        "active": obj.active,
        "grace_seconds": obj.grace_seconds,
        "record": obj.record,
        "connection": dj_connection(obj),
        "label": obj.label,
        "created_at": rfc3339(obj.created_at),
    }


def dj_connection(obj: Dj, password: str | None = None) -> list[dict[str, Any]]:
    """What the DJ enters into the encoder; the password only where it is given."""
    shown = {} if password is None else {"value": password}
    return [
        *dj_server(obj.media_service),
        {"label": "Mount", "value": f"/{obj.username}"},
        {"label": "Username", "value": obj.username},
        {"label": "Password", "credential": "password", **shown},
    ]


def dj_server(obj: MediaService) -> list[dict[str, Any]]:
    """Where all DJs of the service connect; the port is empty while they cannot."""
    engine = engines().get(obj.engine)
    settings = engine.settings(obj.settings) if engine is not None else {}
    doors = [door for door in engine.companions if door.serves("djs", settings)] if engine is not None else []
    port = next((settings.get(door.port) for door in doors if door.port is not None), None)
    return [
        {"label": "Server", "value": _words(obj, "")["stream_host"]},
        {"label": "Port", "value": str(port or "")},
    ]


def schedule(obj: Schedule) -> dict[str, Any]:
    """An entry of a calendar; reads ``media_service``: select it along."""
    return {
        "media_service": obj.media_service.slug,
        **obj.for_node(),
        "label": obj.label,
        "created_at": rfc3339(obj.created_at),
    }


def relay(obj: Relay) -> dict[str, Any]:
    """A relay; reads ``media_service``: select it along."""
    return {
        "media_service": obj.media_service.slug,
        **{name: value for name, value in obj.for_node().items() if name != "password"},
        "label": obj.label,
        "created_at": rfc3339(obj.created_at),
    }


def domain(obj: Domain) -> dict[str, Any]:
    """A domain; reads the service's ``customer`` and ``node``: select them along.

    ``proof`` is null of a customer that is only planned: its records are made with it.
    """
    service, customer = obj.media_service, obj.media_service.customer
    return {
        "media_service": service.slug,
        "name": obj.name,
        "enabled": obj.enabled,
        "status": obj.status,
        "message": obj.message,
        "verified_at": rfc3339(obj.verified_at),
        "checked_at": rfc3339(obj.checked_at),
        "proof": proof(obj.name, customer.domain_token, panel_settings.DOMAIN_TARGET) if customer.pk else None,
        "points_to": service.node.stream_host or service.node.address,
        "label": obj.label,
        "created_at": rfc3339(obj.created_at),
    }


def panel_domain(obj: PanelDomain) -> dict[str, Any]:
    """A reseller's name for the panel; reads ``reseller``: select it along. ``proof`` as of a domain, by TXT alone."""
    reseller = obj.reseller
    return {
        "reseller": reseller.username,
        "name": obj.name,
        "brand": obj.brand,
        "enabled": obj.enabled,
        "status": obj.status,
        "message": obj.message,
        "verified_at": rfc3339(obj.verified_at),
        "checked_at": rfc3339(obj.checked_at),
        "proof": proof(obj.name, reseller.domain_token, "") if reseller.pk else None,
        "points_to": urlsplit(panel_settings.PUBLIC_URL).hostname,
        "label": obj.label,
        "created_at": rfc3339(obj.created_at),
    }


def mount(obj: Mount) -> dict[str, Any]:
    """A mount; reads the service's ``node``: select it along."""
    engine = engines()[obj.media_service.engine]
    words = _words(obj.media_service, obj.name)
    return {
        "media_service": obj.media_service.slug,
        **obj.item,
        "listen_urls": [_formatted(url, words) for url in engine.listen_urls_of(obj.media_service.service_type)],
    }


def media_user(obj: MediaUser) -> dict[str, Any]:
    """A media user; reads ``customer``: select it along."""
    return {
        "customer": obj.customer.username,
        "name": obj.name,
        "login": obj.login,
        "read_only": obj.read_only,
        "protocols": obj.protocols,
        "enabled": obj.enabled,
        "label": obj.label,
        "created_at": rfc3339(obj.created_at),
    }


def played(obj: PlayedTrack) -> dict[str, Any]:
    """A line of a station's history."""
    names = ("playlist", "path", "title", "artist", "dj")
    return {"at": rfc3339(obj.at), **{name: getattr(obj, name) for name in names}}


def queued(obj: QueuedTrack, position: int | None) -> dict[str, Any]:
    """An entry of a station's queue. ``position``: its place, while it waits; one that is only planned has no id."""
    return {
        "id": obj.name if obj.pk is not None else None,
        "path": obj.path,
        "position": position,
        "state": obj.state,
        "message": obj.message,
        "created_at": rfc3339(obj.created_at),
        "done_at": rfc3339(obj.done_at),
    }


def air(service: MediaService, last: PlayedTrack | None) -> dict[str, Any]:
    """Who is heard, who is connected, and what began last, as far as the node has told. One query."""
    state = OnAir.objects.filter(media_service=service).first()
    return {
        "media_service": service.slug,
        "dj": None if state is None else state.dj,
        "connected": [] if state is None else state.connected,
        "reported_at": None if state is None else rfc3339(state.reported_at),
        "last": None if last is None else played(last),
    }


def passed_over(service: MediaService, is_on: bool) -> dict[str, Any]:
    """What of the library a service that plays by itself does not play, as far as the node has told. One query.

    ``is_on``: whether it does; what was told before that was switched off says nothing of now.
    """
    told = PassedOver.objects.filter(media_service=service).first() if is_on else None
    return {
        "media_service": service.slug,
        "count": 0 if told is None else told.count,
        "items": [] if told is None else told.items,
        "reported_at": None if told is None else rfc3339(told.reported_at),
    }


_SIMPLE: dict[str, Callable[[Any], dict[str, Any]]] = {
    "reseller_plan": plan,
    "customer": customer,
    "node": node,
    "playlist": playlist,
    "dj": dj,
    "schedule": schedule,
    "relay": relay,
    "domain": domain,
    "panel_domain": panel_domain,
    "mount": mount,
    "media_user": media_user,
}


def represent_results(actor: Actor, results: Iterable[Result], *, dry_run: bool) -> dict[int, dict[str, Any]]:
    """The objects of an apply's results, by ``id(result)``: as stored now, or, in a dry run, as they would be."""
    results = [result for result in results if result.obj is not None]
    stored: dict[tuple[str, int], Any] = {}
    if not dry_run:
        wanted: dict[str, list[int]] = {}
        for result in results:
            if result.obj.pk is not None:
                wanted.setdefault(result.kind, []).append(result.obj.pk)
        fresh = {
            "reseller_plan": ResellerPlan.objects.all(),
            "customer": Account.objects.select_related("reseller", "reseller_plan"),
            "node": Node.objects.select_related("collection").defer("collection__cursors"),
            "media_service": MediaService.objects.select_related("customer__reseller", "node", "observed"),
            "playlist": Playlist.objects.select_related("media_service"),
            "media_user": MediaUser.objects.select_related("customer"),
            "dj": Dj.objects.select_related("media_service__node"),
            "schedule": Schedule.objects.select_related("media_service"),
            "relay": Relay.objects.select_related("media_service"),
            "domain": Domain.objects.select_related("media_service__customer", "media_service__node"),
            "panel_domain": PanelDomain.objects.select_related("reseller"),
        }
        for kind, pks in wanted.items():
            stored |= {(kind, obj.pk): obj for obj in fresh[kind].filter(pk__in=pks)}
    objects: dict[int, dict[str, Any]] = {}
    final = {id(result): stored.get((result.kind, result.obj.pk), result.obj) for result in results}
    of_services = [obj for obj in final.values() if isinstance(obj, MediaService)]
    runs = latest_runs(obj.node_id for obj in of_services if obj.node_id)
    sent = transferred(obj.pk for obj in of_services if obj.pk)
    domains = domains_of(of_services)
    for result in results:
        obj = final[id(result)]
        objects[id(result)] = (
            service(obj, runs, actor, sent.get(obj.pk, 0), domains.get(obj.pk, ()))
            if isinstance(obj, MediaService)
            else _SIMPLE[result.kind](obj)
        )
    return objects
