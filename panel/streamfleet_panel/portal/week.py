"""A station's week: who plays when, by the times of its playlists and DJs and by its calendar."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta, tzinfo
from typing import Any

from django.utils import timezone

from streamfleet_panel import access
from streamfleet_panel.access import Actor
from streamfleet_panel.apply.schedule import begins_on
from streamfleet_panel.models import Dj, MediaService, Playlist, Schedule
from streamfleet_panel.portal.display import companions, engine_of

MINUTES = 24 * 60
# Heights of the picture of a day, in its own units.
LANE, GAP = 14, 3
FIRST_YEAR, LAST_YEAR = 1970, 2999
#: Of a day. A tenant may declare tens of thousands, which nobody reads, and which would keep the panel busy.
MOST_SHOWN = 60


@dataclass(frozen=True)
class Show:
    """Somebody who is on at a time. ``entry``: the name of the schedule that says so, "" where they do themselves."""

    kind: str
    name: str
    start: str
    end: str
    entry: str

    @property
    def next_day(self) -> bool:
        """It ends on the day after."""
        return self.end <= self.start

    @property
    def is_dj(self) -> bool:
        """A person, not a playlist."""
        return self.kind == "DJ"


@dataclass(frozen=True)
class Block:
    """A part of a show in the picture of one day: minutes from its left, units from its top."""

    show: Show
    left: int
    width: int
    top: int


@dataclass
class Day:
    """A day with what begins on it; the picture also has what is left of the day before. ``more``: are not shown."""

    date: date
    is_today: bool
    shows: list[Show]
    more: int
    blocks: list[Block] = field(default_factory=list)
    lanes: int = 1

    @property
    def height(self) -> int:
        """Of the picture."""
        return self.lanes * (LANE + GAP) + GAP


@dataclass(frozen=True)
class Week:
    """Seven days from a Monday. ``otherwise``: playlists that are played whenever nothing else is."""

    days: list[Day]
    zone: str
    before: date
    after: date
    is_now: bool
    otherwise: list[str]
    entries: list[Schedule]


def monday_of(text: str, zone: str) -> date:
    """The Monday of the week of the day that is asked for; of today, where that is none."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = today(zone)
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        day = today(zone)
    return day - timedelta(days=day.weekday())


def today(zone: str) -> date:
    """By the station's clock."""
    return timezone.now().astimezone(_zone(zone)).date()


def zone_of(service: MediaService) -> str:
    """Name of the station's time zone."""
    engine = engine_of(service)
    own = engine.settings(service.settings).get("timezone") if engine is not None else None
    return own or next((beside.zone for beside in companions(service) if beside.zone), "UTC")


def _zone(name: str) -> tzinfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return UTC


def has_calendar(service: MediaService) -> bool:
    """Whether its engine knows one."""
    engine = engine_of(service)
    return engine is not None and "schedules" in engine.objects_of(service.service_type)


def week(service: MediaService, actor: Actor, asked: str) -> Week:
    """The week of the day ``asked`` for. Three queries."""
    zone = zone_of(service)
    monday = monday_of(asked, zone)
    playlists = list(access.playlists(actor).filter(media_service=service).order_by("name").defer("files"))
    djs = list(access.djs(actor).filter(media_service=service).order_by("username"))
    entries = list(access.schedules(actor).filter(media_service=service).order_by("name"))
    times = list(_times(playlists, djs, entries))
    now = today(zone)
    # What began on the Sunday before may run into this week.
    begun = {
        day: sorted((show for show, window in times if begins_on(window, day)), key=_order)
        for day in (monday + timedelta(days=number) for number in range(-1, 7))
    }
    days = [
        Day(day, day == now, shows[:MOST_SHOWN], len(shows[MOST_SHOWN:]))
        for day, shows in begun.items()
        if day >= monday
    ]
    for day in days:
        _draw(day, begun[day.date - timedelta(days=1)][:MOST_SHOWN])
    otherwise = [
        item.name for item in playlists if item.enabled and item.type == Playlist.Type.ROTATION and item.active is None
    ]
    week = timedelta(days=7)
    return Week(days, zone, monday - week, monday + week, monday <= now < monday + week, otherwise, entries)


def _order(show: Show) -> tuple[str, bool, str]:
    return show.start, not show.is_dj, show.name


def _times(
    playlists: Iterable[Playlist], djs: Iterable[Dj], entries: Iterable[Schedule]
) -> Iterator[tuple[Show, Mapping[str, Any]]]:
    """Everybody's times, of those who are enabled; also of DJs who may connect at others."""
    on = {"playlist": {item.name: item.active for item in playlists if item.enabled}}
    on["DJ"] = {item.username: item.active for item in djs if item.enabled}
    for kind, found in on.items():
        for name, active in found.items():
            for window in active or ():
                yield Show(kind, name, window["start"], window["end"], ""), window
    for entry in entries:
        kind, named = ("playlist", entry.playlist) if entry.playlist is not None else ("DJ", entry.dj)
        if entry.enabled and named in on[kind]:
            yield Show(kind, str(named), entry.start, entry.end, entry.name), entry.for_node()


def _draw(day: Day, before: Iterable[Show]) -> None:
    """Put the day's blocks into as few lanes as hold them side by side."""
    parts = [(show, 0, _minutes(show.end)) for show in before if show.next_day and show.end != "00:00"]
    parts += [(show, _minutes(show.start), MINUTES if show.next_day else _minutes(show.end)) for show in day.shows]
    ends: list[int] = []
    for show, left, right in sorted(parts, key=lambda part: (part[1], not part[0].is_dj)):
        lane = next((number for number, end in enumerate(ends) if end <= left), len(ends))
        ends[lane : lane + 1] = [right]
        day.blocks.append(Block(show, left, right - left, GAP + lane * (LANE + GAP)))
    day.lanes = max(1, len(ends))


def _minutes(time: str) -> int:
    return int(time[:2]) * 60 + int(time[3:])
