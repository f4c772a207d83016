"""What stations have played and what not, and their DJs: feeds ``played``, ``passed_over``, ``air`` of role autodj,
``tv_played`` and ``tv_passed_over`` of wowza.

Programs of the tenant's own user write these files, so any text may be in them, for this tenant to read.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from streamfleet_panel.models import OnAir, PassedOver, PlayedTrack

#: Lines that are kept of a station, and for how long.
KEPT = 2000
KEEP = timedelta(days=90)
#: Of so many batches about a station one is followed by a look for lines too many: they are counted then.
TIDY_ONE_IN = 20
MOST_CONNECTED = 16
#: Files that are passed over: as many as are told, and how many a library may be said to have.
MOST_PASSED_OVER, MOST_FILES = 50, 2**31 - 1
LONGEST_REASON = 200
#: Texts of a line, and how long they may be.
TEXTS = {"playlist": 100, "path": 500, "title": 300, "artist": 300, "dj": 32}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def text(value: object, longest: int) -> str | None:
    """A text as it can be stored and shown; None for what is none."""
    return _CONTROL.sub(" ", value)[:longest] if isinstance(value, str) else None


def moment(value: object, now: datetime) -> datetime | None:
    """A time of a node's (UTC, to the second); None for what is none, or cannot be one of this station's."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return at if now - KEEP < at < now + timedelta(hours=1) else None


def store(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]], now: datetime) -> None:
    """Store lines of histories."""
    rows = []
    for slug, item in items:
        at = moment(item.get("time"), now)
        if slug in services and at is not None:
            track = {name: text(item.get(name), longest) for name, longest in TEXTS.items()}
            digest = _digest(at, track)
            rows.append(PlayedTrack(media_service_id=services[slug], at=at, digest=digest, **track))
    PlayedTrack.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)
    _tidy({row.media_service_id for row in rows})


def _digest(at: datetime, track: Mapping[str, str | None]) -> str:
    """Of what is stored of a line, and of nothing else that a tenant may have put there."""
    told = json.dumps([at.isoformat(), *(track[name] for name in TEXTS)])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _tidy(services: set[int]) -> None:
    """Forget the oldest lines of some of these stations."""
    chosen = [pk for pk in services if not random.randrange(TIDY_ONE_IN)]  # noqa: S311  (spread, not secret)
    if not chosen:
        return
    place = Window(RowNumber(), partition_by=F("media_service_id"), order_by=(F("at").desc(), F("pk").desc()))
    ranked = PlayedTrack.objects.filter(media_service_id__in=chosen).order_by().annotate(place=place)
    too_many = list(ranked.filter(place__gt=KEPT).values_list("pk", flat=True))
    for start in range(0, len(too_many), 500):
        PlayedTrack.objects.filter(pk__in=too_many[start : start + 500]).delete()


def store_air(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]], now: datetime) -> None:
    """Store who is connected and heard."""
    told = {services[slug]: item for slug, item in items if slug in services}
    OnAir.objects.filter(media_service_id__in=told).delete()
    OnAir.objects.bulk_create(
        [
            OnAir(
                media_service_id=pk,
                dj=text(item.get("on_air"), 32),
                connected=_connected(item.get("connected")),
                reported_at=now,
            )
            for pk, item in told.items()
        ],
        batch_size=500,
    )


def _connected(value: object) -> list[dict[str, Any]]:
    keys = {"username": 32, "since": 20, "address": 45, "protocol": 20, "format": 10, "title": 300}
    listed = value if isinstance(value, list) else []
    return [
        {
            **{key: text(item.get(key), longest) for key, longest in keys.items()},
            "recorded": item.get("recorded") is True,
        }
        for item in listed[:MOST_CONNECTED]
        if isinstance(item, dict)
    ]


def store_passed_over(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]], now: datetime) -> None:
    """Store what of the library is not played."""
    told = {services[slug]: item for slug, item in items if slug in services}
    PassedOver.objects.filter(media_service_id__in=told).delete()
    PassedOver.objects.bulk_create(
        [PassedOver(media_service_id=pk, reported_at=now, **_passed_over(item)) for pk, item in told.items()],
        batch_size=500,
    )


def _passed_over(item: Mapping[str, Any]) -> dict[str, Any]:
    listed, count = item.get("items"), item.get("count")
    files = [
        {"path": text(one.get("path"), TEXTS["path"]) or "", "reason": text(one.get("reason"), LONGEST_REASON) or ""}
        for one in (listed if isinstance(listed, list) else [])[:MOST_PASSED_OVER]
        if isinstance(one, dict)
    ]
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST_FILES:
        count = 0
    return {"count": max(count, len(files)), "items": files}
