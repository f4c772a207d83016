"""Listeners' sessions and monthly transfer, as the role ``sessions`` records them on nodes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings

from streamfleet_panel.models import ListenerSession, MediaService, Transfer
from streamfleet_panel.transfer import month_of

#: What fits into the column on every database.
MOST_BYTES = 1 << 62
#: Counters before the last that are remembered of a service and month. A node has another one when it is made anew.
MOST_EARLIER = 16
#: How far a node's clock may be ahead.
AHEAD = timedelta(days=1)
#: What a node may still have to tell of.
BACK = timedelta(days=62)

_NAME = re.compile(r"[0-9a-f]{32}")
_NETWORKS = {4: 24, 6: 48}


def store_sessions(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]], now: datetime) -> None:
    """Sessions that have ended; what is known already stays as it is."""
    found = [
        session
        for item in own(services, items)
        if (session := _session(services, item)) is not None and now - BACK < session.ended_at < now + AHEAD
    ]
    ListenerSession.objects.bulk_create(found, batch_size=500, ignore_conflicts=True)


def _session(services: Mapping[str, int], item: Mapping[str, Any]) -> ListenerSession | None:
    service = services.get(text(item, "slug", 63))
    name, source, sent = text(item, "id", 32), text(item, "source", 6), count(item.get("bytes"))
    started, ended = moment(item.get("started")), moment(item.get("ended"))
    address = kept(text(item, "address", 45))
    if service is None or sent is None or started is None or ended is None or address is None:
        return None
    if not _NAME.fullmatch(name) or source not in ListenerSession.Source.values:
        return None
    return ListenerSession(
        media_service_id=service,
        name=name,
        source=source,
        mount=text(item, "mount", 100),
        address=address,
        agent=text(item, "agent", 255),
        started_at=min(started, ended),
        ended_at=ended,
        bytes=sent,
    )


def kept(address: str) -> str | None:
    """What is stored of an address, as SESSION_ADDRESSES says; None for what is none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    if settings.SESSION_ADDRESSES == "none":
        return ""
    if settings.SESSION_ADDRESSES == "network":
        return str(ipaddress.ip_network((found, _NETWORKS[found.version]), strict=False))
    return str(found)


def store_transfer(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]], now: datetime) -> None:
    """How far the node's counts are: three statements, however many services there are."""
    months = {month_of(now), month_of(now - timedelta(days=28)), month_of(now.replace(day=1) - timedelta(days=1))}
    told: dict[tuple[int, str], dict[str, int]] = {}
    for item in own(services, items):
        service, month = services.get(text(item, "slug", 63)), text(item, "month", 7)
        counter, sent = text(item, "counter", 32), count(item.get("bytes"))
        if service is None or sent is None or month not in months or not _NAME.fullmatch(counter):
            continue
        # The oldest first: the last counter is the one that goes on.
        counts = told.setdefault((service, month), {})
        counts[counter] = max(counts.get(counter, 0), sent)
    stored = {
        (row.media_service_id, row.month): row
        for row in Transfer.objects.filter(media_service__in={service for service, _ in told}, month__in=months)
    }
    changed, new = [], []
    for (service, month), counts in told.items():
        row = stored.get((service, month))
        if row is None:
            row = Transfer(media_service_id=service, month=month)
            new.append(row)
        else:
            changed.append(row)
        known = {str(counter): int(counted) for counter, counted in row.earlier}
        if row.counter:
            known[row.counter] = row.counted
        for counter, sent in counts.items():
            before = known.pop(counter, 0)
            row.bytes = min(row.bytes + max(0, sent - before), MOST_BYTES)
            known[counter] = max(before, sent)
        *earlier, (row.counter, row.counted) = known.items()
        row.earlier = [list(pair) for pair in earlier[-MOST_EARLIER:]]
    Transfer.objects.bulk_create(new, batch_size=500)
    Transfer.objects.bulk_update(changed, ["bytes", "counter", "counted", "earlier"], batch_size=200)


def own(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """What is not told of an earlier customer's service: whoever takes its slug takes nothing else."""
    keys = [services.get(text(item, "slug", 63)) for _, item in items]
    named = {key for key, (_, item) in zip(keys, items, strict=True) if key is not None and "uid" in item}
    uids = dict(MediaService.objects.filter(pk__in=named).values_list("pk", "customer__uid")) if named else {}
    return [
        item
        for key, (_, item) in zip(keys, items, strict=True)
        if "uid" not in item or item["uid"] == uids.get(key or 0)
    ]


def text(item: Mapping[str, Any], name: str, most: int) -> str:
    """A text as it can be stored and shown; empty for what is none."""
    value = item.get(name)
    if not isinstance(value, str):
        return ""
    # Databases take neither a NUL nor half of a surrogate pair.
    return "".join(character for character in value if character.isprintable())[:most]


def count(value: Any, most: int = MOST_BYTES) -> int | None:
    """A number that is not below nothing; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def moment(value: Any) -> datetime | None:
    """A time, of seconds since the epoch; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 33:
        return None
    return datetime.fromtimestamp(value, UTC)
