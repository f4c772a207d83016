"""Where a node keeps what belongs to a customer, whichever of the customer's services uses it."""

from __future__ import annotations

LIBRARIES = "/var/lib/streamfleet/media"
INDEXES = "/var/lib/streamfleet/media-index"


def library_of(uid: int) -> str:
    """The customer's media library."""
    return f"{LIBRARIES}/{uid}"


def index_of(uid: int) -> str:
    """The folder of what was measured of the library: beside it, since AutoDJs may not write into the library."""
    return f"{INDEXES}/{uid}"
