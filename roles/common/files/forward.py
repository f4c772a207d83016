"""Sends on what comes for a service that another node has by now: each of its ports, to that node's. Any protocol.

    forward.py /etc/streamfleet/instances/forward/rock-fm/forward.json

The file: ``{"address": "192.0.2.7", "ports": [[here, there], …]}``. On Python's own library.

The other node sees one client, this one, so what it does about clients that guess log-ins is done here: who connects
faster than a player does that lost its stream is cut off. So is what comes when there are too many.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import socket
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

#: Bytes that are taken from one side before the other has them; each connection has four such buffers at most.
PIECE = 16384
#: Seconds for a connection to the other node.
PATIENCE = 10.0
#: Seconds after which a side is gone that does not take what it is sent, or does not answer while nothing is sent.
GONE = 60
#: Connections at once: as much memory as the unit has.
MOST = 4000
#: Connections that an address may begin at once, and how many a second after that: behind one may be an office.
BURST, RATE = 60, 1.0
#: Connections of an address that are open at once: of IPv6, of a network as a household has one.
EACH = 200
#: Addresses that are remembered.
REMEMBERED = 10_000


class Door:
    """Who is let in: a bucket for each address, and so many at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.inside = 0
        # Address → open connections.
        self._open: Counter[str] = Counter()
        self._clock = clock
        # Address → connections left, and when that was.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def lets(self, address: str) -> bool:
        """Whether one more may come from there. This host's own web server comes for all who listen by it."""
        whose = _whose(address)
        if not whose:
            return self.inside < MOST
        now = self._clock()
        left, then = self._left.pop(whose, (float(BURST), now))
        left = min(BURST, left + (now - then) * RATE)
        welcome = left >= 1 and self.inside < MOST and self._open[whose] < EACH
        self._left[whose] = (left - 1 if welcome else left, now)
        while len(self._left) > REMEMBERED:
            self._left.popitem(last=False)
        return welcome

    @contextlib.contextmanager
    def place(self, address: str) -> Iterator[None]:
        """One connection from there, for as long as it is open."""
        whose = _whose(address)
        self.inside += 1
        self._open[whose] += 1
        try:
            yield
        finally:
            self.inside -= 1
            self._open[whose] -= 1
            if not self._open[whose]:
                del self._open[whose]


def _whose(address: str) -> str:
    """What is counted as one; empty for this host."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.is_loopback:
        return ""
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


async def main(path: str) -> None:
    """Forward until the process is ended. Raises OSError where a port cannot be had."""
    settings = json.loads(Path(path).read_text())
    door = Door()
    servers = [await _listen(door, here, settings["address"], there) for here, there in settings["ports"]]
    _tell("READY=1")
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def _listen(door: Door, here: int, address: str, there: int) -> asyncio.Server:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        if not peer or not door.lets(peer[0]):
            writer.transport.abort()
            return
        try:
            with door.place(peer[0]), contextlib.suppress(OSError, TimeoutError):
                await _between(reader, writer, address, there)
        finally:
            writer.close()

    return await asyncio.start_server(pass_on, None, here, limit=PIECE, backlog=1024, reuse_address=True)


async def _between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, port: int) -> None:
    """Connect the client with the other node, until that one has said all: what the client says then nobody hears."""
    async with asyncio.timeout(PATIENCE):
        other_reader, other_writer = await asyncio.open_connection(address, port, limit=PIECE)
    for end in (writer, other_writer):
        end.transport.set_write_buffer_limits(high=PIECE)
        link = end.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, GONE)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE * 1000)
    try:
        there = asyncio.create_task(_pump(reader, other_writer))
        back = asyncio.create_task(_pump(other_reader, writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            if there.done() and there.exception() is None:
                # The client has asked all, and waits for the answer.
                await asyncio.wait({back})
        finally:
            for way in (there, back):
                way.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
    finally:
        other_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, as fast as it is taken; then say that no more comes."""
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _tell(state: str) -> None:
    """Tell systemd, as sd_notify(3) does."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            link.sendall(state.encode())


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1]))
    except OSError as error:
        sys.exit(f"{error.strerror or error}")
