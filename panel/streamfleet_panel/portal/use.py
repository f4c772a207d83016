"""What a media service uses, in words and bars beside its limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streamfleet_panel import libraries, represent
from streamfleet_panel.models import MediaService


@dataclass(frozen=True)
class Bar:
    """One measure. ``words``: all that the bar shows; ``most`` None: nothing that it could be measured against."""

    label: str
    words: str
    now: int
    most: int | None
    sub: str = ""


@dataclass(frozen=True)
class Drop:
    """A source that was sent away."""

    at: datetime
    words: str


@dataclass(frozen=True)
class Use:
    """A service's. ``library``: that of its customer on its node, where the service uses it."""

    bars: list[Bar]
    library: Bar | None
    sources: list[Bar] | None
    drops: list[Drop]
    reported_at: datetime | None


def of_words(now: int | None, most: int | None, unit: str = "") -> str:
    """A measure and its limit, such as "12 of 50"."""
    if now is None:
        return "not known"
    text = f"{now:,}" if most is None else f"{now:,} of {most:,}"
    return f"{text} {unit}".strip().replace(",", "\u202f")


def use_of(service: MediaService) -> Use:
    """What the service uses, as its node told it last. Three queries."""
    found = represent.usages([service])[0]
    peak = f"At most {found['listeners_peak']} at once this month"
    bars = [
        _bar("Listeners", found["listeners"], found["max_listeners"], sub=peak),
        _bar("Sent this month (UTC)", found["transferred_mb"], found["monthly_transfer_mb"], "MB"),
    ]
    library = _library(found) if libraries.uses_library(service) else None
    if library is not None:
        bars.append(library)
    bars.append(_bar("Own files", found["own_files_mb"], None, "MB"))
    if found["mounts"] is not None:
        bars.append(_bar("Mount points", found["mounts"], found["max_mounts"]))
    return Use(bars, library, _sources(found), _drops(found), _moment(found["reported_at"]))


def _library(found: dict[str, Any], label: str = "Media library") -> Bar:
    return _bar(label, found["library_mb"], found["library_quota_mb"], "MB", "All services there share it")


def libraries_of(services: Iterable[MediaService]) -> list[Bar]:
    """The libraries of one customer's services, a bar for each node that has one. Three queries."""
    users = [service for service in services if libraries.uses_library(service)]
    bars: dict[int, Bar] = {}
    for service, found in zip(users, represent.usages(users), strict=True):
        known = bars.get(service.node_id)
        # Each tells of the whole; one that is new has told nothing yet.
        if known is None or (found["library_mb"] or 0) > known.now:
            bars[service.node_id] = _library(found, service.node.stream_host or service.node.address)
    return sorted(bars.values(), key=lambda bar: bar.label)


def _sources(found: dict[str, Any]) -> list[Bar] | None:
    if found["sources"] is None:
        return None
    return [
        _bar(
            f"{item['kind'].capitalize()} {item['mount']}".strip(),
            item["kbps"],
            found["max_bitrate_kbps"] if item["kind"] != "autodj" else None,
            "kbit/s",
            f"Announced: {item['announced_kbps']} kbit/s" if item["announced_kbps"] is not None else "",
        )
        for item in found["sources"]
    ]


def _drops(found: dict[str, Any]) -> list[Drop]:
    drops = []
    for item in reversed(found["dropped_sources"]):
        at = _moment(item["at"])
        if at is not None:
            words = f"{item['mount']} sent {item['kbps']} kbit/s, {item['limit_kbps']} are allowed".strip()
            drops.append(Drop(at, words))
    return drops


def _bar(label: str, now: int | None, most: int | None, unit: str = "", sub: str = "") -> Bar:
    return Bar(label, of_words(now, most, unit), now or 0, most, sub)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def listeners_of(services: Iterable[MediaService]) -> dict[int, str]:
    """ "12 of 50" for each service, by its id. Three queries."""
    found = list(services)
    return {
        service.pk: of_words(item["listeners"], item["max_listeners"])
        for service, item in zip(found, represent.usages(found), strict=True)
    }
