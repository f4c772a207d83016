"""A double of restic's own server (rest-server), for tests of backups over HTTP. It refuses what that refuses.

It keeps blobs in memory. Content must be what its name says, a blob that is there is not written again, and with
``append_only`` nothing is deleted but locks. ``cut``: after so many bytes have come in, every connection is closed;
``cut_at``: from when a blob is asked for whose name begins so.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.ports import free_port

KINDS = ("data", "keys", "locks", "snapshots", "index")
V2 = "application/vnd.x.restic.rest.v2"


class RestServerDouble:
    """A running server; a context manager."""

    def __init__(self, append_only: bool = False) -> None:
        self.append_only = append_only
        self.blobs: dict[str, bytes] = {}
        self.refused: list[tuple[str, str]] = []
        self.cut: int | None = None
        self.cut_at = ""
        self.came = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The repository's address."""
        return f"rest:http://127.0.0.1:{self._server.server_address[1]}/h1/"

    def __enter__(self) -> RestServerDouble:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def takes(self, count: int) -> bool:
        """Whether so many bytes still come through."""
        with self._lock:
            self.came += count
            return self.cut is None or self.came <= self.cut


def _handler(server: RestServerDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, code: int, body: bytes = b"", kind: str = "application/octet-stream") -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _name(self) -> str | None:
            """Of a blob: config, or kind and hash. None for a list or anything else."""
            found = re.fullmatch(rf"/h1/(config|(?:{'|'.join(KINDS)})/[0-9a-f]{{64}})", self.path)
            return found[1] if found else None

        def _cut(self, count: int = 0) -> bool:
            if server.takes(count):
                return False
            self.close_connection = True
            return True

        def do_HEAD(self) -> None:
            name = self._name()
            if not self._cut():
                blob = server.blobs.get(name or "")
                self._answer(404 if blob is None else 200, blob or b"")

        def do_GET(self) -> None:
            if server.cut_at and (self._name() or "").startswith(server.cut_at):
                server.cut_at, server.cut = "", -1
            if self._cut():
                return
            listed = re.fullmatch(rf"/h1/({'|'.join(KINDS)})/", self.path)
            if listed:
                prefix = f"{listed[1]}/"
                known = {
                    name.removeprefix(prefix): len(blob)
                    for name, blob in server.blobs.items()
                    if name.startswith(prefix)
                }
                items = [{"name": name, "size": size} for name, size in sorted(known.items())]
                self._answer(200, json.dumps(items).encode(), V2)
                return
            blob = server.blobs.get(self._name() or "")
            if blob is None:
                self._answer(404)
                return
            ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if ranged:
                first, last = int(ranged[1]), int(ranged[2] or len(blob) - 1)
                self._answer(206, blob[first : last + 1])
            else:
                self._answer(200, blob)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0") or 0))
            if self._cut(len(body)):
                return
            if self.path == "/h1/?create=true":
                self._answer(200)
                return
            name = self._name()
            if name is None:
                self._answer(404)
            elif name in server.blobs:
                self._refuse(name)
            elif name != "config" and hashlib.sha256(body).hexdigest() != name.partition("/")[2]:
                self._answer(400)
            else:
                server.blobs[name] = body
                self._answer(200)

        def do_DELETE(self) -> None:
            if self._cut():
                return
            name = self._name()
            if name is None or name not in server.blobs:
                self._answer(404)
            elif server.append_only and not name.startswith("locks/"):
                self._refuse(name)
            else:
                del server.blobs[name]
                self._answer(200)

        def _refuse(self, name: str) -> None:
            server.refused.append((self.command, name))
            self._answer(403)

    return Handler
