"""A double of Wowza Streaming Engine: ``server.py HOME``. It is not the program, and holds none of its code.

It starts only with files that configuration.py takes, and with a licence; then it does what the vendor's documentation
says: RTMP for encoders that log in, HLS of what they send, and the few requests of the REST interface that Streamfleet
makes.
An application is loaded when somebody asks for it, and stays as it was loaded until it is restarted.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from ..video import rtmp
from ..video.encoder import Encoder, serve_rtmp
from ..video.media import Packager, Segment
from ..video.web import Handler, serve_http
from .caster import Caster, fault_of
from .configuration import SERVER, TUNE, VHOST, VHOSTS, Application, Wrong, properties, read
from .dvr import Store
from .film import Film, place_of
from .recorder import Recorder
from .recorder import fault_of as fault_of_recorder
from .transcoder import Template, smaller

#: Seconds after which a viewer who asks for nothing any more is none.
SESSION = 30.0


@dataclass
class Loaded:
    """An application as it was loaded: who publishes, who plays."""

    settings: Application
    streams: dict[str, Packager | Caster] = field(default_factory=dict)
    publishers: dict[str, Encoder] = field(default_factory=dict)
    sessions: dict[str, float] = field(default_factory=dict)
    films: dict[str, Film] = field(default_factory=dict)
    recorders: dict[str, Recorder] = field(default_factory=dict)
    stores: dict[str, Store] = field(default_factory=dict)
    templates: dict[str, Template] = field(default_factory=dict)
    encoded: dict[tuple[str, str, int], bytes] = field(default_factory=dict)

    def transcode(self, stream: str) -> None:
        """Look for what a stream that has come is to be made into."""
        self.templates.pop(stream, None)
        self.encoded = {key: data for key, data in self.encoded.items() if key[0] != stream}
        path = self.settings.template(stream)
        try:
            if path is not None:
                self.templates[stream] = Template(path)
        except Wrong as error:
            print(f"ERROR {self.settings.name}/{stream} is not encoded: {error}", flush=True)

    def variant(self, stream: str, name: str, number: int, data: bytes) -> bytes:
        """A segment as an Encode of the stream's template makes it."""
        wanted = self.templates[stream].encodes[name]
        if wanted is None:
            return data
        key = stream, name, number
        if key not in self.encoded:
            self.encoded[key] = smaller(data, *wanted)
        return self.encoded[key]

    def store(self, stream: str) -> Store | None:
        """What nDVR keeps of a stream; None where it keeps nothing."""
        if self.settings.dvr is None:
            return None
        if stream not in self.stores:
            folder = self.settings.dvr / self.settings.name / "_definst_" / stream
            self.stores[stream] = Store(folder, self.settings.window)
        return self.stores[stream]

    def record(self, stream: str, segment: Segment) -> None:
        """Give a segment to the stream's recorder, if it has one, and to nDVR."""
        store = self.store(stream)
        if store:
            store.take(segment)
        recorder = self.recorders.get(stream)
        if recorder:
            recorder.take(segment)

    def unrecord(self, stream: str) -> bool:
        """End the stream's recorder, which is there no more then: whether there was one."""
        recorder = self.recorders.pop(stream, None)
        if recorder:
            recorder.stop()
        return recorder is not None

    def film(self, name: str) -> Film | None:
        """A file of the application's storage, cut once; None where there is none that can be read."""
        if name not in self.films:
            path = place_of(self.settings.storage, name)
            try:
                if path is None:
                    return None
                self.films[name] = Film(path)
            except (OSError, ValueError) as error:
                print(f"WARN {self.settings.name}: {name}: {error}", flush=True)
                return None
        return self.films[name]

    def session(self, name: str | None) -> str | None:
        """The viewer's session, a new one for a new viewer; None where there is none or no room."""
        now = time.monotonic()
        self.sessions = {key: seen for key, seen in self.sessions.items() if now - seen < SESSION}
        if name is None:
            if self.settings.viewers and len(self.sessions) >= self.settings.viewers:
                return None
            name = f"w{secrets.randbelow(10**9)}"
        elif name not in self.sessions:
            return None
        self.sessions[name] = now
        return name


class Engine:
    """The configuration, and what is loaded."""

    def __init__(self, home: Path) -> None:
        conf = home / "conf"
        licence = (conf / "Server.license").read_text().strip() if (conf / "Server.license").is_file() else ""
        if not re.fullmatch(r"(?:DOUBLE|EVAL)(?:-[A-Z0-9]{5}){3,6}", licence):
            raise Wrong("no valid license key in conf/Server.license")
        server = read(conf / "Server.xml", SERVER).find("Server")
        read(conf / "Tune.xml", TUNE)
        vhosts = read(conf / "VHosts.xml", VHOSTS)
        assert server is not None
        properties(server.find("Properties"))
        place = (vhosts.findtext("VHosts/VHost/ConfigDir") or "").replace("${com.wowza.wms.ConfigHome}", str(home))
        self.home = Path(place)
        self.ports = [
            {tag: port.findtext(tag) or "" for tag in ("Type", "IpAddress", "Port", "HTTPStreamerAdapterIDs")}
            for port in read(self.home / "conf/VHost.xml", VHOST).findall("VHost/HostPortList/HostPort")
        ]
        self.rest = {
            tag: server.findtext(f"RESTInterface/{tag}") or ""
            for tag in ("Enable", "IPAddress", "Port", "AuthenticationMethod")
        }
        lines = (conf / "admin.password").read_text().splitlines()
        self.administrators = {tuple(line.split()[:2]) for line in lines if line.strip() and not line.startswith("#")}
        self.lock = threading.RLock()
        self.loaded: dict[str, Loaded] = {}
        self.asked: dict[str, tuple[str, str]] = {}

    def known(self) -> list[str]:
        """Names of the applications: folders of the folder of applications."""
        return sorted(path.name for path in (self.home / "applications").iterdir() if path.is_dir())

    def application(self, name: str) -> Loaded | None:
        """The application, loaded now if it is not yet; None where there is none or it cannot be loaded."""
        with self.lock:
            if name not in self.loaded:
                if name not in self.known():
                    return None
                try:
                    self.loaded[name] = Loaded(Application(self.home, name))
                except Wrong as error:
                    print(f"ERROR application {name}: {error}", flush=True)
                    return None
            return self.loaded[name]

    def restart(self, name: str) -> str:
        """Shut the application down and load it anew; returns why that failed."""
        with self.lock:
            old = self.loaded.pop(name, None)
            for encoder in list(old.publishers.values()) if old else []:
                encoder.throw_out()
            for recorded in list(old.recorders) if old else []:
                old.unrecord(recorded)
            for caster in [stream for stream in old.streams.values() if isinstance(stream, Caster)] if old else []:
                caster.stop()
            try:
                self.loaded[name] = Loaded(Application(self.home, name))
            except Wrong as error:
                return str(error)
            print(f"INFO application {name} restarted", flush=True)
            return ""

    def connect(self, name: str, file: str, asked: dict[str, str]) -> tuple[int, str]:
        """Have an application fetch what one of its stream files names: a status, and why not."""
        if asked.keys() != {"connectAppName", "appInstance", "mediaCasterType"} or asked["appInstance"] != "_definst_":
            return 400, f"arguments are {', '.join(sorted(asked))}"
        app = self.application(asked["connectAppName"])
        if app is None or asked["connectAppName"] != name or app.settings.app_type != "Live":
            return 404, "no such live application"
        try:
            uri = (app.settings.storage / f"{file}.stream").read_text().strip()
        except (OSError, UnicodeError):
            return 404, "no such stream file"
        fault = fault_of(asked["mediaCasterType"], uri)
        if fault:
            return 400, fault
        with self.lock:
            if f"{file}.stream" in app.streams:
                return 500, "the stream is connected already"
            settings, stream = app.settings, f"{file}.stream"
            closed = partial(app.record, stream)
            kind = asked["mediaCasterType"]
            app.streams[stream] = Caster(kind, uri, settings.segment_seconds, settings.interleaved, closed)
            app.transcode(stream)
        print(f"INFO {name}/{file}.stream connected", flush=True)
        return 200, ""

    def disconnect(self, name: str, stream: str) -> bool:
        """Have it fetched no more: whether it was."""
        with self.lock:
            app = self.loaded.get(name)
            caster = app.streams.get(stream) if app else None
            if app is None or not isinstance(caster, Caster):
                return False
            caster.stop()
            del app.streams[stream]
            app.unrecord(stream)
            return True


class Publisher(Encoder):
    """An encoder that must log in to an application."""

    def __init__(self, engine: Engine, link: socket.socket) -> None:
        super().__init__(link)
        self._engine = engine
        self._app: Loaded | None = None
        self._name = ""
        self._user = False

    def connect(self, said: dict[str, Any]) -> str:
        """To an application that is to be had, with the log-in that it wants."""
        path, _, query = str(said.get("app", "")).partition("?")
        name = path.strip("/").split("/")[0]
        app = self._engine.application(name)
        if app is None or not app.settings.accept:
            return f"[ application {name} is not to be had ]"
        if app.settings.password_needed and str(said.get("flashVer", "")).startswith("FMLE/"):
            passwords = app.settings.passwords()
            # "+" is what it is in base64, and no blank.
            asked = dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))
            refusal = rtmp.log_in(asked, passwords.get, self._engine.asked)
            if refusal:
                return refusal
            self._user = True
        self._app = app
        return ""

    def publish(self, stream: str) -> Packager | str:
        """A stream that is allowed, and that nobody else sends."""
        app, stream = self._app, stream.partition("?")[0]
        assert app is not None
        settings = app.settings
        with self._engine.lock:
            allowed = (self._user or not settings.password_needed) and settings.may(settings.write_access, stream)
            if settings.one_publisher and stream in app.publishers:
                return "in use"
            if not allowed or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", stream):
                return "access denied"
            self._name = stream
            app.publishers[stream] = self
            app.transcode(stream)
            made = app.streams[stream] = Packager(settings.segment_seconds, closed=partial(app.record, stream))
        print(f"INFO {settings.name}/{stream} published", flush=True)
        return made

    def play(self, stream: str) -> str:
        """What the application allows."""
        assert self._app is not None
        settings = self._app.settings
        return "" if settings.may(settings.read_access, stream) else "access denied"

    def stopped(self) -> None:
        """With its encoder goes the stream."""
        with self._engine.lock:
            if self._name and self._app and self._app.publishers.get(self._name) is self:
                del self._app.publishers[self._name], self._app.streams[self._name]
                self._app.unrecord(self._name)
            self._name = ""


class Wowza(Handler):
    """What both HTTP servers have in common."""

    product = "WowzaStreamingEngine/double"
    engine: Engine


class Segments(Wowza):
    """HLS: ``/<application>/<stream>/{playlist.m3u8,chunklist_<session>.m3u8,media_<session>_<n>.ts}``.

    A file on demand is the stream ``_definst_/mp4:<path>``.
    """

    def do_GET(self) -> None:  # noqa: N802
        """A list or a segment."""
        group = re.fullmatch(
            r"/([A-Za-z0-9._-]+)/ngrp:([A-Za-z0-9.-]+)_([a-z0-9]+)/"
            r"(playlist\.m3u8|chunklist_(w\d+)_b(\d+)\.m3u8|media_(w\d+)_b(\d+)_(\d+)\.ts)",
            self.path,
        )
        if group:
            return self._group(group)
        film = re.fullmatch(
            r"/([A-Za-z0-9._-]+)/_definst_/mp4:(.+)/(playlist\.m3u8|chunklist_(w\d+)\.m3u8|media_(w\d+)_(\d+)\.ts)",
            unquote(self.path),
        )
        if film:
            return self._film(film)
        found = re.fullmatch(
            r"/([A-Za-z0-9._-]+)/([A-Za-z0-9._-]+)/"
            r"(playlist\.m3u8(?:\?DVR)?|chunklist_(w\d+)(?:_DVR)?\.m3u8|media_(w\d+)(?:_DVR)?_(\d+)\.ts)",
            self.path,
        )
        app = self.engine.application(found[1]) if found else None
        if not found or app is None or not (app.settings.played and app.settings.packetized):
            return self.answer(404, "text/plain", b"no such stream\n")
        with self.engine.lock:
            again = "_DVR" if "DVR" in found[3] else ""
            # What was kept can be watched when nobody publishes, too.
            packager = app.store(found[2]) if again else app.streams.get(found[2])
            # A new viewer needs something to watch; a list without a segment is none.
            if packager is None or not packager.segments:
                return self.answer(404, "text/plain", b"not on the air\n")
            session = app.session(found[4] or found[5])
        if session is None:
            return self.answer(403, "text/plain", b"full\n")
        if found[6]:
            data = packager.segment(int(found[6]))
            return self.answer(200, "video/MP2T", data) if data else self.answer(404, "text/plain", b"gone\n")
        if found[4]:
            text = packager.list(lambda segment: f"media_{session}{again}_{segment.number}.ts")
            return self.answer(200, "application/vnd.apple.mpegurl", text.encode())
        text = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-STREAM-INF:BANDWIDTH=500000\nchunklist_{session}{again}.m3u8\n"
        return self.answer(200, "application/vnd.apple.mpegurl", text.encode())

    def _group(self, asked: re.Match[str]) -> None:
        """What a group of the template has: lists and segments are told apart by their place in it."""
        app = self.engine.application(asked[1])
        template = app.templates.get(asked[2]) if app else None
        members = template.groups.get(asked[3]) if template else None
        packager = app.streams.get(asked[2]) if app else None
        if not (app and template and members and packager and packager.segments and app.settings.played):
            return self.answer(404, "text/plain", b"not on the air\n")
        with self.engine.lock:
            session = app.session(asked[5] or asked[7])
        if session is None:
            return self.answer(403, "text/plain", b"full\n")
        kind = "application/vnd.apple.mpegurl"
        place = int(asked[6] or asked[8] or 0)
        if place >= len(members):
            return self.answer(404, "text/plain", b"no such rendition\n")
        if asked[9]:
            data = packager.segment(int(asked[9]))
            if not data:
                return self.answer(404, "text/plain", b"gone\n")
            return self.answer(200, "video/MP2T", app.variant(asked[2], members[place], int(asked[9]), data))
        if asked[6]:
            text = packager.list(lambda segment: f"media_{session}_b{place}_{segment.number}.ts")
            return self.answer(200, kind, text.encode())
        lines = ["#EXTM3U", "#EXT-X-VERSION:3"]
        for number, member in enumerate(members):
            found = template.encodes[member]
            lines += [
                f"#EXT-X-STREAM-INF:BANDWIDTH={found[1] if found else 9_000_000}",
                f"chunklist_{session}_b{number}.m3u8",
            ]
        return self.answer(200, kind, ("\n".join(lines) + "\n").encode())

    def _film(self, asked: re.Match[str]) -> None:
        app = self.engine.application(asked[1])
        film = app.film(asked[2]) if app and app.settings.app_type == "VOD" and app.settings.played else None
        if app is None or film is None:
            return self.answer(404, "text/plain", b"no such file\n")
        with self.engine.lock:
            session = app.session(asked[4] or asked[5])
        if session is None:
            return self.answer(403, "text/plain", b"full\n")
        if asked[6]:
            data = film.segment(int(asked[6]))
            return self.answer(200, "video/MP2T", data) if data else self.answer(404, "text/plain", b"none\n")
        text = (
            film.list(session)
            if asked[4]
            else f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=500000\nchunklist_{session}.m3u8\n"
        )
        return self.answer(200, "application/vnd.apple.mpegurl", text.encode())


class Rest(Wowza):
    """The applications of the one virtual host, for administrators."""

    BASE = "/v2/servers/_defaultServer_/vhosts/_defaultVHost_/applications"

    def _may(self) -> bool:
        if self.engine.rest["AuthenticationMethod"] == "none":
            return True
        return self.engine.rest["AuthenticationMethod"] == "basic" and self.login() in self.engine.administrators

    def _json(self, status: int, **data: Any) -> None:
        self.answer(status, "application/json; charset=utf-8", json.dumps(data).encode())

    def _asked(self) -> str | None:
        """The path behind the applications, or None if the request is answered already."""
        if not self._may():
            self._json(401, success=False, message="The request requires user authentication", code="401")
        elif "application/json" not in (self.headers.get("Accept") or ""):
            self._json(406, success=False, message="Not acceptable", code="406")
        elif not self.path.startswith(self.BASE):
            self._json(404, success=False, message="No such resource", code="404")
        else:
            return self.path.removeprefix(self.BASE)
        return None

    def do_GET(self) -> None:  # noqa: N802
        """All applications; one recorder; one stream that comes in."""
        asked = self._asked()
        recorder = self._recorder(asked or "")
        if recorder:
            found = recorder[0].recorders.get(recorder[1])
            return self._json(200, **found.told()) if found else self._json(404, success=False, message="No recorder")
        incoming = re.fullmatch(
            r"/([A-Za-z0-9._-]+)/instances/_definst_/incomingstreams/([A-Za-z0-9._-]+)", asked or ""
        )
        if incoming:
            # Nothing is loaded for it: an application without an instance has no streams.
            app = self.engine.loaded.get(incoming[1])
            stream = app.streams.get(incoming[2]) if app else None
            if stream is None:
                return self._json(404, success=False, message="No such stream", code="404")
            return self._json(200, name=incoming[2], applicationInstance="_definst_", isConnected=bool(stream.segments))
        if asked == "":
            self._json(200, serverName="_defaultServer_", applications=[{"id": name} for name in self.engine.known()])
        elif asked is not None:
            self._json(404, success=False, message="No such resource", code="404")

    def _recorder(self, asked: str, action: str = "") -> tuple[Loaded, str] | None:
        """The application and the stream of a path of recorders."""
        path = r"/([A-Za-z0-9._-]+)/instances/_definst_/streamrecorders/([A-Za-z0-9._-]+)"
        found = re.fullmatch(path + re.escape(action), asked)
        app = self.engine.application(found[1]) if found else None
        return (app, found[2]) if found and app and app.settings.app_type == "Live" else None

    def do_POST(self) -> None:  # noqa: N802
        """A recorder, for a stream that is there or will be."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = self._asked()
        if asked is None:
            return
        recorder = self._recorder(asked)
        if recorder is None:
            return self._json(404, success=False, message="No such resource", code="404")
        try:
            wanted = json.loads(body)
        except ValueError:
            wanted = None
        app, stream = recorder
        fault = fault_of_recorder(stream, wanted) or ("there is one already" if stream in app.recorders else "")
        if fault:
            return self._json(400, success=False, message=fault, code="400")
        app.recorders[stream] = Recorder(stream, wanted)
        return self._json(201, success=True, message="Recorder Created")

    def do_PUT(self) -> None:  # noqa: N802
        """Restart one; have it fetch a stream, or fetch it no more."""
        asked = self._asked()
        if asked is None:
            return
        recorder = self._recorder(asked, "/actions/stopRecording")
        if recorder and recorder[0].unrecord(recorder[1]):
            return self._json(200, success=True, message="Recording stopped")
        path, _, query = asked.partition("?")
        found = re.fullmatch(r"/([A-Za-z0-9._-]+)/streamfiles/([A-Za-z0-9_-]+)/actions/connect", path)
        if found:
            status, problem = self.engine.connect(found[1], found[2], dict(parse_qsl(query, keep_blank_values=True)))
            return self._json(status, success=status == 200, message=problem or "Publish stream connected")
        found = re.fullmatch(
            r"/([A-Za-z0-9._-]+)/instances/_definst_/incomingstreams/([A-Za-z0-9._-]+)/actions/disconnectStream", path
        )
        if found and self.engine.disconnect(found[1], found[2]):
            return self._json(200, success=True, message="Stream disconnected")
        found = re.fullmatch(r"/([A-Za-z0-9._-]+)/actions/restart", asked)
        if not found or found[1] not in self.engine.known():
            return self._json(404, success=False, message="No such application", code="404")
        problem = self.engine.restart(found[1])
        if problem:
            return self._json(500, success=False, message=problem, code="500")
        return self._json(200, success=True, message="Application restarted")


def main(home: Path) -> int:
    """Start all, or say why not."""
    try:
        engine = Engine(home)
        for port in engine.ports:
            number, address = int(port["Port"]), port["IpAddress"].replace("*", "")
            # The vendor's takes both protocols on one port; a port for HTTP takes no encoders here.
            if port["Type"] == "Streaming" and "cupertinostreaming" in port["HTTPStreamerAdapterIDs"]:
                serve_http(Segments, address, number, engine=engine)
            elif port["Type"] == "Streaming":
                serve_rtmp(partial(Publisher, engine), address, number)
        if engine.rest["Enable"] == "true":
            serve_http(Rest, engine.rest["IPAddress"], int(engine.rest["Port"]), engine=engine)
    except (Wrong, OSError) as error:
        print(f"ERROR {error}", file=sys.stderr, flush=True)
        return 1
    print("INFO Wowza Streaming Engine (double) is started", flush=True)
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
