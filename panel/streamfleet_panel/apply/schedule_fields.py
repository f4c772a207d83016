"""What an entry of a station's calendar says: who, and when."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from streamfleet_panel.apply.checks import Bad, Field, boolean, kind_of, text
from streamfleet_panel.apply.dj_fields import USERNAME, USERNAME_FIX
from streamfleet_panel.apply.schedule import DAYS_SCHEMA, TIME_SCHEMA, days_of, time_of

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SLUG = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
_NAME_FIX = "Lower-case letters, digits and hyphens; 1 to 63 characters; no hyphen at either end."


def _date(value: Any) -> date:
    fix = "Write it as 2026-12-24."
    if not isinstance(value, str):
        raise Bad(f"must be a date, is {kind_of(value)}", fix)
    if not _DATE.fullmatch(value):
        raise Bad("is not a date", fix)
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise Bad("is a day that no calendar has", fix) from None


_DATE_SCHEMA = {"type": "string", "format": "date"}

# Beside its key.
SCHEDULE: tuple[Field, ...] = (
    text(
        "playlist",
        "Playlist of the service that is played then. Either this or dj.",
        63,
        _SLUG,
        _NAME_FIX,
        nullable=True,
    ),
    text("dj", "DJ of the service who is on then. Either this or playlist.", 32, USERNAME, USERNAME_FIX, nullable=True),
    Field("days", days_of, DAYS_SCHEMA, "Days of the week on which it begins. null = every day.", nullable=True),
    Field("start", lambda value: time_of(value, "start"), TIME_SCHEMA, "Time of day, in the service's time zone."),
    Field(
        "end",
        lambda value: time_of(value, "end"),
        TIME_SCHEMA,
        "Time of day, in the service's time zone. One before start is on the next day.",
    ),
    Field("start_date", _date, _DATE_SCHEMA, "The first day on which it begins. null = any.", nullable=True),
    Field(
        "end_date",
        _date,
        _DATE_SCHEMA,
        "The last day on which it begins; start_date and end_date of one day are that day alone. null = any.",
        nullable=True,
    ),
    boolean("enabled", "false: it adds nothing."),
)
