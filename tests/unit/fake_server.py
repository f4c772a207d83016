"""A real HTTP server on loopback that answers from a script: what a client test needs to see on the wire."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    status: int = 200
    data: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    #: Close the connection without a word.
    drop: bool = False
    #: Answer before the body is read, and close.
    early: bool = False


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: tuple[str, int]


Answer = Callable[[Seen], Reply]


class Server:
    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Seen] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                early = getattr(outer, "early", None)
                if early is not None:
                    self._send(early)
                    self.close_connection = True
                    return
                body = self.rfile.read(length)
                seen = Seen(
                    self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body, self.client_address
                )
                outer.requests.append(seen)
                reply = answer(seen)
                if reply.drop:
                    self.close_connection = True
                    return
                self._send(reply)

            def _send(self, reply: Reply) -> None:
                raw = (
                    reply.raw
                    if reply.raw is not None
                    else b""
                    if reply.data is None
                    else json.dumps(reply.data).encode()
                )
                self.send_response(reply.status)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(raw)), **reply.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        scheme = "http"
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.port = self._server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.early: Reply | None = None

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(*replies: Reply | Answer, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server that gives ``replies`` one after the other; the last one goes on for ever."""
    script = list(replies)

    def answer(seen: Seen) -> Reply:
        step = script.pop(0) if len(script) > 1 else script[0]
        return step(seen) if callable(step) else step

    with Server(answer, context) as server:
        yield server
