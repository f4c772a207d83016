"""Planning of schedules: entries of a station's calendar, which add to the times of its playlists and DJs."""

from __future__ import annotations

from collections.abc import Container
from datetime import timedelta

from streamfleet_panel.apply import of_service
from streamfleet_panel.apply.document import Entry
from streamfleet_panel.apply.fields import REQUIRED
from streamfleet_panel.apply.plan import Plan
from streamfleet_panel.apply.schedule import DAYS
from streamfleet_panel.models import Dj, MediaService, Playlist, Schedule

MOST_SCHEDULES = 200


def plan_schedule(plan: Plan, entry: Entry, declared: Container[str]) -> None:
    """One entry of the document. ``declared``: slugs that the document itself names; their faults are noted."""
    draft = of_service.begin(plan, entry, declared)
    if draft is None:
        return
    if draft.sound:
        _judge(plan, entry, draft.obj)
    of_service.finish(plan, entry, draft)


def _judge(plan: Plan, entry: Entry, schedule: Schedule) -> None:
    """What fields mean together."""
    path = entry.path
    for name in REQUIRED["schedule"]:
        if not getattr(schedule, name):
            fix = f'Write it in quotes, as {name}: "22:00".'
            plan.problem(f"{path}.{name}", None, "is missing", fix)
    if schedule.playlist is None and schedule.dj is None:
        fix = "Name the playlist that is played then, or the DJ who is on."
        plan.problem(f"{path}.playlist", None, "is missing, and so is dj", fix)
    elif schedule.playlist is not None and schedule.dj is not None:
        name = "playlist" if "playlist" in entry.fields else "dj"
        other = "dj" if name == "playlist" else "playlist"
        fix = f"Set {other}: null as well, or declare an entry for each."
        plan.problem(f"{path}.{name}", getattr(schedule, name), f"goes not with {other}", fix)
    if schedule.start and schedule.start == schedule.end:
        fix = "For a whole day, declare one entry from 00:00 to 12:00 and one from 12:00 to 00:00."
        plan.problem(f"{path}.end", schedule.end, "is the same as start", fix)
    _dates(plan, path, schedule)


def _dates(plan: Plan, path: str, schedule: Schedule) -> None:
    first, last = schedule.start_date, schedule.end_date
    if first is None or last is None:
        return
    if last < first:
        fix = "Name a later day, or null for no end."
        plan.problem(f"{path}.end_date", last.isoformat(), f"is before start_date, {first.isoformat()}", fix)
        return
    # A week has every day.
    within = {DAYS[(first + timedelta(days=number)).weekday()] for number in range(min((last - first).days + 1, 7))}
    if schedule.days is not None and not within & set(schedule.days):
        between = f"{first.isoformat()} is a {DAYS[first.weekday()]}" if first == last else "none is between the dates"
        plan.problem(f"{path}.days", schedule.days, f"are never: {between}", "Name other days, or null for every day.")


def check(plan: Plan) -> None:
    """Refuse more entries than a service may have, and what names a playlist or DJ that is not there.

    Three queries, where the document changes anything of it; playlists that are played always need no entry.
    """
    of_service.check_most(plan, "schedule", MOST_SCHEDULES)
    services = _touched(plan)
    if not services:
        return
    paths = {id(result.obj): path for path, result in plan.by_path.items()}
    playlists = {
        id(service): {playlist.name: playlist for playlist in found}
        for service, found in of_service.will_have(plan, "playlist", services.values(), ("name", "type", "active"))
    }
    djs = {
        id(service): {dj.username: dj for dj in found}
        for service, found in of_service.will_have(plan, "dj", services.values(), ("username",))
    }
    for service, schedules in of_service.will_have(plan, "schedule", services.values()):
        for schedule in schedules:
            kind = _kind(schedule)
            there = (playlists if kind == "playlist" else djs)[id(service)]
            found = there.get(getattr(schedule, kind))
            if found is None:
                _lacking(plan, schedule, paths, list(there))
            elif kind == "playlist" and found.type != Playlist.Type.SCHEDULED and found.active is None:
                _always(plan, schedule, found, paths)


def _kind(schedule: Schedule) -> str:
    return "playlist" if schedule.playlist is not None else "dj"


def _touched(plan: Plan) -> dict[int, MediaService]:
    """Services whose entries change, or what these name, by identity."""
    found: dict[int, MediaService] = {}
    for result in plan.by_path.values():
        entry = result.kind == "schedule" and result.action in ("created", "updated")
        named = result.kind == "playlist" and result.action == "updated" and {"type", "active"} & result.changes.keys()
        if (entry or named) and result.obj is not None:
            found[id(result.obj.media_service)] = result.obj.media_service
    for obj in [*plan.removed.get(Playlist, []), *plan.removed.get(Dj, [])]:
        found[id(obj.media_service)] = obj.media_service
    return found


def _lacking(plan: Plan, schedule: Schedule, paths: dict[int, str], there: list[str]) -> None:
    """Note that what an entry names is not there: at the entry, or where the document deletes it."""
    kind = _kind(schedule)
    name = getattr(schedule, kind)
    words = "DJ" if kind == "dj" else kind
    if id(schedule) in paths:
        fix = f"Declare it as well, or use one of {', '.join(sorted(there)[:10])}." if there else "Declare it as well."
        plan.problem(f"{paths[id(schedule)]}.{kind}", name, f"is not a {words} of this service", fix)
        return
    model = Dj if kind == "dj" else Playlist
    key = "username" if kind == "dj" else "name"
    service = schedule.media_service_id
    gone = [obj for obj in plan.removed.get(model, []) if obj.media_service_id == service and getattr(obj, key) == name]
    path = paths.get(id(gone[0]), "") if gone else ""
    message = f"is the {words} that the schedule {schedule.name} names"
    plan.problem(
        f"{path}.{key}" if path else "", name, message, "Delete that schedule as well, or let it name another one."
    )


def _always(plan: Plan, schedule: Schedule, playlist: Playlist, paths: dict[int, str]) -> None:
    """Note that an entry adds nothing, since its playlist is played always."""
    if id(schedule) in paths:
        message = "is played always, so a schedule adds nothing"
        fix = (
            "Set type: scheduled of the playlist, to have it played instead of others then, or its own times as active."
        )
        plan.problem(f"{paths[id(schedule)]}.playlist", playlist.name, message, fix)
        return
    path = paths.get(id(playlist), "")
    message = f"is missing: it would be played always, and the schedule {schedule.name} names it"
    plan.problem(f"{path}.active", None, message, "Keep type: scheduled or its times, or delete that schedule.")
