"""A double of somebody else's radio: an HTTP server with one live stream, which it sends as fast as it is heard.

It asks of listeners what such servers ask: a whole request, GET, the path, and the log-in where it has one. Titles are
between the bytes for whoever asks for them, and for nobody else. It can go off the air, fall silent, redirect, and say
that what it sends is something else.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INTERVAL = 8000


class Radio:
    """``sound`` is sent over and over. ``heard`` counts the streams that were begun; ``requests`` are their headers."""

    def __init__(self, sound: bytes, rate: int = 16000, login: tuple[str, str] | None = None) -> None:
        self.sound = sound
        self.rate = rate
        self.login = login
        self.title = "Artist - A Title"
        self.content_type = "audio/mpeg"
        self.redirect: str | None = None
        self.silent = False
        self.heard = 0
        self.requests: list[dict[str, str]] = []
        self.port = 0
        self._address = "127.0.0.1"
        self._links: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    @contextlib.contextmanager
    def serving(self, address: str = "127.0.0.1") -> Iterator[Radio]:
        """On the air until the block ends."""
        self._address = address
        self.on()
        try:
            yield self
        finally:
            self.off()

    def on(self) -> None:
        """On the air, on the port that it had before."""
        radio = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_args: object) -> None:
                pass

            def do_GET(self) -> None:
                radio.answer(self)

        self._server = ThreadingHTTPServer((self._address, self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def off(self) -> None:
        """Off the air: whoever listens is disconnected, and nobody answers."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        for link in list(self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        """One listener, until it goes."""
        headers = {name.lower(): value for name, value in asked.headers.items()}
        self.requests.append(headers)
        login = base64.b64encode(":".join(self.login).encode()).decode() if self.login else None
        if "host" not in headers:
            asked.send_error(400)
        elif self.redirect is not None:
            asked.send_response(302)
            asked.send_header("Location", self.redirect)
            asked.end_headers()
        elif asked.path.partition("?")[0] != "/live":
            asked.send_error(404)
        elif login is not None and headers.get("authorization") != f"Basic {login}":
            asked.send_error(401)
        else:
            self._stream(asked, titles=headers.get("icy-metadata") == "1")

    def _stream(self, asked: BaseHTTPRequestHandler, *, titles: bool) -> None:
        asked.send_response(200)
        asked.send_header("Content-Type", self.content_type)
        if titles:
            asked.send_header("icy-metaint", str(INTERVAL))
        asked.end_headers()
        link = asked.connection
        self._links.add(link)
        self.heard += 1
        sent, begun = 0, time.monotonic()
        try:
            while self._server is not None:
                if self.silent:
                    time.sleep(0.1)
                    begun += 0.1
                    continue
                start = sent % len(self.sound)
                piece = self.sound[start : start + min(1000, INTERVAL - sent % INTERVAL)]
                asked.wfile.write(piece)
                sent += len(piece)
                if titles and sent % INTERVAL == 0:
                    asked.wfile.write(self._said())
                # A second ahead, as servers are.
                time.sleep(max(0.0, (sent / self.rate - 1) - (time.monotonic() - begun)))
        except OSError:
            pass
        finally:
            self._links.discard(link)

    def _said(self) -> bytes:
        text = f"StreamTitle='{self.title}';".encode()
        blocks = -(-len(text) // 16)
        return bytes([blocks]) + text.ljust(16 * blocks, b"\0")
