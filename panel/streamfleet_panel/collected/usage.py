"""What services use, as ``streamfleet-usage.service`` measures it on nodes (feed ``usage`` of role sessions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from streamfleet_panel.collected.sessions import MOST_BYTES, kept, own
from streamfleet_panel.collected.sessions import count as whole
from streamfleet_panel.collected.sessions import moment as seconds
from streamfleet_panel.collected.sessions import text as words
from streamfleet_panel.models import ListenerSession, Listening, Usage
from streamfleet_panel.times import rfc3339
from streamfleet_panel.transfer import month_of

KINDS = ("encoder", "relay", "autodj")
MOST_SOURCES, MOST_DROPS, MOST_RUNNING = 32, 5, 200
#: What fits into the column on every database.
MOST_LISTENERS, MOST_KBPS = 2**31 - 1, 10_000_000


def store(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]], now: datetime) -> None:
    """Store what is told now in place of what was told before: three statements, however many services there are."""
    told = _told(services, items)
    month = month_of(now)
    peaks = dict(
        Usage.objects.filter(media_service_id__in=told, month=month).values_list("media_service_id", "listeners_peak")
    )
    Usage.objects.filter(media_service_id__in=told).delete()
    Usage.objects.bulk_create([_usage(pk, item, month, peaks.get(pk, 0), now) for pk, item in told.items()], 500)


def _told(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]]) -> dict[int, dict[str, Any]]:
    """What is told of each service by its id; nothing that is of an earlier customer's."""
    told = {services[slug]: item for slug, item in items if slug in services and item.get("slug") == slug}
    mine = {id(item) for item in own(services, [("", item) for item in told.values()])}
    return {pk: item for pk, item in told.items() if id(item) in mine}


def store_running(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]], now: datetime) -> None:
    """Who listens now, in place of who did before."""
    told = _told(services, items)
    Listening.objects.filter(media_service_id__in=told).delete()
    Listening.objects.bulk_create(
        [Listening(media_service_id=pk, sessions=_running(item), reported_at=now) for pk, item in told.items()], 500
    )


def _running(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = item.get("sessions")
    rows = (row for row in (listed if isinstance(listed, list) else [])[:MOST_RUNNING] if isinstance(row, dict))
    return [found for row in rows if (found := _session(row)) is not None]


def _session(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """One who listens; None for what is none. An address is empty where the node does not know it."""
    source, started, address = words(row, "source", 6), _time(row.get("started")), words(row, "address", 45)
    shown = kept(address) if address else ""
    if source not in ListenerSession.Source.values or started is None or shown is None:
        return None
    return {
        "source": source,
        "mount": words(row, "mount", 100),
        "address": shown,
        "agent": words(row, "agent", 255),
        "started_at": started,
        "bytes": whole(row.get("bytes")),
    }


def _usage(pk: int, item: Mapping[str, Any], month: str, peak: int, now: datetime) -> Usage:
    listeners = whole(item.get("listeners"), MOST_LISTENERS)
    of_node = whole(item.get("listeners_peak"), MOST_LISTENERS) if item.get("month") == month else None
    sources = item.get("sources")
    drops = item.get("drops")
    return Usage(
        media_service_id=pk,
        listeners=listeners,
        listeners_peak=max(peak, listeners or 0, of_node or 0),
        month=month,
        sources=[_source(one) for one in sources[:MOST_SOURCES] if isinstance(one, dict)]
        if isinstance(sources, list)
        else None,
        disk_bytes=whole(item.get("disk_bytes"), MOST_BYTES),
        library_bytes=whole(item.get("library_bytes"), MOST_BYTES),
        drops=[found for one in drops[-MOST_DROPS:] if (found := _drop(one)) is not None]
        if isinstance(drops, list)
        else [],
        reported_at=now,
    )


def _source(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "mount": words(item, "mount", 100),
        "kind": item.get("kind") if item.get("kind") in KINDS else KINDS[0],
        "since": _time(item.get("since")),
        "announced_kbps": whole(item.get("announced_kbps"), MOST_KBPS),
        "kbps": whole(item.get("kbps"), MOST_KBPS),
    }


def _drop(item: Any) -> dict[str, Any] | None:
    """A source that was sent away; None for what is none."""
    if not isinstance(item, dict):
        return None
    at, kbps, limit = (
        _time(item.get("at")),
        whole(item.get("kbps"), MOST_KBPS),
        whole(item.get("limit_kbps"), MOST_KBPS),
    )
    if at is None or kbps is None or limit is None:
        return None
    return {"at": at, "mount": words(item, "mount", 100), "kbps": kbps, "limit_kbps": limit}


def _time(value: Any) -> str | None:
    found = seconds(value)
    return None if found is None else rfc3339(found)
