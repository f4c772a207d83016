"""Answer Flussonic's question whether a viewer may watch: ``gate PORT``.

Flussonic asks ``/play/<how many may>?…&request_type=new_session&stream_clients=<how many do>`` for every new viewer,
and again from time to time. Who watches already may go on; one too many is refused. There is no state and nothing to
configure.
"""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

#: Seconds for which Flussonic need not ask about a viewer again.
AGAIN = "180"
#: Questions that are answered at a time; more wait. Each has a connection of its own, and so long to be asked.
AT_ONCE, SECONDS = 32, 5.0


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
    """One question. By HTTP/1.0: a connection that stays open between two questions would keep others waiting."""

    protocol_version = "HTTP/1.0"
    timeout = SECONDS

    def do_GET(self) -> None:
        """Yes or no."""
        self.send_response(200 if allowed(self.path) else 403)
        self.send_header("X-AuthDuration", AGAIN)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing: every viewer is in the web server's log."""


class Server(HTTPServer):
    """For many viewers at a time, by a fixed number of threads."""

    request_queue_size = 512

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Gate)
        self._threads = ThreadPoolExecutor(AT_ONCE)

    def process_request(self, request, client_address):  # type: ignore[no-untyped-def]
        """Have a thread answer it."""
        self._threads.submit(self._answer, request, client_address)

    def _answer(self, request, client_address):  # type: ignore[no-untyped-def]
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # whoever asked has gone, or did not ask in time
        finally:
            self.shutdown_request(request)


if __name__ == "__main__":
    Server(int(sys.argv[1])).serve_forever()
