"""Which addresses a fleet gets. Pure; the caller says what is taken and holds the lock."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from tests.nodes.errors import NodesError

IPv4Network = ipaddress.IPv4Network
FIRST_NODE = 10
LAST_NODE = 250


def choose(taken: Iterable[str]) -> tuple[str, str]:
    """First free pair (IPv4 /24, IPv6 ULA /64) that overlaps nothing in `taken` (CIDR strings, either family).

    Raises NodesError when all 256 are taken.
    """
    used = [ipaddress.ip_network(cidr, strict=False) for cidr in taken]
    for number in range(256):
        pair = (f"10.213.{number}.0/24", f"fd5f:1ee7:d213:{number:x}::/64")
        candidates = [ipaddress.ip_network(cidr) for cidr in pair]
        if not any(c.version == u.version and c.overlaps(u) for c in candidates for u in used):
            return pair
    raise NodesError("No free subnet in 10.213.0.0/16.", "Take down fleets: `python -m tests.nodes list`.")


def node_address(subnet: str, number: int) -> str:
    """Address of node `number` (10 to 250) in the subnet; the same number in both families."""
    return str(ipaddress.ip_network(subnet)[number])


def next_number(used: Iterable[int]) -> int:
    """First free node number. Raises NodesError when a fleet has 241 nodes."""
    taken = set(used)
    for number in range(FIRST_NODE, LAST_NODE + 1):
        if number not in taken:
            return number
    raise NodesError(f"A fleet holds at most {LAST_NODE - FIRST_NODE + 1} nodes.")
