"""What the double takes for a configuration: every element in its place, with a value of its type; no other.

The elements are those that the vendor documents for Application.xml, Server.xml, VHosts.xml, VHost.xml and Tune.xml, as
far as Streamfleet's files and the double's own have them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET


class Wrong(Exception):
    """A file that the program does not start with."""


def words(*allowed: str) -> Any:
    """A text that is one of the words."""
    return re.compile("|".join(re.escape(word) for word in allowed))


ANY = re.compile(r"[^\x00-\x1f]*")
FLAG = words("true", "false")
NUMBER = re.compile(r"-?[0-9]{1,9}")
PORT = re.compile(r"[1-9][0-9]{0,4}")
ADDRESS = re.compile(r"\*|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|localhost")
TYPE = words("String", "Integer", "Long", "Boolean", "Double")
PROPERTIES: dict[str, Any] = {"Property*": {"Name": re.compile(r"[A-Za-z0-9]+"), "Value": ANY, "Type": TYPE}}

STREAM_TYPES = words(
    "default", "file", "live", "live-lowlatency", "live-record", "live-record-lowlatency",
    "liverepeater-edge", "liverepeater-origin", "rtp-live", "rtp-live-lowlatency", "shoutcast",
)  # fmt: skip
ACCESS = dict.fromkeys(
    ("StreamReadAccess", "StreamWriteAccess", "SharedObjectReadAccess", "SharedObjectWriteAccess"), ANY
)
RTSP = dict.fromkeys(("PublishMethod", "PlayMethod"), words("none", "basic", "digest", "block"))
MODULE = {"Name": re.compile(r"[A-Za-z]+"), "Description": ANY, "Class": re.compile(r"com\.wowza\.wms(?:\.[A-Za-z]+)+")}
APPLICATION: dict[str, Any] = {
    "Application": {
        "Name": re.compile(r"[A-Za-z0-9._-]*"),
        "AppType": words("Live", "VOD", "LiveEdge", "LiveHTTPOrigin", "VODEdge", "VODHTTPOrigin"),
        "Description?": ANY,
        "Connections?": {"AutoAccept": FLAG, "AllowDomains": ANY},
        "Streams?": {
            "StreamType": STREAM_TYPES,
            "StorageDir": ANY,
            "KeyDir": ANY,
            "LiveStreamPacketizers": re.compile(
                r"(?:(?:cupertino|mpegdash|sanjose|smooth|dvr)streamingpacketizer(?:, ?|$))*"
            ),
            "Properties": PROPERTIES,
        },
        "Transcoder?": {
            "LiveStreamTranscoder": words("", "transcoder"),
            "Templates": re.compile(r"(?:[A-Za-z0-9${}_-]+\.xml(?:,|$))*"),
            "ProfileDir": ANY,
            "TemplateDir": ANY,
            "Properties": PROPERTIES,
        },
        "DVR?": {
            "Recorders": words("", "dvrrecorder"),
            "Store": words("", "dvrfilestorage"),
            "WindowDuration": re.compile(r"[0-9]{1,9}"),
            "StorageDir": ANY,
            "ArchiveStrategy": words("append", "version", "delete"),
            "Properties": PROPERTIES,
        },
        "HTTPStreamers?": re.compile(r"(?:(?:cupertino|mpegdash|sanjose|smooth|dvrchunk)streaming(?:, ?|$))*"),
        "Client?": {"IdleFrequency?": NUMBER, "Access": ACCESS},
        "RTP?": {"Authentication": RTSP},
        "WebRTC?": dict.fromkeys(("EnablePublish", "EnablePlay", "EnableQuery"), FLAG),
        "MediaCaster?": {
            "RTP?": {"RTSP?": {"RTPTransportMode": words("udp", "interleave")}},
            "Properties?": PROPERTIES,
        },
        "LiveStreamPacketizer?": {"Properties": PROPERTIES},
        "Modules?": {"Module*": MODULE},
        "Properties?": PROPERTIES,
    }
}
SERVER: dict[str, Any] = {
    "Server": {
        "Name": ANY,
        "Description?": ANY,
        "RESTInterface": {
            "Enable": FLAG,
            "IPAddress": ADDRESS,
            "Port": PORT,
            "AuthenticationMethod": words("none", "basic", "digest", "remotehttp", "digestfile"),
            "IPWhiteList": re.compile(r"\*|[0-9.,*]+"),
            "IPBlackList?": ANY,
            "DocumentationServerEnable": FLAG,
            "DocumentationServerPort": PORT,
        },
        "CommandInterface": {"HostPort": {"ProcessorCount": ANY, "IpAddress": ADDRESS, "Port": PORT}},
        "Properties": PROPERTIES,
    }
}
VHOSTS: dict[str, Any] = {"VHosts": {"VHost*": {"Name": ANY, "ConfigDir": ANY, "ConnectionLimit": NUMBER}}}
HOST_PORT: dict[str, Any] = {
    "Name": ANY,
    "Type": words("Streaming", "Admin"),
    "ProcessorCount": ANY,
    "IpAddress": ADDRESS,
    "Port": PORT,
    "HTTPIdent2Response?": ANY,
    "SSLConfig?": {"KeyStorePath": ANY, "KeyStorePassword": ANY, "KeyStoreType": ANY},
    "SocketConfiguration": {"ReuseAddress": FLAG, "ReceiveBufferSize": NUMBER, "KeepAlive": FLAG},
    "HTTPStreamerAdapterIDs": ANY,
    "HTTPProviders": {"HTTPProvider*": {"BaseClass": ANY, "RequestFilters": ANY, "AuthenticationMethod": ANY}},
}
VHOST: dict[str, Any] = {"VHost": {"Description?": ANY, "HostPortList": {"HostPort*": HOST_PORT}}}
TUNE: dict[str, Any] = {
    "Tune": {
        "HeapSize": re.compile(r"[1-9][0-9]*[MG]|\$\{[A-Za-z.]+\}"),
        "GarbageCollector": ANY,
        "VMOptions": {"VMOption*": ANY},
    }
}

#: Properties that the double acts on, and the type that they must have.
TYPES = {
    "securityPublishRequirePassword": "Boolean",
    "securityPublishPasswordFile": "String",
    "securityPublishBlockDuplicateStreamNames": "Boolean",
    "securityPlayMaximumConnections": "Integer",
    "cupertinoChunkDurationTarget": "Integer",
}


def read(path: Path, schema: dict[str, Any]) -> ET.Element:
    """The file, if it is as the schema says. Raises Wrong."""
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError) as error:
        raise Wrong(f"{path}: {error}") from None
    if root.tag != "Root":
        raise Wrong(f"{path}: begins with {root.tag}, not with Root")
    _match(root, schema, str(path))
    return root


def _match(element: ET.Element, schema: dict[str, Any], where: str) -> None:
    if (element.text or "").strip():
        raise Wrong(f"{where}: a text where elements should be")
    left = {name.rstrip("?*"): name for name in schema}
    seen: set[str] = set()
    for child in element:
        if (child.tail or "").strip():
            raise Wrong(f"{where}: a text where elements should be")
        if not isinstance(child.tag, str):
            continue  # a comment
        key = left.get(child.tag)
        if key is None:
            raise Wrong(f"{where}: unknown element {child.tag}")
        if child.tag in seen and not key.endswith("*"):
            raise Wrong(f"{where}: {child.tag} is there twice")
        seen.add(child.tag)
        kind = schema[key]
        if isinstance(kind, dict):
            _match(child, kind, f"{where}: {child.tag}")
        elif len(child):
            raise Wrong(f"{where}: {child.tag}: elements where a text should be")
        elif not kind.fullmatch((child.text or "").strip()):
            raise Wrong(f"{where}: {child.tag}: bad value {(child.text or '').strip()!r}")
    missing = [name for name, key in left.items() if key[-1] not in "?*" and name not in seen]
    if missing:
        raise Wrong(f"{where}: {missing[0]} is missing")


def properties(element: ET.Element | None) -> dict[str, str]:
    """Properties by name, checked against their types. Raises Wrong."""
    found: dict[str, str] = {}
    for item in element if element is not None else ():
        name, value, kind = (item.findtext(tag) or "" for tag in ("Name", "Value", "Type"))
        if name in found:
            raise Wrong(f"property {name} is there twice")
        if kind != TYPES.get(name, kind):
            raise Wrong(f"property {name}: its type is {TYPES[name]}, not {kind}")
        if (kind == "Integer" and not NUMBER.fullmatch(value)) or (kind == "Boolean" and not FLAG.fullmatch(value)):
            raise Wrong(f"property {name}: {value!r} is no {kind}")
        found[name] = value
    return found


class Application:
    """What an Application.xml says. Raises Wrong."""

    def __init__(self, home: Path, name: str) -> None:
        path = home / "conf" / name / "Application.xml"
        if not path.is_file():
            path = home / "conf" / "Application.xml"
        root = read(path, APPLICATION)
        app = root.find("Application")
        assert app is not None
        if path.parent.name == name and app.findtext("Name") != name:
            raise Wrong(f"{path}: Name is {app.findtext('Name')!r}, and its folder {name!r}")
        self.name = name
        self.stream_type = app.findtext("Streams/StreamType") or ""
        self.app_type = app.findtext("AppType") or ""
        if (self.app_type == "VOD") != (self.stream_type in ("default", "file")):
            raise Wrong(
                f"{path}: an application of the type {self.app_type} has no streams of the type {self.stream_type}"
            )
        storage = app.findtext("Streams/StorageDir") or ""
        storage = storage.replace("${com.wowza.wms.context.VHostConfigHome}", str(home))
        self.storage = Path(storage.replace("${com.wowza.wms.context.Application}", name))
        self.interleaved = app.findtext("MediaCaster/RTP/RTSP/RTPTransportMode") == "interleave"
        #: Templates of the transcoder, of which a stream gets the first that is there; none: nothing is encoded.
        self._templates: list[str] = []
        place = (app.findtext("Transcoder/TemplateDir") or "").replace("${com.wowza.wms.context.Application}", name)
        self._template_dir = Path(place.replace("${com.wowza.wms.context.VHostConfigHome}", str(home)))
        if app.findtext("Transcoder/LiveStreamTranscoder"):
            self._templates = (app.findtext("Transcoder/Templates") or "").split(",")
        recorded = [app.findtext(f"DVR/{tag}") or "" for tag in ("Recorders", "Store")]
        packetizers = (app.findtext("Streams/LiveStreamPacketizers") or "").replace(" ", "").split(",")
        wanted = [*recorded, "dvrstreamingpacketizer" if "dvrstreamingpacketizer" in packetizers else ""]
        if any(wanted) and not all(wanted):
            raise Wrong(f"{path}: nDVR needs dvrrecorder, dvrfilestorage and dvrstreamingpacketizer")
        if any(wanted) and self.stream_type != "live":
            raise Wrong(f"{path}: nDVR is for streams of the type live, not {self.stream_type}")
        self.dvr = Path(app.findtext("DVR/StorageDir") or "") if all(wanted) else None
        self.window = int(app.findtext("DVR/WindowDuration") or 0)
        self.accept = app.findtext("Connections/AutoAccept") == "true"
        self.packetized = "cupertinostreamingpacketizer" in (app.findtext("Streams/LiveStreamPacketizers") or "")
        self.played = "cupertinostreaming" in (app.findtext("HTTPStreamers") or "")
        self.read_access = app.findtext("Client/Access/StreamReadAccess") or ""
        self.write_access = app.findtext("Client/Access/StreamWriteAccess") or ""
        modules = {item.findtext("Class") for item in app.findall("Modules/Module")}
        secured = "com.wowza.wms.security.ModuleCoreSecurity" in modules
        found = properties(app.find("Properties"))
        # Without the module nobody looks at its properties.
        held = found if secured else {}
        self.password_needed = held.get("securityPublishRequirePassword") == "true"
        self.one_publisher = held.get("securityPublishBlockDuplicateStreamNames") == "true"
        self.viewers = int(held.get("securityPlayMaximumConnections", "0"))
        file = held.get("securityPublishPasswordFile", "${com.wowza.wms.context.VHostConfigHome}/conf/publish.password")
        file = file.replace("${com.wowza.wms.context.VHostConfigHome}", str(home))
        self.password_file = Path(file.replace("${com.wowza.wms.context.Application}", name))
        chunk = properties(app.find("LiveStreamPacketizer/Properties")).get("cupertinoChunkDurationTarget", "10000")
        self.segment_seconds = int(chunk) / 1000

    def passwords(self) -> dict[str, str]:
        """User → password, as the file says now."""
        try:
            lines = self.password_file.read_text().splitlines()
        except OSError:
            return {}
        pairs = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def template(self, stream: str) -> Path | None:
        """The template of a stream; None for one that is not encoded."""
        names = [name.replace("${SourceStreamName}", stream) for name in self._templates]
        return next((path for name in names if (path := self._template_dir / name).is_file()), None)

    def may(self, access: str, stream: str) -> bool:
        """Whether a stream's name begins with one that is listed."""
        names = [name.strip() for name in access.split(",") if name.strip()]
        return any(name == "*" or stream.startswith(name) for name in names)
