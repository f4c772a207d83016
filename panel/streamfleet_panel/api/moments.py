"""Times that a call asks for."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, UTC, datetime

from django.utils.timezone import is_naive

from streamfleet_panel.apply.problems import ApiError, Problem


def in_utc(name: str, value: datetime | None) -> datetime | None:
    """The parameter ``name`` in UTC, which is what is meant where it names no zone.

    Raises ApiError at the edge of time, where other zones have years that no clock and no database has.
    """
    if value is None:
        return None
    try:
        found = value.replace(tzinfo=UTC) if is_naive(value) else value.astimezone(UTC)
    except OverflowError:
        found = None
    if found is None or not MINYEAR < found.year < MAXYEAR:
        problem = Problem(name, str(value), "is at the edge of time", "Write it as in 2026-11-27T12:00:00Z.")
        raise ApiError("invalid_document", f"{name}: is at the edge of time", [problem])
    return found
