"""What became of stations' queues: the feed ``queue`` of role autodj.

A program of the tenant's own user writes it, so it is believed about this tenant's own entries, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, Subquery

from streamfleet_panel.collected.played import text
from streamfleet_panel.models import MediaService, QueuedTrack

#: Entries that one station tells of at once.
MOST = 200
LONGEST_MESSAGE = 200
State = QueuedTrack.State


def store(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]], now: datetime) -> None:
    """Store what became of entries. What is done stays done."""
    told: dict[tuple[int, str], tuple[str, str]] = {}
    for slug, item in items:
        listed = item.get("items")
        for entry in listed[:MOST] if slug in services and isinstance(listed, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry.get("state") in _STATES:
                told[services[slug], entry["id"]] = entry["state"], text(entry.get("message"), LONGEST_MESSAGE) or ""
    # Before the entries, as who changes a queue does: no generation rises between here and where it is noted.
    of_told = MediaService.objects.select_for_update().filter(pk__in={service for service, _ in told})
    generations = dict(of_told.order_by("pk").values_list("pk", "generation"))
    undone = QueuedTrack.objects.filter(media_service_id__in=generations, state__in=QueuedTrack.UNDONE)
    changed: dict[tuple[str, str], list[int]] = {}
    for pk, service, name, state in undone.order_by().values_list("pk", "media_service_id", "name", "state"):
        became = told.get((service, name))
        if became is not None and became[0] != state:
            changed.setdefault(became, []).append(pk)
    generation = MediaService.objects.filter(pk=OuterRef("media_service_id")).values("generation")[:1]
    for (state, message), pks in changed.items():
        done = {} if state == State.WAITING else {"done_at": now, "done_generation": Subquery(generation)}
        for start in range(0, len(pks), 500):
            rows = QueuedTrack.objects.filter(pk__in=pks[start : start + 500])
            rows.update(state=state, message="" if state == State.WAITING else message, **done)


_STATES = (State.WAITING.value, State.PLAYED.value, State.FAILED.value)
