"""Renders a station of Icecast-KH, which reads Icecast's configuration in its own dialect. See docs/contracts.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamfleet.engine import Instance
from streamfleet.icecast_station import Dialect, render_station

#: On [::] it would hear IPv6 only; where no address is named it opens a socket for each. The query: it sends Safari
#: away once, to the address that it was asked at with this behind it, and the web server passes no such answer on.
DIALECT = Dialect(
    engine="icecast_kh",
    program_data="/opt/streamfleet/icecast_kh/current/share/icecast",
    bind_address=None,
    counts=True,
    query="_ic2=1",
    patterns=True,
    logins=False,
)


def render(service: Mapping[str, Any], node: Mapping[str, Any]) -> Instance:
    """The instance of ``service`` on ``node``. Raises RenderError for what Icecast-KH cannot be told."""
    return render_station(service, node, DIALECT)
