"""How this machine reaches a node: by the name that listeners use, or at an address in its place."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

#: Seconds for a connection and for every piece of an answer.
PATIENCE = 15.0


@dataclass(frozen=True)
class Route:
    """``address`` stands in for whatever a host name resolves to; the name is still asked for and verified.

    ``ca_path`` is an authority to trust beside those of this machine.
    """

    address: str | None = None
    ca_path: str | None = None

    def host(self, name: str) -> str:
        """What to connect to for a host name."""
        return self.address or name

    def connect(self, host: str, port: int, tls: bool = False, patience: float = PATIENCE) -> socket.socket:
        """A connection to the host, its certificate verified. Raises OSError."""
        link = socket.create_connection((self.host(host), port), timeout=patience)
        if not tls:
            return link
        context = ssl.create_default_context()
        if self.ca_path:
            context.load_verify_locations(self.ca_path)
        try:
            return context.wrap_socket(link, server_hostname=host)
        except OSError:
            link.close()
            raise

    @contextlib.contextmanager
    def get(self, url: str) -> Iterator[http.client.HTTPResponse]:
        """The answer to a GET, its body yet to be read. Raises OSError, or HTTPException for what is no HTTP."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if tls else 80)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self.connect(host, port, tls)
        try:
            path = parts.path or "/"
            connection.request("GET", f"{path}?{parts.query}" if parts.query else path)
            yield connection.getresponse()
        finally:
            connection.close()
