"""Times as the API writes them."""

from __future__ import annotations

from datetime import datetime


def rfc3339(value: datetime | None) -> str | None:
    """A time as the API writes it: UTC, with Z; None stays None."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")
