"""Renders an Icecast station: its configuration, its listeners' password file and its route. See docs/contracts.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamfleet.engine import Instance
from streamfleet.icecast_station import Dialect, render_station

#: Debian's Icecast 2.4. On [::] it hears IPv4, too.
DIALECT = Dialect(engine="icecast", program_data="/usr/share/icecast2", bind_address="::", counts=False)


def render(service: Mapping[str, Any], node: Mapping[str, Any]) -> Instance:
    """The instance of ``service`` on ``node``. Raises RenderError for what Icecast cannot be told."""
    return render_station(service, node, DIALECT)
