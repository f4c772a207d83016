"""What a station has for its relays in. Both renderers ask here, so that the station offers what the relays send to."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any


def mount_of(mount: str) -> str:
    """The hidden mount of what is relayed into ``mount``. No declared mount can be called like it.

    Every mount has one, whether anything is relayed into it or not: so a relay that comes or goes changes nothing of
    the station, and its listeners are moved, not dropped.
    """
    return f"/_relay-{mount.removeprefix('/')}"


def password_of(service: Mapping[str, Any]) -> str:
    """What relays are a source of their station with; nobody is told it."""
    key = service["credentials"]["admin_password"].encode("utf-8")
    return hmac.new(key, f"{service['slug']}: sources that are relayed".encode(), hashlib.sha256).hexdigest()
