"""Encoders and listeners that count: every byte that a source sends is numbered, so a lost one is seen.

The Icecast source sends lines of seven digits and a newline; Icecast passes MP3 bytes through as they are, so a
listener who gets line n must get line n + 1 next, wherever it joined.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

LINE = 8
WRAP = 10_000_000
LINES_PER_BLOCK = 128
BLOCKS_PER_SECOND = 16


def block(first: int) -> bytes:
    """``LINES_PER_BLOCK`` numbered lines, 1 KiB."""
    return b"".join(b"%07d\n" % ((first + n) % WRAP) for n in range(LINES_PER_BLOCK))


class Source(threading.Thread):
    """An Icecast source that sends numbered lines at 128 kbit/s until stopped; ``error`` says why it ended early."""

    def __init__(self, address: str, port: int, mount: str, password: str, content_type: str = "audio/mpeg") -> None:
        super().__init__(daemon=True)
        login = base64.b64encode(f"source:{password}".encode()).decode()
        self._request = (
            f"PUT {mount} HTTP/1.1\r\nHost: {address}:{port}\r\nAuthorization: Basic {login}\r\n"
            f"Content-Type: {content_type}\r\nExpect: 100-continue\r\n\r\n"
        ).encode()
        self._address = (address, port)
        self._ended = threading.Event()
        self.answer = ""
        self.error: str | None = None
        self.accepted = threading.Event()

    def run(self) -> None:
        """Send until stopped."""
        number = 0
        try:
            with socket.create_connection(self._address, timeout=10) as link:
                link.sendall(self._request)
                self.answer = link.recv(256).decode("latin-1").splitlines()[0]
                if " 100 " not in self.answer and " 200 " not in self.answer:
                    raise ConnectionError(self.answer)
                self.accepted.set()
                following = time.monotonic()
                while not self._ended.is_set():
                    link.sendall(block(number))
                    number = (number + LINES_PER_BLOCK) % WRAP
                    following += 1 / BLOCKS_PER_SECOND
                    self._ended.wait(max(0.0, following - time.monotonic()))
        except (OSError, IndexError) as error:
            if not self._ended.is_set():
                self.error = str(error)

    def stop(self) -> None:
        """Go off the air."""
        self._ended.set()
        self.join(10)


@dataclass
class Heard:
    """What a listener got so far. ``longest_gap`` in seconds between two pieces."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    lost_lines: int = 0
    longest_gap: float = 0.0
    disconnects: int = 0


class Listener(threading.Thread):
    """A listener over HTTPS (``ca`` given) or HTTP who checks that no line is missing, until stopped."""

    def __init__(self, address: str, port: int, host: str, path: str, ca: str | None = None) -> None:
        super().__init__(daemon=True)
        self._address, self._host, self._path, self._ca = (address, port), host, path, ca
        self._ended = threading.Event()
        self.playing = threading.Event()
        self.answered = threading.Event()
        self.heard = Heard()

    def _connect(self) -> socket.socket:
        link = socket.create_connection(self._address, timeout=20)
        if self._ca is None:
            return link
        return ssl.create_default_context(cafile=self._ca).wrap_socket(link, server_hostname=self._host)

    def run(self) -> None:
        """Listen until stopped; the end of the stream counts as a disconnect."""
        try:
            with self._connect() as link:
                link.sendall(f"GET {self._path} HTTP/1.0\r\nHost: {self._host}\r\nUser-Agent: counter\r\n\r\n".encode())
                self._read(link)
        except OSError:
            if not self._ended.is_set():
                self.heard.disconnects += 1
        finally:
            self.answered.set()

    def _read(self, link: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = link.recv(4096)
            if not piece:
                self.heard.disconnects += 1
                return
            data += piece
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.heard.status = int(lines[0].split()[1])
        self.heard.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        self.answered.set()
        if self.heard.status != 200:
            return
        expected: int | None = None
        last = time.monotonic()
        while not self._ended.is_set():
            if expected is None and b"\n" in data:
                data = data.partition(b"\n")[2]
                expected = -1
            while expected is not None and len(data) >= LINE:
                line, data = data[:LINE], data[LINE:]
                number = int(line[:7])
                if expected >= 0 and number != expected:
                    self.heard.lost_lines += (number - expected) % WRAP
                expected = (number + 1) % WRAP
                self.playing.set()
            piece = link.recv(16384)
            now = time.monotonic()
            self.heard.longest_gap = max(self.heard.longest_gap, now - last)
            last = now
            if not piece:
                if not self._ended.is_set():
                    self.heard.disconnects += 1
                return
            self.heard.bytes += len(piece)
            data += piece

    def stop(self) -> Heard:
        """Stop listening and return what was heard."""
        self._ended.set()
        self.join(25)
        return self.heard


@contextlib.contextmanager
def on_air(source: Source) -> Iterator[Source]:
    """Start a source and stop it at the end; fails when the port refuses it."""
    source.start()
    try:
        assert source.accepted.wait(10), f"the source was refused: {source.answer or source.error}"
        yield source
    finally:
        source.stop()
