"""Times of the week at which something is on: playlists, DJs and schedules say them in the same way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from streamfleet_panel.apply.checks import Bad, Field, items, kind_of

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_WINDOWS = 100

_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


def times(name: str, description: str) -> Field:
    """A list of times of the week, in the service's time zone; null where there is none."""
    schema = {"type": "array", "items": _WINDOW_SCHEMA, "minItems": 1, "maxItems": MOST_WINDOWS}
    return Field(name, _times, schema, description, nullable=True)


def _times(value: Any) -> list[dict[str, Any]]:
    given = items(value, "times", MOST_WINDOWS, "Name fewer.")
    return [_window(item, f"[{index}]") for index, item in enumerate(given)]


def _window(value: Any, where: str) -> dict[str, Any]:
    """One time of the week, with its days filled in. Raises Bad."""
    example = 'Write it as {days: [mon, fri], start: "22:00", end: "02:00"}.'
    if not isinstance(value, dict):
        raise Bad(f"must be a mapping, is {kind_of(value)}", example, where, value)
    for name in value:
        if name not in ("days", "start", "end"):
            raise Bad("is not a field of a time", "Known fields: days, start, end.", f"{where}.{str(name)[:60]}")
    ends = {name: time_of(value.get(name), name, f"{where}.{name}") for name in ("start", "end")}
    return {"days": days_of(value.get("days"), f"{where}.days"), **ends}


def time_of(value: Any, name: str, below: str = "") -> str:
    """The time of day that the field ``name`` holds, ``below`` a field. Raises Bad."""
    # YAML reads 22:00 without quotes as the number 1320.
    fix = f'Write it in quotes, as {name}: "22:00".'
    if value is None:
        raise Bad("is missing", fix, below)
    if not isinstance(value, str):
        raise Bad(f"must be a text, is {kind_of(value)}", fix, below, value)
    if not _TIME.fullmatch(value):
        raise Bad("is not a time of day from 00:00 to 23:59", fix, below, value)
    return value


def days_of(value: Any, below: str = "") -> list[str] | None:
    """Days of the week, ``below`` a field, in their order; None is every day. Raises Bad."""
    fix = f"Use {', '.join(DAYS)}; leave days out for every day."
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise Bad("must be a list of days", fix, below, value)
    for index, day in enumerate(value):
        if day not in DAYS:
            raise Bad("is not a day", fix, f"{below}[{index}]", day)
        if day in value[:index]:
            raise Bad("names a day twice", "Name each day once.", f"{below}[{index}]", day)
    return sorted(value, key=DAYS.index)


def begins_on(window: Mapping[str, Any], day: date) -> bool:
    """Whether a time, of ``active`` or of a schedule, begins on this day; the AutoDJ answers the same."""
    if window.get("days") is not None and DAYS[day.weekday()] not in window["days"]:
        return False
    first, last = window.get("start_date"), window.get("end_date")
    return (first is None or first <= day.isoformat()) and (last is None or day.isoformat() <= last)


TIME_SCHEMA = {"type": "string", "pattern": f"^{_TIME.pattern}$"}
DAYS_SCHEMA = {
    "type": "array",
    "items": {"type": "string", "enum": list(DAYS)},
    "minItems": 1,
    "uniqueItems": True,
}
_WINDOW_SCHEMA = {
    "type": "object",
    "required": ["start", "end"],
    "additionalProperties": False,
    "properties": {
        "days": {**DAYS_SCHEMA, "type": ["array", "null"], "description": "null = every day."},
        "start": TIME_SCHEMA,
        "end": {**TIME_SCHEMA, "description": "Not after start: on the next day."},
    },
}
