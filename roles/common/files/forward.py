"""Sends on what comes for a service that another node has by now: each of its ports, to that node's. Any protocol.

    forward.py /etc/streamfleet/instances/forward/rock-fm/forward.json

The file: ``{"address": "192.0.2.7", "ports": [[here, there], …]}``. On Python's own library.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from pathlib import Path

#: Bytes that are taken from one side before the other has them.
PIECE = 65536
#: Seconds for a connection to the other node.
PATIENCE = 10.0


async def main(path: str) -> None:
    """Forward until the process is ended. Raises OSError where a port cannot be had."""
    settings = json.loads(Path(path).read_text())
    servers = [await _listen(here, settings["address"], there) for here, there in settings["ports"]]
    _tell("READY=1")
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def _listen(here: int, address: str, there: int) -> asyncio.Server:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            await _between(reader, writer, address, there)
        writer.close()

    return await asyncio.start_server(pass_on, None, here, limit=PIECE, backlog=1024, reuse_address=True)


async def _between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, port: int) -> None:
    """Connect the client with the other node, until one of both has said all, and the other as well or is gone."""
    async with asyncio.timeout(PATIENCE):
        other_reader, other_writer = await asyncio.open_connection(address, port, limit=PIECE)
    for end in (writer, other_writer):
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    try:
        ways = {asyncio.create_task(_pump(reader, other_writer)), asyncio.create_task(_pump(other_reader, writer))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
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
