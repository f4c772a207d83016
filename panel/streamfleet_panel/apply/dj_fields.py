"""What a DJ has: a log-in, a priority, and times."""

from __future__ import annotations

import re
from typing import Any

from streamfleet_panel.apply.checks import Bad, Field, boolean, integer, kind_of, one_line
from streamfleet_panel.apply.schedule import times

USERNAME = r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$"
USERNAME_FIX = "Lower-case letters, digits and hyphens; 1 to 32 characters; no hyphen at either end."
MOST_GRACE = 300

_NAME = 100
# Encoders for Shoutcast send user name and password as one word, with a colon between them.
_PASSWORD = re.compile(r"[A-Za-z0-9._~-]{8,64}")
_name = one_line(_NAME)


def _display_name(value: Any) -> str:
    return "" if value == "" else _name(value)


def _password(value: Any) -> str:
    if not isinstance(value, str):
        raise Bad(f"must be a text, is {kind_of(value)}", "Put it in quotes.")
    if not _PASSWORD.fullmatch(value):
        fix = "Use 8 to 64 letters, digits and . _ ~ - or leave it out to have one made."
        raise Bad("has a form that is not accepted", fix)
    return value


# Beside the key.
DJ: tuple[Field, ...] = (
    Field(
        "name",
        _display_name,
        {"type": "string", "maxLength": _NAME},
        "Name that people see. null = none.",
        nullable=True,
        none="",
    ),
    Field(
        "password",
        _password,
        {"type": "string", "pattern": f"^{_PASSWORD.pattern}$", "writeOnly": True},
        "Password with which the DJ's encoder connects. Made by the panel when a new DJ has none.",
        secret=True,
        column="credentials_encrypted",
    ),
    integer("priority", "Of several DJs the one with the highest is heard, and interrupts the others.", 1, 100),
    boolean("enabled", "false: the DJ may not connect."),
    boolean("scheduled_only", "true: the DJ may be connected at the times in active only."),
    times(
        "active",
        "Times of scheduled_only, in the service's time zone, beside those of schedules that name the DJ. null = none.",
    ),
    integer(
        "grace_seconds",
        "How long the air is kept for the DJ after a drop-out: nobody of the same priority takes it meanwhile.",
        0,
        MOST_GRACE,
    ),
    boolean("record", "true: the node keeps what the DJ sends."),
)
