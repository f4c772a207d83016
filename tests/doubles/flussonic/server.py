"""A double of Flussonic Media Server: ``server.py [FOLDER]``. It is not the program, and holds none of its code.

With files that configuration.py takes, and a licence, it does what the vendor's documentation says: RTMP for encoders
with the stream's password, HLS of what they send under tokens, what is kept of it, questions to an authorisation
backend, and the few requests of the API that Streamfleet makes. Without these it starts as the vendor's does, in its
crash mode: the API says why, and nothing else works. Streams that the API changes are saved in flussonic.conf. It
encodes nothing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..video.encoder import Encoder, serve_rtmp
from ..video.media import Packager, Segment
from ..video.web import Handler, serve_http
from . import configuration
from .configuration import Wrong

#: Seconds after which a viewer who asks for nothing any more is none.
SESSION = 30.0
#: Settings that a running stream takes without starting anew.
CALM = ("title", "password", "on_play")
LIST = "application/vnd.apple.mpegurl"


@dataclass
class Stream:
    """A stream that somebody may publish."""

    settings: dict[str, Any]
    packager: Packager | None = None
    publisher: Encoder | None = None
    names: dict[int, str] = field(default_factory=dict)
    sessions: dict[str, float] = field(default_factory=dict)

    def begin(self, publisher: Encoder) -> Packager:
        """Take what this encoder sends from now on."""
        self.publisher = publisher
        self.names = {}
        self.packager = Packager(self.settings.get("segment_duration", 5000) / 1000, closed=self._closed)
        return self.packager

    def end(self) -> None:
        """Throw the encoder out, and forget what it sent but for what is kept."""
        if self.publisher:
            self.publisher.throw_out()
        self.packager, self.publisher, self.sessions = None, None, {}

    def _closed(self, segment: Segment) -> None:
        at = time.gmtime(time.time() - segment.seconds)
        self.names[segment.number] = f"{time.strftime('%Y/%m/%d/%H/%M/%S', at)}-{round(segment.seconds * 1000):05d}.ts"
        if dvr := self.settings.get("dvr"):
            path = self.archive / self.names[segment.number]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(segment.data)
            self._expire(dvr)

    @property
    def archive(self) -> Path:
        """Where the stream is kept."""
        return Path(self.settings["dvr"]["root"], self.settings["name"])

    def _expire(self, dvr: dict[str, Any]) -> None:
        kept, now = 0, time.time()
        for path in sorted(self.archive.rglob("*.ts"), reverse=True):
            kept += path.stat().st_size
            if now - path.stat().st_mtime > dvr.get("expiration", now) or kept > dvr.get("storage_limit", kept):
                path.unlink()

    def segment(self, name: str) -> bytes | None:
        """A segment by its name, from memory or from what is kept."""
        number = next((number for number, known in self.names.items() if known == name), None)
        data = self.packager.segment(number) if self.packager and number is not None else None
        if data is None and "dvr" in self.settings and re.fullmatch(r"[0-9/]+-[0-9]+\.ts", name):
            path = self.archive / name
            data = path.read_bytes() if path.is_file() else None
        return data

    def rewound(self, seconds: int) -> str:
        """The list of what is kept of the last seconds."""
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:60", "#EXT-X-MEDIA-SEQUENCE:0"]
        for path in sorted(self.archive.rglob("*.ts")) if "dvr" in self.settings else []:
            if time.time() - path.stat().st_mtime <= seconds:
                name = str(path.relative_to(self.archive))
                lines += [f"#EXTINF:{int(name[-8:-3]) / 1000:.3f},", name]
        return "\n".join([*lines, ""])


class Engine:
    """The configuration, and what is on the air."""

    def __init__(self, place: Path) -> None:
        self.file = place / "flussonic.conf"
        self.found = configuration.Server()
        self.alert = ""
        self.status = self._read(place)
        self.lock = threading.RLock()
        self.streams = {name: Stream(settings) for name, settings in self.found.streams.items()}

    def _read(self, place: Path) -> str:
        """The state that the API tells."""
        if not self.file.is_file():
            return "no_config"
        try:
            configuration.server(self.file.read_text(), self.found)
        except Wrong as error:
            self.alert = str(error)
            return "broken_config"
        licence = place / "license.txt"
        if not licence.is_file():
            return "no_license"
        if not re.fullmatch(r"l4\|DOUBLE(?:-[A-Z0-9]{5}){3,6}", licence.read_text().strip()):
            return "license_failure"
        return "running"

    def put(self, name: str, given: Any) -> dict[str, Any]:
        """Make or change a stream. Raises Wrong, and OSError where it cannot be saved."""
        with self.lock:
            old = self.found.streams.get(name, {})
            new = configuration.merged(old, given, name)
            self.found.streams[name] = new
            self._save()
            stream = self.streams.setdefault(name, Stream(new))
            stream.settings = new
            if new.get("disabled") or any(old.get(key) != new.get(key) for key in {*old, *new} if key not in CALM):
                stream.end()
            return new

    def delete(self, name: str) -> bool:
        """Take a stream away; whether there was one."""
        with self.lock:
            stream = self.streams.pop(name, None)
            if stream is None:
                return False
            stream.end()
            del self.found.streams[name]
            self._save()
            return True

    def _save(self) -> None:
        new = self.file.with_name("flussonic.conf.new")
        new.write_text(configuration.written(self.found))
        new.chmod(0o640)
        new.replace(self.file)

    def session(self, stream: Stream, token: str, address: str) -> bool:
        """Whether the viewer with this token may watch."""
        now = time.monotonic()
        stream.sessions = {key: seen for key, seen in stream.sessions.items() if now - seen < SESSION}
        backend = stream.settings.get("on_play", {}).get("url")
        if token not in stream.sessions and backend and not self._allowed(backend, stream, token, address):
            return False
        stream.sessions[token] = now
        return True

    def _allowed(self, backend: str, stream: Stream, token: str, address: str) -> bool:
        asked = urllib.parse.urlencode(
            {
                "name": stream.settings["name"],
                "proto": "hls",
                "ip": address,
                "request_type": "new_session",
                "request_number": 0,
                "session_id": secrets.token_hex(16),
                "stream_clients": len(stream.sessions),
                "total_clients": sum(len(other.sessions) for other in self.streams.values()),
                "token": token,
            }
        )
        try:
            with urllib.request.urlopen(f"{backend}?{asked}", timeout=3) as answer:
                return int(answer.status) == 200
        except OSError:
            return False


class Publisher(Encoder):
    """An encoder, whose stream key has the password."""

    def __init__(self, engine: Engine, link: socket.socket) -> None:
        super().__init__(link)
        self._engine = engine
        self._app = ""
        self._stream: Stream | None = None

    def connect(self, said: dict[str, Any]) -> str:
        """To any name of an application: it is a part of the stream's."""
        self._app = str(said.get("app", "")).partition("?")[0].strip("/")
        return ""

    def _named(self, stream: str) -> tuple[str, str]:
        """The stream's whole name, and the password that was given."""
        name, _, query = stream.partition("?")
        # "static" is no part of a name.
        app = "" if self._app == "static" else f"{self._app}/"
        return f"{app}{name}".strip("/"), dict(urllib.parse.parse_qsl(query)).get("password", "")

    def publish(self, stream: str) -> Packager | str:
        """A stream that takes publications, with its password."""
        name, password = self._named(stream)
        with self._engine.lock:
            found = self._engine.streams.get(name)
            if found is None or found.settings.get("disabled"):
                return f"no stream {name}"
            if {"url": "publish://"} not in found.settings.get("inputs", []):
                return "publishing is not allowed"
            if password != found.settings.get("password", password):
                return "wrong password"
            if found.publisher:
                return "it is published already"
            self._stream = found
            print(f"INFO {name} published", flush=True)
            return found.begin(self)

    def play(self, stream: str) -> str:
        """What the stream's protocols are."""
        found = self._engine.streams.get(self._named(stream)[0])
        protocols = found.settings.get("protocols", {}) if found else {}
        return "" if found and (not protocols.get("whitelist") or protocols.get("rtmp")) else "access denied"

    def stopped(self) -> None:
        """With its encoder goes the stream."""
        with self._engine.lock:
            if self._stream and self._stream.publisher is self:
                self._stream.end()


class Http(Handler):
    """HLS, and the API: the vendor's has both on every port for HTTP."""

    product = "Flussonic/double"
    engine: Engine
    API = "/streamer/api/v3"

    def do_GET(self) -> None:  # noqa: N802
        """What there is, or a list or segment."""
        path, _, query = self.path.partition("?")
        if not path.startswith(f"{self.API}/"):
            return self._play(path, dict(urllib.parse.parse_qsl(query)))
        asked = self._asked()
        if asked == "/config/stats":
            alerts = {"config": self.engine.alert} if self.engine.alert else {}
            return self._json(200, streamer_status=self.engine.status, server_version="24.09", text_alerts=alerts)
        if asked == "/streams":
            streams = [self._told(name) for name in self.engine.streams]
            return self._json(200, estimated_count=len(streams), streams=streams)
        name = (asked or "").removeprefix("/streams/")
        if asked and name in self.engine.streams:
            return self._json(200, **self._told(name))
        return None if asked is None else self._json(404, error="not_found")

    def do_PUT(self) -> None:  # noqa: N802
        """Make or change a stream."""
        asked = self._asked()
        if asked is None:
            return
        match = re.fullmatch(r"/streams/([A-Za-z0-9._-]+)", asked)
        if not match:
            return self._json(404, error="not_found")
        try:
            given = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self._json(200, **self.engine.put(match[1], given))
        except (Wrong, ValueError) as error:
            self._json(400, error="invalid", detail=str(error))
        except OSError as error:
            self._json(500, error="not_saved", detail=str(error))

    def do_DELETE(self) -> None:  # noqa: N802
        """Take a stream away."""
        asked = self._asked()
        if asked is None:
            return
        if not self.engine.delete(asked.removeprefix("/streams/")):
            return self._json(404, error="not_found")
        self.send_response(204)
        self.end_headers()

    def _asked(self) -> str | None:
        """The path behind the API's, or None if the request is answered already."""
        asked = self.path.partition("?")[0].removeprefix(self.API)
        if not self.path.startswith(f"{self.API}/"):
            self._json(404, error="not_found")
        elif self.login() != (self.engine.found.edit_auth or ("", secrets.token_hex(8))):
            self._json(401, error="authorization_failed")
        elif self.engine.status != "running" and asked != "/config/stats":
            self._json(503, error=self.engine.status)
        else:
            return asked
        return None

    def _told(self, name: str) -> dict[str, Any]:
        stream = self.engine.streams[name]
        return {
            **stream.settings,
            "stats": {"alive": stream.publisher is not None, "online_clients": len(stream.sessions)},
        }

    def _json(self, status: int, **data: Any) -> None:
        self.answer(status, "application/json", json.dumps(data).encode())

    def _play(self, path: str, query: dict[str, str]) -> None:
        """``/<stream>/{index.m3u8,tracks-v1a1/mono.m3u8,rewind-<seconds>.m3u8,[tracks-v1a1/]<date>-<ms>.ts}``."""
        match = re.fullmatch(
            r"/([A-Za-z0-9._-]+)/(?:(index\.m3u8)|tracks-v1a1/(mono\.m3u8)|rewind-(\d+)\.m3u8|(?:tracks-v1a1/)?([0-9/]+-\d+\.ts))",
            path,
        )
        stream = self.engine.streams.get(match[1]) if match else None
        if not match or stream is None or stream.settings.get("disabled") or self.engine.status != "running":
            return self.answer(404, "text/plain", b"no such stream\n")
        protocols = stream.settings.get("protocols", {})
        if protocols.get("whitelist") and not protocols.get("hls"):
            return self.answer(403, "text/plain", b"not by HLS\n")
        token = query.get("token", "")
        if not re.fullmatch(r"[A-Za-z0-9]{1,64}", token):
            return self.answer(302, "text/plain", b"", Location=f"{path}?token={secrets.token_hex(16)}")
        with self.engine.lock:
            packager = stream.packager
            # A new viewer needs something to watch: a list without a segment is none, but for what is kept.
            live = packager is not None and packager.segments
            if not live and not ("dvr" in stream.settings and (match[4] or match[5])):
                return self.answer(404, "text/plain", b"not on the air\n")
            if not self.engine.session(stream, token, self.client_address[0]):
                return self.answer(403, "text/plain", b"denied\n")
        if match[5]:
            data = stream.segment(match[5])
            return self.answer(200, "video/MP2T", data) if data else self.answer(404, "text/plain", b"gone\n")
        if match[2]:
            text = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=500000\ntracks-v1a1/mono.m3u8?token={token}\n"
        elif match[4]:
            text = re.sub(r"\.ts$", f".ts?token={token}", stream.rewound(int(match[4])), flags=re.MULTILINE)
        elif packager:
            text = packager.list(lambda segment: f"{stream.names[segment.number]}?token={token}")
        else:
            return self.answer(404, "text/plain", b"not on the air\n")
        return self.answer(200, LIST, text.encode())


def ready() -> None:
    """Tell systemd, as Type=notify wants it."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.connect(path.replace("@", "\0", 1))
            link.send(b"READY=1")


def main(place: Path) -> int:
    """Start what there is to start."""
    engine = Engine(place)
    try:
        for address, port in engine.found.http or [("", 80)]:
            serve_http(Http, address, port, engine=engine)
        for address, port in engine.found.rtmp if engine.status == "running" else []:
            serve_rtmp(partial(Publisher, engine), address, port)
    except OSError as error:
        print(f"ERROR {error}", file=sys.stderr, flush=True)
        return 1
    print(f"INFO Flussonic (double) is started: {engine.status} {engine.alert}", flush=True)
    ready()
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "/etc/flussonic")))
