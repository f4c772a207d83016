"""How often an address has given a wrong password. Pure: times are given, in seconds of any one clock."""

from __future__ import annotations

import ipaddress

#: Wrong passwords that an address may give in so many seconds.
MOST = 10
SECONDS = 60.0
#: Addresses that are remembered: more at once is an attack, and the oldest are forgotten.
ADDRESSES = 10_000


class Attempts:
    """Wrong passwords by address. An IPv6 network counts as one address, since one machine has all of it."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def blocked(self, address: str, now: float) -> bool:
        """Whether this address has had its tries."""
        return len(self._recent(_place(address), now)) >= MOST

    def wrong(self, address: str, now: float) -> None:
        """Note a wrong password."""
        place = _place(address)
        times = [*self._recent(place, now), now]
        self._times.pop(place, None)
        self._times[place] = times
        if len(self._times) > ADDRESSES:
            del self._times[next(iter(self._times))]

    def _recent(self, place: str, now: float) -> list[float]:
        return [moment for moment in self._times.get(place, ()) if now - moment < SECONDS]


def _place(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 6:
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return address
