"""A double of an audio engine with many stations, in this process; and of the panel client by which these are declared.

It does what Icecast does for one source and its listeners, and with ``faults`` what it should not.
"""

from __future__ import annotations

import base64
import contextlib
import queue
import socketserver
import threading
from typing import Any

from streamfleet.behaviour.checks import Login

#: What can be wrong with it.
FAULTS = (
    "takes any password",
    "keeps the old password",
    "sends nothing",
    "plays something else",
    "goes on when suspended",
    "can be heard when suspended",
    "does not come back",
    "stumbles when others change",
    "loses pieces",
    "always changed",
)

SPEC: dict[str, Any] = {
    "name": "radio",
    "kind": "audio",
    "connection": [
        {"label": "Server", "value": "{stream_host}"},
        {"label": "Port", "value": "{port}"},
        {"label": "Password", "credential": "source_password"},
    ],
    "publish": {"url": "icecast://{Server}:{Port}/stream", "user": "source", "password": "{Password}"},
}


class Station(socketserver.ThreadingTCPServer):
    """One station on a port of its own, off the air until it is told."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        #: Of FAULTS.
        self.faults: frozenset[str] = frozenset()
        self.on = False
        self.passwords = ["a-secret-of-a-station"]
        self.name = ""
        self.listeners: list[queue.Queue[bytes]] = []
        self.links: list[Any] = []
        self.sent = 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def off(self) -> None:
        """Go off the air."""
        if "can be heard when suspended" not in self.faults:
            self.on = False
        if "goes on when suspended" not in self.faults:
            self.drop()

    def drop(self) -> None:
        """Hang up on everybody."""
        for link in self.links:
            with contextlib.suppress(OSError):
                link.shutdown(2)
        self.links.clear()

    def send(self, piece: bytes) -> None:
        """Pass on what the source sent."""
        self.sent += 1
        if "sends nothing" in self.faults or ("loses pieces" in self.faults and self.sent % 40 == 0):
            return
        for listener in list(self.listeners):
            listener.put(piece)


class _Handler(socketserver.StreamRequestHandler):
    server: Station

    def handle(self) -> None:
        head = iter(lambda: self.rfile.readline().decode("latin-1").strip(), "")
        method, _path, _version = next(head, "GET / HTTP/1.0").split()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
        with contextlib.suppress(OSError):
            if method == "PUT":
                self._source(headers.get("authorization", ""))
            else:
                self._listener()

    def _source(self, login: str) -> None:
        good = [f"Basic {base64.b64encode(f'source:{word}'.encode()).decode()}" for word in self.server.passwords]
        if not self.server.on or (login not in good and "takes any password" not in self.server.faults):
            self.wfile.write(b"HTTP/1.0 401 Authentication Required\r\n\r\n")
            return
        self.server.links.append(self.connection)
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while piece := self.connection.recv(4096):
            self.server.send(piece)

    def _listener(self) -> None:
        if not self.server.on:
            self.wfile.write(b"HTTP/1.0 404 Not Found\r\n\r\n")
            return
        mine: queue.Queue[bytes] = queue.Queue()
        self.server.links.append(self.connection)
        self.server.listeners.append(mine)
        try:
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n")
            while True:
                piece = mine.get()
                self.wfile.write(piece[::-1] if "plays something else" in self.server.faults else piece)
        finally:
            self.server.listeners.remove(mine)


class RadioPanelClient:
    """``streamfleet.behaviour.checks.PanelClient`` for such stations."""

    def __init__(self) -> None:
        self.stations: dict[str, Station] = {}

    def create(self, slug: str) -> None:
        self.stations[slug] = Station()
        self.stations[slug].on = True

    def name(self, slug: str, name: str) -> bool:
        before, self.stations[slug].name = self.stations[slug].name, name
        if "stumbles when others change" in self.stations[slug].faults:
            for station in self.stations.values():
                station.drop()
        return name != before or "always changed" in self.stations[slug].faults

    def secret(self, slug: str, value: str) -> None:
        old = self.stations[slug].passwords if "keeps the old password" in self.stations[slug].faults else []
        self.stations[slug].passwords = [value, *old]

    def suspend(self, slug: str, suspended: bool) -> None:
        if suspended:
            self.stations[slug].off()
        elif "does not come back" not in self.stations[slug].faults:
            self.stations[slug].on = True

    def delete(self, slug: str) -> None:
        self.stations[slug].off()

    def restore(self, slug: str) -> None:
        self.suspend(slug, False)

    def login(self, slug: str) -> Login:
        port = str(self.stations[slug].server_address[1])
        details = {"Server": "127.0.0.1", "Port": port, "Password": self.stations[slug].passwords[0]}
        return Login(details, f"http://127.0.0.1:{port}/stream")

    def close(self) -> None:
        """End all of them."""
        for station in self.stations.values():
            station.drop()
            station.shutdown()
            station.server_close()
