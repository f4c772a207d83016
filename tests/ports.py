"""Ports for programs that tests start, each for one test process alone.

A port that the kernel gave once may be given again, to a connection of whatever runs beside, before the program listens
on it. So these are below the range that connections are made from, and nobody else who asks here gets them meanwhile.
"""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 10_000, 32_000

_chosen = random.SystemRandom()
# What is bound to a name without a file is let go when its process ends, however it ends.
_held: list[socket.socket] = []


def free_port() -> int:
    """A TCP port that nobody listens on, kept from other tests until this process ends."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """As many ports, one after the other."""
    for _ in range(1000):
        first = _chosen.randrange(LOWEST, HIGHEST - count)
        ports = list(range(first, first + count))
        if all(_is_free(port) for port in ports):
            return ports
    raise RuntimeError(f"no {count} free ports in a row from {LOWEST} to {HIGHEST}")


def _is_free(port: int) -> bool:
    """Whether it was taken for this process. One that was taken and then not needed stays so."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0streamfleet-tests-port-{port}")
        socket.create_server(("", port)).close()
    except OSError:
        name.close()
        return False
    _held.append(name)
    return True
