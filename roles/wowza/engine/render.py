"""Renders a video service of Wowza Streaming Engine: one application of its own, and its route. See docs/contracts.md.

One that plays by itself has a second instance, which plays.

The application's file says all of it: who may publish, what is packaged, how many may watch. One that is not on the air
keeps its file, in which nobody may do anything: Wowza loads an application whenever somebody asks for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from streamfleet import guard
from streamfleet.engine import File, Instance, RenderError
from streamfleet.libraries import library_of
from streamfleet.playlists import playlists_of, seed_of, time_zone

ENGINE = "wowza"
INSTANCES = "/etc/streamfleet/instances/wowza"
ROUTES = "/etc/streamfleet/routes"
GROUP = "streamfleet-wowza"
#: Where Wowza serves HLS, on loopback; ``_streamfleet_wowza_hls_port`` of the role is the same.
HLS_PORT = 1938
#: The one stream of an application.
STREAM = "live"
#: Types of services → how Wowza handles their stream.
STREAM_TYPES = {
    "live": "live",
    "low_latency": "live-lowlatency",
    "on_demand": "default",
    "stream_relay": "live",
    "shoutcast_relay": "live",
    "tv_station": "live",
}
ON_DEMAND = "on_demand"
#: A channel that plays by itself: what does so publishes a stream of its own, which viewers get, and a broadcaster the
#: usual one, which it takes its place from. It reaches Wowza at a port for those of this host, and its name is ``tv``;
#: ``_streamfleet_wowza_tv_port`` of the role is the same.
TV_STATION, TV, AIR, TV_PORT = "tv_station", "tv", "air", 1941
TV_INSTANCES = "/etc/streamfleet/instances/tv"
#: Types of services whose stream Wowza fetches → the setting that says where from, and what Wowza calls that stream.
RADIO = "shoutcast_relay"
RELAYS = {"stream_relay": "stream_address", RADIO: "radio_address"}
RELAYED = f"{STREAM}.stream"
#: Types of services that an encoder publishes to; those that are recorded; those that have nDVR and the transcoder.
PUBLISHED = ("live", "low_latency", TV_STATION)
RECORDED = (*PUBLISHED, *RELAYS)
KEPT = SCALED = ("live", TV_STATION)
#: Types of services → the stream that viewers get, where it is not ``live``.
SHOWN = {TV_STATION: AIR, **dict.fromkeys(RELAYS, RELAYED)}
#: Scheme of such an address → Wowza's MediaCaster that fetches it.
CASTERS = {
    "stream_relay": {"rtmp": "liverepeater", "rtsp": "rtp", "http": "applehls", "https": "applehls"},
    "shoutcast_relay": {"http": "shoutcast"},
}
#: Where Wowza finds the libraries, and follows no link; ``_streamfleet_wowza_media`` of the role is the same.
MEDIA = "/run/streamfleet/wowzamedia"
#: What Wowza keeps of what was sent, below it <uid>/<slug> of each channel; files/recordings.py holds its limit.
DVR = "/var/lib/streamfleet-wowza/dvr"
#: The group of all that the transcoder makes of a stream. Its template, in the channel's folder, is called like the one
#: stream that it is for: Wowza looks for it by that name, and makes nothing of any other that is published.
ALL = "all"
#: What the customer's own user is told that lets Wowza read the library.
GRANTS = "/etc/streamfleet/instances/wowzalibrary"
#: Seconds of a segment of HLS at low latency.
SHORT_SEGMENT = 1

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PASSWORD = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FOLDER = re.compile(r"[.]|[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,7}")
_LOGIN = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_WORD = re.compile(r"[A-Za-z0-9._-]*")
#: What Wowza replaces in its files by values of its own. Only texts of this file name such.
_PLACES = "${com.wowza.wms.context.VHostConfigHome}"
_APPLICATION = "${com.wowza.wms.context.Application}"


class Section:
    """An element of Application.xml. Each method adds one element of its type, or raises RenderError."""

    def __init__(self, element: ET.Element) -> None:
        self.element = element

    def section(self, name: str) -> Section:
        """An element that holds others."""
        return Section(ET.SubElement(self.element, name))

    def word(self, name: str, value: object = "", field: str = "") -> None:
        """A word, or nothing: letters, digits, dot, hyphen and underscore, which mean themselves to Wowza and XML."""
        if not isinstance(value, str) or not _WORD.fullmatch(value):
            raise RenderError(field or name, value, "is not a word of letters, digits, dots, hyphens, underscores")
        self._add(name, value)

    def words(self, name: str, *values: str) -> None:
        """Words with commas between them. No argument is a tenant's text."""
        self._add(name, ",".join(values))

    def source(self, name: str, prefix: str, suffix: str) -> None:
        """A name made of that of the stream that is encoded. No argument is a tenant's text."""
        self._add(name, f"{prefix}${{SourceStreamName}}_{suffix}")

    def flag(self, name: str, value: bool) -> None:
        """On or off."""
        self._add(name, "true" if value else "false")

    def place(self, name: str, below: str) -> None:
        """A path below the folder that Wowza's configuration is in."""
        self._add(name, f"{_PLACES}/{below}")

    def folder(self, name: str, place: str, below: str) -> None:
        """The folder ``below`` a place outside, a path of plain names: none climbs or means something to Wowza."""
        self._add(name, place if below == "." else f"{place}/{below}")

    def module(self, name: str, java_class: str) -> None:
        """A part of Wowza that the application is made of. No argument comes from a tenant."""
        found = self.section("Module")
        found._add("Name", name)
        found._add("Description", name)
        found._add("Class", java_class)

    def property(self, name: str, kind: str, value: str) -> None:
        """A property. No argument is a tenant's text."""
        found = self.section("Property")
        found._add("Name", name)
        found._add("Value", value)
        found._add("Type", kind)

    def number(self, name: str, value: object, low: int, high: int, field: str, times: int = 1, more: int = 0) -> None:
        """A property that is a whole number from ``low`` to ``high``, in a unit that is ``times`` smaller.

        ``more`` is what is added to it.
        """
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise RenderError(field, value, f"is not a whole number from {low} to {high}")
        self.property(name, "Integer", str(value * times + more))

    def _add(self, name: str, text: str) -> None:
        ET.SubElement(self.element, name).text = text


def render(service: Mapping[str, Any], node: Mapping[str, Any]) -> Instance | list[Instance]:
    """The instance of ``service`` on ``node`` (a service and the head of a node document), two if it plays by itself.

    Raises RenderError for what Wowza cannot be told.
    """
    slug, kind = service["slug"], service["service_type"]
    if kind not in STREAM_TYPES:
        raise RenderError("service_type", kind, f"is not one of {', '.join(STREAM_TYPES)}")
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise RenderError("slug", slug, "is not a name for an application of Wowza")
    running = service["state"] == "running"
    folder = f"{INSTANCES}/{slug}"
    application = _application(service, running)
    files = [File(f"{folder}/Application.xml", application, group=GROUP, validate="xml")]
    library = []
    if kind == ON_DEMAND:
        library = [library_of(service["uid"])]
        files += [_grant(service)]
    recorded = service["settings"].get("record_minutes") is not None and kind in RECORDED
    if recorded:
        library = [library_of(_uid(service))]
        files.append(_record(service, folder, running))
    if _dvr_hours(service):
        kept = json.dumps({"uid": _uid(service), "quota_mb": _quota(service, "settings.dvr_hours", None)}) + "\n"
        files.append(File(f"{folder}/dvr.json", kept, group=GROUP, validate="json"))
    read = _relay(service, folder) if running and kind in RELAYS else []
    if running and (renditions := _renditions(service)):
        template = f"{folder}/{SHOWN.get(kind, STREAM)}.xml"
        read = [File(template, _template(renditions), group=GROUP, validate="xml")]
    if running:
        files += [_passwords(service, folder)] if kind in PUBLISHED else []
        files += [*read, _route(service)]
    instance = Instance(
        slug=slug,
        engine=ENGINE,
        uid=service["uid"],
        generation=service["generation"],
        state=service["state"],
        reason=service.get("reason") or "",
        unit=f"streamfleet-wowza@{slug}.service",
        files=files,
        restart=service["restart"],
        directories=library,
        fingerprints={"reload": _fingerprint(application, *(file.content for file in read))},
    )
    return [instance, _tv(service)] if kind == TV_STATION else instance


def _tv(service: Mapping[str, Any]) -> Instance:
    """What plays a channel by itself, as its customer's own user."""
    slug, uid = service["slug"], _uid(service)
    folder, group = f"{TV_INSTANCES}/{slug}", f"sf{uid}"
    settings = {
        "application": slug,
        "stream": AIR,
        "live": STREAM,
        "port": TV_PORT,
        "hls_port": HLS_PORT,
        "segment_seconds": service["settings"].get("segment_seconds", 4),
        "library": library_of(uid),
        "timezone": time_zone(service["settings"].get("timezone", "UTC"), "settings.timezone"),
        "seed": seed_of(slug),
    }
    secret = {"password": _password(service)} if service["state"] == "running" else {}
    playlists = json.dumps(playlists_of(service), indent=1, ensure_ascii=False) + "\n"
    return Instance(
        slug=slug,
        engine=TV,
        companion=True,
        uid=uid,
        generation=service["generation"],
        state=service["state"],
        reason=service.get("reason") or "",
        unit=f"streamfleet-wowza-tv@{slug}.service",
        files=[
            # All is read when it is needed: with the next recording, and the password when Wowza is next connected to.
            File(f"{folder}/settings.json", json.dumps(settings, indent=1) + "\n", group=group, validate="json"),
            File(f"{folder}/playlists.json", playlists, group=group, validate="json"),
            *([File(f"{folder}/publish.json", json.dumps(secret) + "\n", group=group, kind="key")] if secret else []),
        ],
        restart=service["restart"],
        ports=[TV_PORT, HLS_PORT],
        directories=[library_of(uid)],
        fingerprints={"restart": _fingerprint(str(uid)), "reload": ""},
    )


def _fingerprint(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]


def _application(service: Mapping[str, Any], running: bool) -> str:
    """Application.xml; of a service that is off the air, one in which nobody may publish or play."""
    root = ET.Element("Root", {"version": "1"})
    application = Section(root).section("Application")
    application.word("Name", service["slug"], "slug")
    on_demand = service["service_type"] == ON_DEMAND
    published, relayed = (service["service_type"] in kinds for kinds in (PUBLISHED, RELAYS))
    application.word("AppType", "VOD" if on_demand else "Live")
    application.word("Description")
    connections = application.section("Connections")
    connections.flag("AutoAccept", running)
    connections.word("AllowDomains")
    streams = application.section("Streams")
    streams.word("StreamType", STREAM_TYPES[service["service_type"]])
    if on_demand:
        streams.folder("StorageDir", f"{MEDIA}/{_uid(service)}", _media_folder(service))
    else:
        # Where Wowza looks for the file that names a stream to fetch.
        streams.place("StorageDir", f"conf/{_APPLICATION}" if relayed else "content")
    streams.place("KeyDir", "keys")
    renditions = _renditions(service) if running else []
    dvr = _dvr_hours(service) if running else None
    packetizers = ["cupertinostreamingpacketizer"] if running and not on_demand else []
    streams.words("LiveStreamPacketizers", *packetizers, *(["dvrstreamingpacketizer"] if dvr else []))
    streams.section("Properties")
    # What a channel does not have is not in its file: nobody is interrupted for what others have.
    if renditions:
        _transcoder(application.section("Transcoder"))
    if dvr:
        _dvr(application.section("DVR"), f"{_uid(service)}/{service['slug']}", dvr)
    application.word("HTTPStreamers", "cupertinostreaming" if running else "")
    access = application.section("Client").section("Access")
    # Viewers come through the web server, by HLS: nobody plays by RTMP.
    access.word("StreamReadAccess")
    streams_of = [STREAM, AIR] if service["service_type"] == TV_STATION else [STREAM]
    access.words("StreamWriteAccess", *(streams_of if running and published else []))
    access.word("SharedObjectReadAccess")
    access.word("SharedObjectWriteAccess")
    authentication = application.section("RTP").section("Authentication")
    for way in ("PublishMethod", "PlayMethod"):
        # Wowza answers RTSP on the same port as RTMP.
        authentication.word(way, "block")
    webrtc = application.section("WebRTC")
    for way in ("EnablePublish", "EnablePlay", "EnableQuery"):
        webrtc.flag(way, False)
    if relayed:
        # One connection, to the address that was judged, and no ports for somebody to send packets to.
        caster = application.section("MediaCaster").section("RTP").section("RTSP")
        caster.word("RTPTransportMode", "interleave")
    packaging = application.section("LiveStreamPacketizer").section("Properties")
    seconds = service["settings"].get("segment_seconds", 4)
    if service["service_type"] == "low_latency":
        seconds = SHORT_SEGMENT
    packaging.number("cupertinoChunkDurationTarget", seconds, 1, 20, "settings.segment_seconds", times=1000)
    modules = application.section("Modules")
    modules.module("base", "com.wowza.wms.module.ModuleCore")
    modules.module("logging", "com.wowza.wms.module.ModuleClientLogging")
    modules.module("ModuleCoreSecurity", "com.wowza.wms.security.ModuleCoreSecurity")
    _security(application.section("Properties"), service)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _renditions(service: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Lines and bits a second of each smaller picture. Raises RenderError."""
    items = service["settings"].get("renditions") or [] if service["service_type"] in SCALED else []
    if not isinstance(items, list) or len(items) > 4:
        raise RenderError("settings.renditions", items, "is not a list of at most 4 renditions")
    made = []
    for place, item in enumerate(items):
        field = f"settings.renditions[{place}]"
        if not isinstance(item, Mapping) or set(item) != {"height", "video_kbps"}:
            raise RenderError(field, item, "is not a mapping of height and video_kbps")
        for key, low, high in (("height", 144, 2160), ("video_kbps", 100, 20000)):
            value = item[key]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise RenderError(f"{field}.{key}", value, f"is not a whole number from {low} to {high}")
        if item["height"] in [height for height, _bits in made]:
            raise RenderError(f"{field}.height", item["height"], "is that of another rendition, too")
        made.append((item["height"], item["video_kbps"] * 1000))
    if made and service["settings"].get("dvr_hours") is not None:
        raise RenderError("settings.renditions", items, "cannot be had together with dvr_hours: choose one of them")
    return made


def _template(renditions: list[tuple[int, int]]) -> str:
    """The transcoder's template: what is sent as it is, the smaller pictures, and the group of all."""
    root = ET.Element("Root", {"version": "1"})
    transcode = Section(root).section("Transcode")
    encodes = transcode.section("Encodes")
    names = ["source"]
    _encode(encodes, "source", None)
    for height, bits in renditions:
        names.append(f"{height}p")
        _encode(encodes, f"{height}p", (height, bits))
    decode = transcode.section("Decode")
    decode.section("Video").flag("Deinterlace", False)
    decode.section("Properties")
    group = transcode.section("StreamNameGroups").section("StreamNameGroup")
    group.word("Name", ALL)
    group.source("StreamName", "", ALL)
    members = group.section("Members")
    for name in names:
        members.word("MemberName", name)
    transcode.section("Properties")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _encode(encodes: Section, name: str, size: tuple[int, int] | None) -> None:
    """One stream that the transcoder makes; None: as it is sent."""
    encode = encodes.section("Encode")
    encode.flag("Enable", True)
    encode.word("Name", name)
    encode.source("StreamName", "mp4:", name)
    video = encode.section("Video")
    if size is None:
        video.word("Codec", "PassThru")
        video.words("Bitrate", "${SourceVideoBitrate}")
    else:
        video.word("Codec", "H.264")
        video.word("Implementation", "default")
        video.word("GPUID", "-1")
        frame = video.section("FrameSize")
        frame.word("FitMode", "fit-height")
        # The height counts; the width is that of the source's shape, which most often is this.
        frame.words("Width", str(round(size[0] * 8 / 9) * 2))
        frame.words("Height", str(size[0]))
        video.word("Profile", "main")
        video.words("Bitrate", str(size[1]))
        interval = video.section("KeyFrameInterval")
        # Where the source has key frames: segments of all begin alike.
        interval.flag("FollowSource", True)
        interval.words("Interval", "60")
    audio = encode.section("Audio")
    audio.word("Codec", "PassThru")
    audio.words("Bitrate", "${SourceAudioBitrate}")
    encode.section("Properties")


def _dvr_hours(service: Mapping[str, Any]) -> int | None:
    """For how long what is sent is kept. Raises RenderError."""
    hours = service["settings"].get("dvr_hours") if service["service_type"] in KEPT else None
    if hours is None:
        return None
    if isinstance(hours, bool) or not isinstance(hours, int) or not 1 <= hours <= 8760:
        raise RenderError("settings.dvr_hours", hours, "is not a whole number from 1 to 8760")
    # With nothing to keep it in it would begin anew for ever, and throw its encoder out each time.
    return hours if _quota(service, "settings.dvr_hours", hours) > 0 else None


def _quota(service: Mapping[str, Any], field: str, value: object) -> int:
    """The limit of what is kept of a channel, for a field that needs one. Raises RenderError."""
    quota = service["limits"].get("disk_quota_mb")
    if isinstance(quota, bool) or not isinstance(quota, int) or quota < 0:
        # All channels share the disk: one without a limit would fill it for everybody.
        raise RenderError(field, value, "needs a limit of what is kept: set disk_quota_mb, too")
    return quota


def _transcoder(transcoder: Section) -> None:
    """Where the template of a stream is."""
    transcoder.word("LiveStreamTranscoder", "transcoder")
    # Only one by the stream's own name, with no other for the rest: whoever has the password may publish a second one
    # (Wowza takes every name that begins as one that is listed), and none of those is encoded.
    transcoder.words("Templates", "${SourceStreamName}.xml")
    transcoder.place("ProfileDir", "transcoder/profiles")
    transcoder.place("TemplateDir", f"conf/{_APPLICATION}")
    transcoder.section("Properties")


def _dvr(dvr: Section, folder: str, hours: int) -> None:
    """What nDVR keeps."""
    dvr.word("Recorders", "dvrrecorder")
    dvr.word("Store", "dvrfilestorage")
    dvr.words("WindowDuration", str(hours * 3600))
    dvr.folder("StorageDir", DVR, folder)
    dvr.word("ArchiveStrategy", "append")
    dvr.section("Properties")


def _uid(service: Mapping[str, Any]) -> int:
    """The customer's number, which names the library. Raises RenderError."""
    uid = service["uid"]
    if isinstance(uid, bool) or not isinstance(uid, int):
        raise RenderError("uid", uid, "is not a number")
    return uid


def _media_folder(service: Mapping[str, Any]) -> str:
    """The folder of the library that is played. Raises RenderError."""
    folder = service["settings"].get("media_folder", ".")
    if not isinstance(folder, str) or not _FOLDER.fullmatch(folder):
        fault = "is not . or a path of names of letters, digits, dots, hyphens, underscores that begin with no dot"
        raise RenderError("settings.media_folder", folder, fault)
    return folder


def _grant(service: Mapping[str, Any]) -> File:
    """What of the library Wowza may read: the customer's own user, whose the files are, sees to it."""
    wanted = {"library": library_of(_uid(service)), "folder": _media_folder(service)}
    path = f"{GRANTS}/{service['slug']}/library.json"
    return File(path, json.dumps(wanted) + "\n", group=f"sf{service['uid']}", validate="json")


def _security(properties: Section, service: Mapping[str, Any]) -> None:
    """What ModuleCoreSecurity holds."""
    properties.property("securityPublishRequirePassword", "Boolean", "true")
    own = f"{_PLACES}/conf/{_APPLICATION}/publish.password"
    properties.property("securityPublishPasswordFile", "String", own)
    # A second encoder does not throw the first one out.
    properties.property("securityPublishBlockDuplicateStreamNames", "Boolean", "true")
    listeners = service["limits"].get("max_listeners")
    if listeners == 0:
        raise RenderError("max_listeners", 0, "means unlimited to Wowza: stop the service to have no viewer")
    if listeners is not None:
        # What plays a channel by itself takes the broadcaster's stream as a viewer does.
        more = int(service["service_type"] == TV_STATION)
        properties.number("securityPlayMaximumConnections", listeners, 1, 2**31 - 2, "max_listeners", more=more)


def _passwords(service: Mapping[str, Any], folder: str) -> File:
    """Who may publish. Raises RenderError, without the password."""
    content = f"{service['slug']} {_password(service)}\n"
    return File(f"{folder}/publish.password", content, group=GROUP, kind="key")


def _password(service: Mapping[str, Any]) -> str:
    """What encoders publish with. Raises RenderError, without it."""
    password = service["credentials"].get("publish_password")
    if not isinstance(password, str) or not _PASSWORD.fullmatch(password):
        raise RenderError(
            "credentials.publish_password",
            None if password is None else "********",
            "is missing, or is not 1 to 128 letters, digits, hyphens, underscores: blanks mean something to Wowza",
        )
    return password


def _relay(service: Mapping[str, Any], folder: str) -> list[File]:
    """What Wowza fetches, and with which of its MediaCasters. Raises RenderError.

    The node judges the address again, whenever Wowza is told to fetch it, and its firewall each connection.
    """
    kind = service["service_type"]
    name = RELAYS[kind]
    address = service["settings"].get(name)
    if not isinstance(address, str):
        raise RenderError(f"settings.{name}", address, "is not an address")
    try:
        place = guard.place_of(address, tuple(CASTERS[kind]))
    except guard.Refused as refused:
        # It may hold a log-in.
        raise RenderError(f"settings.{name}", None if "@" in address else address, refused.message) from None
    caster = CASTERS[kind][place.scheme]
    if caster == "applehls" and not place.path.partition("?")[0].endswith(".m3u8"):
        raise RenderError(f"settings.{name}", address, "is no list of HLS: its path does not end with .m3u8")
    wanted = json.dumps({"address": address, "caster": caster}) + "\n"
    login = _login(service) if kind == "stream_relay" else ""
    if login and caster != "rtp":
        raise RenderError("settings.stream_username", None, "is for cameras: only an rtsp:// address takes a log-in")
    scheme, _slashes, rest = address.partition("://")
    return [
        # Of a file of this kind nothing is shown: it may hold a password.
        File(f"{folder}/{RELAYED}", f"{scheme}://{login}{rest}\n", group=GROUP, kind="key"),
        File(f"{folder}/relay.json", wanted, group=GROUP, validate="json"),
    ]


def _login(service: Mapping[str, Any]) -> str:
    """The log-in of a stream as it stands in an address; empty for none. Raises RenderError, without the password.

    Letters that need no encoding in an address: whether Wowza takes that back is not known.
    """
    name, password = service["settings"].get("stream_username"), service["credentials"].get("stream_password")
    if name is None and password is None:
        return ""
    if not isinstance(name, str) or len(name) > 64 or not _LOGIN.fullmatch(name):
        fault = "is missing, or is not 1 to 64 letters, digits, dots, hyphens, underscores, tildes"
        raise RenderError("settings.stream_username", name, fault)
    if not isinstance(password, str) or not _LOGIN.fullmatch(password):
        fault = "is missing, or is not 1 to 128 letters, digits, dots, hyphens, underscores, tildes"
        raise RenderError("credentials.stream_password", None if password is None else "********", fault)
    return f"{name}:{password}@"


def _record(service: Mapping[str, Any], folder: str, running: bool) -> File:
    """What files/recordings.py sees to. Raises RenderError."""
    minutes = service["settings"]["record_minutes"]
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= 1440:
        raise RenderError("settings.record_minutes", minutes, "is not a whole number from 1 to 1440")
    quota = _quota(service, "settings.record_minutes", minutes)
    # Of a channel that plays by itself what a broadcaster sends: the rest lies in the library already.
    stream = RELAYED if service["service_type"] in RELAYS else STREAM
    wanted = {"uid": _uid(service), "quota_mb": quota, "minutes": minutes, "running": running, "stream": stream}
    if service["service_type"] == RADIO:
        wanted["pictures"] = False
    library = service.get("library_mb")
    if library is not None:
        if isinstance(library, bool) or not isinstance(library, int) or library < 0:
            raise RenderError("library_mb", library, "is not a whole number")
        wanted["library_mb"] = library
    return File(f"{folder}/record.json", json.dumps(wanted) + "\n", group=GROUP, validate="json")


def _route(service: Mapping[str, Any]) -> File:
    """What the web server sends viewers of ``/hls/<slug>/`` to; on demand a file's path is in the address."""
    slug, kind = service["slug"], service["service_type"]
    stream = SHOWN.get(kind, STREAM)
    route: dict[str, Any] = {"port": HLS_PORT, "hls": f"/{slug}/{stream}"}
    if _renditions(service):
        route["hls"] = f"/{slug}/ngrp:{stream}_{ALL}"
    if _dvr_hours(service):
        route["archive"] = True
    if kind == ON_DEMAND:
        route = {"port": HLS_PORT, "hls": f"/{slug}/_definst_", "files": True}
    content = json.dumps(route, separators=(", ", ": ")) + "\n"
    return File(f"{ROUTES}/{slug}.json", content, group="www-data", kind="route", validate="json")
