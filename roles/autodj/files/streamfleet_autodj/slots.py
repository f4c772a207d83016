"""Liquidsoap's side of the DJs' way in: a fixed number of inputs on loopback, and two small files between both.

``air`` says which slots are to be heard, the first that has sound; ``heard`` says which one is, 0 for none.
"""

from __future__ import annotations

import asyncio
import base64
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from . import library

COUNT = 8
HOST = "127.0.0.1"
#: Seconds that Liquidsoap may take to answer, and to take a piece of a stream.
ANSWER_SECONDS = 5.0
LONGEST_ANSWER = 4096


class Unready(Exception):
    """Liquidsoap does not take a source now. Its text says why."""


class Slots:
    """The inputs of one station. ``port`` and ``password``: of Liquidsoap's harbor."""

    def __init__(self, folder: Path, port: int, password: str) -> None:
        self._folder = folder
        self._port = port
        login = base64.b64encode(f"source:{password}".encode()).decode()
        self._authorization = f"Authorization: Basic {login}\r\n"

    async def open(self, number: int, kind: str) -> asyncio.StreamWriter:
        """Begin to send to a slot, a stream of the type ``kind``. Raises Unready."""
        head = f"SOURCE /slot{number} HTTP/1.0\r\n{self._authorization}Content-Type: {kind}\r\n\r\n"
        _reader, writer = await self._asked(head, "200")
        return writer

    async def tell(self, number: int, title: str) -> None:
        """Have the slot's listeners see a title. Raises Unready."""
        query = urllib.parse.urlencode(
            {"mode": "updinfo", "mount": f"/slot{number}", "charset": "UTF-8", "song": title}
        )
        _reader, writer = await self._asked(f"GET /admin/metadata?{query} HTTP/1.0\r\n{self._authorization}\r\n", "200")
        writer.close()

    async def _asked(self, head: str, good: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(HOST, self._port, limit=LONGEST_ANSWER)
                try:
                    writer.write(head.encode())
                    answer = (await reader.readuntil(b"\r\n")).decode("latin-1").split()
                except BaseException:
                    writer.close()
                    raise
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise Unready("the AutoDJ is not running, or has just started") from None
        if answer[1:2] != [good]:
            writer.close()
            raise Unready("the AutoDJ is busy with a connection that has just ended")
        return reader, writer

    def rank(self, numbers: Sequence[int]) -> None:
        """Say which slots are to be heard, the best first. Raises OSError."""
        library.replace(self._folder / "air", " ".join(str(number) for number in numbers).encode())

    def heard(self) -> int:
        """The slot that is heard, 0 for none: Liquidsoap's own word."""
        try:
            return int((self._folder / "heard").read_bytes())
        except (OSError, ValueError):
            return 0
