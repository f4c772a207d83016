"""Answer Flussonic's question whether a viewer may watch: ``gate PORT``.

Flussonic asks ``/play/<how many may>?…&request_type=new_session&stream_clients=<how many do>`` for every new viewer,
and again from time to time. Who watches already may go on; one too many is refused. There is no state and nothing to
configure.
"""

import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

#: Seconds for which Flussonic need not ask about a viewer again.
AGAIN = "180"


def allowed(target: str) -> bool:
    """Whether the viewer that the request is about may watch."""
    parts = urlsplit(target)
    path, query = re.fullmatch(r"/play/([0-9]{1,10})", parts.path), parse_qs(parts.query)
    if not path:
        return False
    if query.get("request_type") == ["update_session"]:
        return True
    watching = query.get("stream_clients", [""])[0]
    return bool(re.fullmatch(r"[0-9]{1,10}", watching)) and int(watching) < int(path[1])


class Gate(BaseHTTPRequestHandler):
    """One question."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Yes or no."""
        self.send_response(200 if allowed(self.path) else 403)
        self.send_header("X-AuthDuration", AGAIN)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing: every viewer is in the web server's log."""


class Server(ThreadingHTTPServer):
    """For many viewers at a time."""

    daemon_threads = True
    request_queue_size = 512


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Gate).serve_forever()
