"""What the worker collects from nodes: feeds of lines and states of services, see ``roles/common/files/collect.py``.

A feed that the panel stores is a line of ``FEEDS``. Its function gets the services of the node that the batch is from,
slug → primary key, and the feed's items: slug (empty where the feed is the node's own) and object, the oldest of a file
first. It runs in the transaction that also moves the cursors; it raises nothing for what makes no sense, since tenants
can write some of it, and stores nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from streamfleet_panel import queueing
from streamfleet_panel.apply.execute import lock_services
from streamfleet_panel.collected import hung, played, queue, sessions, usage
from streamfleet_panel.models import Collection, MediaService, Node, QueuedTrack

#: So long somebody waits to hear whether what was queued can be played.
AWAITED = timedelta(seconds=60)

Items = Sequence[tuple[str, dict[str, Any]]]
Store = Callable[[Mapping[str, int], Items, datetime], None]

FEEDS: dict[str, Store] = {
    "sessions": sessions.store_sessions,
    "transfer": sessions.store_transfer,
    "usage": usage.store,
    "running": usage.store_running,
    "air": played.store_air,
    "played": played.store,
    "passed_over": played.store_passed_over,
    "tv_played": played.store,
    "tv_passed_over": played.store_passed_over,
    "queue": queue.store,
    "hung": hung.store,
}
#: Feeds that add to what is known, and are true of services that have gone to another node meanwhile.
OF_THE_PAST = frozenset({"sessions", "transfer", "played", "tv_played"})


@dataclass(frozen=True)
class Batch:
    """What a node has answered. ``more``: it has more to tell at once."""

    items: Mapping[str, Items]
    cursors: Mapping[str, Mapping[str, Any]]
    more: bool


@dataclass(frozen=True)
class Place:
    """Where the reading of a node stands: what to ask it, and the number that its answer is stored with."""

    number: int
    cursors: Mapping[str, Any]


def place_of(node_id: int) -> Place:
    """Where the reading of this node stands."""
    found, _created = Collection.objects.get_or_create(node_id=node_id)
    return Place(found.number, found.cursors)


def nodes() -> list[Node]:
    """The nodes that are asked: those that are in use, and have been converged."""
    return list(
        Node.objects.exclude(status=Node.Status.DISABLED)
        .exclude(host_key=None)
        .exclude(host_key="")
        .filter(observed_generation__gt=0)
        .only("pk", "name", "address", "ssh_port", "ssh_user", "host_key")
        .order_by("pk")
    )


def awaited() -> dict[int, set[int]]:
    """What somebody waits to hear of, by node: entries that were queued a moment ago, and not looked at yet.

    Those of a station whose AutoDJ does not run are looked at by nobody, so nobody waits. At most two queries.
    """
    sent = QueuedTrack.objects.filter(state=QueuedTrack.State.SENT, created_at__gt=timezone.now() - AWAITED)
    entries = list(sent.order_by().values_list("pk", "media_service_id"))
    if not entries:
        return {}
    services = MediaService.objects.filter(pk__in={service for _, service in entries})
    nodes_of = {
        service.pk: service.node_id
        for service in services.select_related("customer__reseller")
        if service.desired_state()[0] == "running" and queueing.is_on(service)
    }
    found: dict[int, set[int]] = {}
    for pk, service in entries:
        if service in nodes_of:
            found.setdefault(nodes_of[service], set()).add(pk)
    return found


def store(node_id: int, number: int, batch: Batch) -> bool:
    """Store a batch and how far it goes, together. False where somebody has stored one since it was asked for."""
    now = timezone.now()
    with transaction.atomic():
        moved = Collection.objects.filter(node_id=node_id, number=number).update(
            number=F("number") + 1, cursors=dict(batch.cursors), collected_at=now, message=""
        )
        if not moved:
            return False
        if any(batch.items.values()):
            services = dict(MediaService.objects.filter(node_id=node_id).values_list("slug", "pk"))
            # What was heard here before it became another node's, and is told only now.
            either = Q(transfer__transfer__source=node_id) | Q(transfer__transfer__target=node_id)
            former = MediaService.objects.filter(either).exclude(node_id=node_id)
            past = services | dict(former.values_list("slug", "pk"))
            # What is stored refers to services, which the database locks for that, in the order of the items; who
            # changes many of them locks them, too. So they are locked before, in the one order that all keep.
            named = _named(batch)
            there = lock_services(pk for slug, pk in past.items() if slug in named)
            past = {slug: pk for slug, pk in past.items() if pk in there or slug not in named}
            services = {slug: pk for slug, pk in services.items() if slug in past}
            for name, items in batch.items.items():
                if items and name in FEEDS:
                    FEEDS[name](past if name in OF_THE_PAST else services, items, now)
    return True


def _named(batch: Batch) -> set[str]:
    """Slugs of which the batch tells."""
    pairs = [pair for name, items in batch.items.items() if name in FEEDS for pair in items]
    return {slug or sessions.text(item, "slug", 63) for slug, item in pairs}


def failed(node_id: int, message: str) -> None:
    """Note why a node could not be asked."""
    Collection.objects.filter(node_id=node_id).update(message=message[:300])
