"""What stations of Icecast-KH use."""

from __future__ import annotations

from streamfleet_usage.icecasts import Stations

#: Icecast-KH counts its listeners, those through the web server too.
LISTENERS = True


class Meter(Stations):
    """Asks the stations on this node."""

    engine = "icecast_kh"
