"""A double of the panel: serves node documents and takes their status, as docs/contracts.md says, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "sft_double00_0000000000000000000000000000000000000000000"


class PanelDouble:
    """Serves ``documents`` by node name, and ``customers``; ``reports`` collects what it was told, newest last."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.reports: list[tuple[str, dict[str, Any]]] = []
        #: User name of a customer → uid.
        self.customers: dict[str, int] = {}
        #: User name of a customer → node of a library → disk quota in MB.
        self.libraries: dict[str, dict[str, int | None]] = {}
        self.token = TOKEN
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: object) -> None:
                pass

            def _answer(self, status: int, data: Any) -> None:
                raw = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def _refuse(self, status: int, code: str, message: str) -> None:
                self._answer(status, {"error": {"code": code, "message": message, "errors": []}})

            def _knows_me(self) -> bool:
                return self.headers.get("Authorization") == f"Bearer {double.token}"

            def _node(self, last: str) -> str | None:
                parts = self.path.split("/")
                if not self._knows_me():
                    self._refuse(401, "unauthenticated", "No such token.")
                elif len(parts) != 6 or parts[:4] != ["", "api", "v1", "nodes"] or parts[5] != last:
                    self._refuse(404, "not_found", "No such route.")
                elif parts[4] not in double.documents:
                    self._refuse(404, "not_found", "No such node.")
                else:
                    return parts[4]
                return None

            def do_GET(self) -> None:
                name = self.path.removeprefix("/api/v1/customers/")
                if name in double.customers and self._knows_me():
                    self._answer(200, {"username": name, "uid": double.customers[name]})
                    return
                if name.endswith("/libraries") and self._knows_me():
                    found = double.libraries.get(name.removesuffix("/libraries"), {})
                    items = [{"node": node, "disk_quota_mb": quota} for node, quota in found.items()]
                    self._answer(200, {"items": items})
                    return
                node = self._node("document")
                if node is not None:
                    self._answer(200, double.documents[node])

            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                node = self._node("status")
                if node is None:
                    return
                named = {item["slug"] for item in double.documents[node]["services"]}
                if set(body) != {"epoch", "generation", "services"} or not set(body["services"]) <= named:
                    self._refuse(422, "invalid_document", "Not a status.")
                    return
                double.reports.append((node, body))
                self._answer(200, {})

        self._handler = Handler
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """What ansible-playbook is given to find it."""
        return {"STREAMFLEET_URL": self.url, "STREAMFLEET_TOKEN": self.token}

    @contextmanager
    def down(self) -> Iterator[None]:
        """Answer nobody until the block ends: connections are refused."""
        address = self._server.server_address
        self._server.shutdown()
        self._server.server_close()
        try:
            yield
        finally:
            self._server = ThreadingHTTPServer((str(address[0]), int(address[1])), self._handler)
            self._thread = self._start()

    @contextmanager
    def serving(self) -> Iterator[PanelDouble]:
        """Serve until the block ends."""
        self._thread = self._start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(5)

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        return thread


def station(slug: str, uid: int, port: int, /, **changes: Any) -> dict[str, Any]:
    """A radio station as a node document holds it."""
    service: dict[str, Any] = {
        "slug": slug,
        "name": f"Station {slug}",
        "customer": "alice",
        "uid": uid,
        "engine": "icecast",
        "service_type": "radio",
        "generation": 1,
        "state": "running",
        "reason": "",
        "restart": 0,
        "port": port,
        "limits": {
            "max_listeners": 10,
            "max_bitrate_kbps": 128,
            "monthly_transfer_mb": None,
            "disk_quota_mb": None,
        },
        "settings": {
            "mounts": [{"name": "/stream", "format": "mp3", "bitrate_kbps": 128}],
            "genre": None,
            "description": None,
            "website": None,
            "autodj": None,
            "live_port": None,
        },
        "credentials": {
            "source_password": f"source-{slug}-secret",
            "admin_password": f"admin-{slug}-secret",
            "listener_password": None,
            "autodj_password": f"autodj-{slug}-secret",
        },
        "playlists": [],
        "djs": [],
        "schedules": [],
        "queue": [],
        "skip": 0,
        "relays": [],
        "previous_credentials": {},
    }
    return _changed(service, changes)


def kh_station(slug: str, uid: int, port: int, /, **changes: Any) -> dict[str, Any]:
    """A station of Icecast-KH, as a node document holds it."""
    return _changed(station(slug, uid, port, engine="icecast_kh"), changes)


def shoutcast_station(slug: str, uid: int, port: int, /, **changes: Any) -> dict[str, Any]:
    """A station of Shoutcast 2, as a node document holds it."""
    service = station(slug, uid, port, engine="shoutcast2")
    service["settings"] = {
        "streams": [{"id": 1, "name": "/stream", "max_listeners": None, "public": False, "default": False}],
        "song_history": 20,
    }
    optional = dict.fromkeys(("authhash", "premium_user_id", "premium_licence_id"))
    passwords = {name: service["credentials"][name] for name in ("source_password", "admin_password")}
    service["credentials"] = {**passwords, **optional}
    return _changed(service, changes)


def wowza_channel(slug: str, uid: int, /, **changes: Any) -> dict[str, Any]:
    """A video channel of Wowza, as a node document holds it."""
    service = station(slug, uid, 0, engine="wowza", service_type="live", name=f"Channel {slug}")
    service["port"] = None
    service["limits"] = {**service["limits"], "max_listeners": None, "max_bitrate_kbps": None}
    service["settings"] = {"segment_seconds": 2}
    service["credentials"] = {"publish_password": f"publish-{slug}-secret"}
    return _changed(service, changes)


def rtmp_channel(slug: str, uid: int, /, **changes: Any) -> dict[str, Any]:
    """A video channel of nginx_rtmp, as a node document holds it."""
    service = station(slug, uid, 0, engine="nginx_rtmp", service_type="live", name=f"Channel {slug}")
    service["port"] = None
    service["limits"] = {**service["limits"], "max_listeners": None, "max_bitrate_kbps": None}
    service["settings"] = {}
    service["credentials"] = {"stream_key": f"key-of-{slug}-{uid}"}
    return _changed(service, changes)


def flussonic_channel(slug: str, uid: int, /, **changes: Any) -> dict[str, Any]:
    """A video channel of Flussonic, as a node document holds it."""
    service = wowza_channel(slug, uid, engine="flussonic")
    service["settings"] = {"segment_seconds": 2, "dvr_hours": None, "renditions": []}
    return _changed(service, changes)


def _changed(service: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(service.get(key), dict):
            service[key] = {**service[key], **value}
        else:
            service[key] = value
    return service


def autodj(**changes: Any) -> dict[str, Any]:
    """A station's AutoDJ as a node document holds it, for ``settings``."""
    return {
        "autodj": {
            "enabled": True,
            "timezone": "UTC",
            "crossfade_seconds": 3,
            "smart_crossfade": True,
            "minimum_track_seconds": 10,
            "seed": None,
            **changes,
        }
    }


def playlist(name: str, **changes: Any) -> dict[str, Any]:
    """A playlist as a node document holds it."""
    return {
        "name": name,
        "enabled": True,
        "type": "rotation",
        "folder": None,
        "files": None,
        "order": "shuffle",
        "weight": 1,
        "active": None,
        "every_tracks": None,
        "every_minutes": None,
        **changes,
    }


def dj(username: str, **changes: Any) -> dict[str, Any]:
    """A DJ as a node document holds it."""
    return {
        "username": username,
        "name": "",
        "password": f"secret-of-{username}",
        "priority": 10,
        "enabled": True,
        "scheduled_only": False,
        "active": None,
        "grace_seconds": 10,
        "record": False,
        "kick": 0,
        **changes,
    }


def schedule(name: str, **changes: Any) -> dict[str, Any]:
    """An entry of a station's calendar as a node document holds it; every day at noon, if nothing else is said."""
    return {
        "name": name,
        "enabled": True,
        "playlist": None,
        "dj": None,
        "days": None,
        "start": "12:00",
        "end": "13:00",
        "start_date": None,
        "end_date": None,
        **changes,
    }


def relay(name: str, **changes: Any) -> dict[str, Any]:
    """A relay as a node document holds it; in, if nothing else is said."""
    return {
        "name": name,
        "direction": "in",
        "address": "https://network.example/live",
        "mount": "/stream",
        "username": None,
        "password": None,
        "enabled": True,
        "djs_first": True,
        "silence_seconds": 15,
        "reconnect_seconds": 30,
        **changes,
    }


def media_user(login: str, uid: int, password: str, /, **changes: Any) -> dict[str, Any]:
    """A log-in for media as a node document holds it; ``password`` is a hash of crypt(5)."""
    return {
        "login": login,
        "uid": uid,
        "password": password,
        "read_only": False,
        "protocols": ["ftps", "sftp"],
        "disk_quota_mb": None,
        **changes,
    }


def document(node: str, generation: int, *services: dict[str, Any], epoch: str = "epoch-1") -> dict[str, Any]:
    """A node document."""
    return {
        "schema": 1,
        "epoch": epoch,
        "node": node,
        "generation": generation,
        "stream_host": "stream.example.net",
        "services": list(services),
    }
