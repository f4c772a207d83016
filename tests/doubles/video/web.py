"""HTTP as the doubles speak it."""

from __future__ import annotations

import base64
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """What all their servers have in common."""

    #: What it calls itself; a web server in front must not pass it on.
    product = "double"
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Nothing: a log of every segment helps nobody."""

    def answer(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        """The whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Server", self.product)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def login(self) -> tuple[str, str]:
        """User and password of basic authentication; both empty where there is none."""
        kind, _, login = (self.headers.get("Authorization") or "").partition(" ")
        pair = base64.b64decode(login).decode(errors="replace").partition(":") if kind == "Basic" else ("", "", "")
        return pair[0], pair[2]


class Quiet(ThreadingHTTPServer):
    """Does not tell about clients that have gone."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell about anything else."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def serve_http(handler: type[Handler], address: str, port: int, **attributes: Any) -> None:
    """Answer over HTTP in the background; ``attributes`` are the handler's."""
    made = type(handler.__name__, (handler,), attributes)
    server = Quiet((address, port), made)
    threading.Thread(target=server.serve_forever, daemon=True).start()
