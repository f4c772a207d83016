"""What a relay has: two ends, a log-in, and patience."""

from __future__ import annotations

import re
from typing import Any

from streamfleet_panel import guard
from streamfleet_panel.apply.checks import Bad, Field, boolean, choice, integer, kind_of, text

MOUNT = r"^/[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"
#: Direction → schemes of the other side.
SCHEMES = {"in": ("http", "https"), "out": ("icecast", "icecasts")}
_ALL = tuple(scheme for schemes in SCHEMES.values() for scheme in schemes)
# Both go into one line of a request, with a colon between them.
_USERNAME = r"^[!-9;-~]{1,64}$"
_PASSWORD = re.compile(r"[!-~]{1,128}")


def _address(value: Any) -> str:
    if not isinstance(value, str):
        raise Bad(f"must be a text, is {kind_of(value)}", "Put it in quotes.")
    try:
        guard.place_of(value, _ALL)
    except guard.Refused as refused:
        raise Bad(refused.message, refused.fix) from None
    return value


def _password(value: Any) -> str:
    if not isinstance(value, str):
        raise Bad(f"must be a text, is {kind_of(value)}", "Put it in quotes.")
    if not _PASSWORD.fullmatch(value):
        raise Bad("has a form that is not accepted", "Use 1 to 128 characters of ASCII without spaces; null for none.")
    return value


# Beside the key.
RELAY: tuple[Field, ...] = (
    choice(
        "direction", "in: the service takes a stream over. out: it sends its own. Fixed.", ("in", "out"), fixed=True
    ),
    Field(
        "address",
        _address,
        {"type": "string", "maxLength": guard.MOST_URL},
        "The other side, on the public Internet. in: address of the stream, http:// or https://. out: server, port and "
        "mount, icecast:// or, by TLS, icecasts://. Without user name and password.",
    ),
    text(
        "mount",
        "The service's own mount that is relayed into, or from. Default: what players open.",
        65,
        MOUNT,
        "Write it as a mount of the service, e.g. /stream.",
    ),
    text(
        "username",
        "User name for the other side. null = none, for out: source.",
        64,
        _USERNAME,
        "ASCII without spaces and colons; at most 64 characters.",
        nullable=True,
    ),
    Field(
        "password",
        _password,
        {"type": "string", "pattern": f"^{_PASSWORD.pattern}$", "writeOnly": True},
        "Password for the other side; never shown again. null = none.",
        nullable=True,
        secret=True,
        column="credentials_encrypted",
    ),
    boolean("enabled", "false: does not run."),
    boolean("djs_first", "Of relays in. true: steps aside while a DJ is on the air. false: is heard instead of DJs."),
    integer("silence_seconds", "So long may nothing come before it connects anew.", 5, 300),
    integer("reconnect_seconds", "Longest wait between two attempts; the first are sooner.", 1, 3600),
)
