"""What a station of Icecast, or of a program that reads the same configuration, has: that configuration, its listeners'
password file and its route. The renderers of these engines ask here, each with its program's dialect. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from .engine import REACHED, File, Instance, RenderError
from .feeds import Feed, feeds_of
from .relays import mount_of, password_of

ROUTES = "/etc/streamfleet/routes"

#: Connections beside listeners that must find room: sources that reconnect, metadata updates, status pages.
#: Icecast's own limit counts every connection, so it stands above the listeners' limit by so much.
SPARE_CONNECTIONS = 32
#: Where several mounts share the service's limit, only that limit holds their sum, so it is kept close: so many
#: listeners too many get in while every source is connected, and one more for each source that is away.
SPARE_WHEN_SHARED = 4
#: What stands for "unlimited"; the unit's limit of open files ends it sooner.
MANY = 1_000_000

QUEUE_BYTES = 524288
#: What a new listener gets at once: four seconds, so that players start without a pause.
BURST_SECONDS = 4
BURST_BYTES = 65536

#: What mounts may announce; it is in the names of the AutoDJ's feeds, and its encoders are chosen by it.
FORMATS = ("mp3", "aac", "ogg", "opus", "flac")

#: A mount's name in which no program sees a pattern.
PLAIN = re.compile(r"/[A-Za-z0-9._-]+")

POLICY = "sandbox; default-src 'none'; media-src 'self'"

#: In diffs: every password element, whatever it holds, and the old value as well as the new.
MASK = r"(?<=password>)[^<\n]+(?=</)"


@dataclass(frozen=True)
class Dialect:
    """Where a program differs. ``program_data``: the folder with its ``web`` and ``admin``.

    ``bind_address``: the address that hears IPv4 and IPv6, None where none may be named for that. ``counts``: whether
    the program holds the sum of the listeners of all mounts. ``query``: what the web server asks with. ``patterns``:
    whether the program takes a mount's name for a pattern where it looks like one. ``logins``: whether nobody hears a
    stream without the log-in that its listeners must have.
    """

    engine: str
    program_data: str
    bind_address: str | None
    counts: bool
    query: str | None = None
    patterns: bool = False
    logins: bool = True


def render_station(service: Mapping[str, Any], node: Mapping[str, Any], dialect: Dialect) -> Instance:
    """The instance of ``service`` on ``node`` (a service and the head of a node document).

    Raises RenderError for what the program cannot be told.
    """
    slug, uid = service["slug"], service["uid"]
    _passwords(service["credentials"])
    mounts = _mounts(service, dialect)
    feeds = feeds_of(service)
    group = f"sf{uid}"
    folder = f"/etc/streamfleet/instances/{dialect.engine}/{slug}"
    config = _xml(_config(service, node, mounts, feeds, folder, dialect))
    files = [File(f"{folder}/icecast.xml", config, group=group, validate="xml", mask=MASK)]
    password = service["credentials"].get("listener_password")
    if password and not dialect.logins:
        raise RenderError("credentials.listener_password", None, "cannot be held by this program")
    if password:
        files.append(File(f"{folder}/listeners.htpasswd", _listeners(password), group=group, kind="key"))
    if service["state"] in REACHED:
        files.append(_route(service, mounts, dialect))
    return Instance(
        slug=slug,
        engine=dialect.engine,
        uid=uid,
        generation=service["generation"],
        state=service["state"],
        reason=service.get("reason") or "",
        unit=f"streamfleet-{dialect.engine}@{slug}.service",
        files=files,
        restart=service["restart"],
        ports=[service["port"]],
        listen=[service["port"]],
        fingerprints={
            # Icecast reads its sockets once, at its start; all else again on SIGHUP (and the password file by itself).
            # What reads them on SIGHUP, too, would have a port before the node has looked whether it is free.
            "restart": _fingerprint(service["port"], uid),
            "reload": _fingerprint(config),
        },
    )


def _config(
    service: Mapping[str, Any],
    node: Mapping[str, Any],
    mounts: list[Mapping[str, Any]],
    feeds: list[Feed],
    folder: str,
    dialect: Dialect,
) -> ET.Element:
    root = ET.Element("icecast")
    _add(root, "location", "Streamfleet")
    _add(root, "admin", f"postmaster@{node['stream_host']}")
    _add(root, "hostname", node["stream_host"])
    limits = ET.SubElement(root, "limits")
    _add(limits, "clients", _connections(service, mounts, dialect) + len(feeds) + _relayed(service))
    if dialect.counts and service["limits"].get("max_listeners"):
        _add(limits, "max-listeners", service["limits"]["max_listeners"])
    _add(limits, "sources", 2 * len(mounts) + len(feeds))
    _add(limits, "queue-size", QUEUE_BYTES)
    _add(limits, "client-timeout", 30)
    _add(limits, "header-timeout", 15)
    _add(limits, "source-timeout", 10)
    _add(limits, "burst-size", BURST_BYTES)
    access = ET.SubElement(root, "authentication")
    # What the mounts below do not override opens nothing: nobody is told this password, so a source can use
    # declared mounts only.
    _add(access, "source-password", _unguessable(service, "undeclared mounts"))
    _add(access, "relay-password", _unguessable(service, "relays"))
    _add(access, "admin-user", "admin")
    _add(access, "admin-password", service["credentials"]["admin_password"], "credentials.admin_password")
    socket = ET.SubElement(root, "listen-socket")
    _add(socket, "port", service["port"])
    if dialect.bind_address:
        _add(socket, "bind-address", dialect.bind_address)
    headers = ET.SubElement(root, "http-headers")
    ET.SubElement(headers, "header", {"name": "Access-Control-Allow-Origin", "value": "*"})
    # Icecast passes on whatever content type its source gives, text/html too: opened in a browser it stays inert.
    ET.SubElement(headers, "header", {"name": "X-Content-Type-Options", "value": "nosniff"})
    ET.SubElement(headers, "header", {"name": "Content-Security-Policy", "value": POLICY})
    fallbacks = {name: feed.mount for feed in feeds for name in feed.serves}
    for mount in mounts:
        fallback = mount.get("fallback") or fallbacks.get(mount["name"])
        relayed = mount_of(mount["name"])
        _mount(root, service, {**mount, "fallback": relayed}, folder, dialect)
        _relay(root, service, {**mount, "name": relayed, "fallback": fallback}, folder, dialect)
    for feed in feeds:
        _feed(root, service, mounts, feed, folder, dialect)
    # No file of the server's is served; status and admin pages are transformations, not files.
    _add(root, "fileserve", 0)
    paths = ET.SubElement(root, "paths")
    _add(paths, "basedir", dialect.program_data)
    _add(paths, "logdir", "/tmp")  # noqa: S108 - a folder that must exist; logs go to the journal
    _add(paths, "webroot", f"{dialect.program_data}/web")
    _add(paths, "adminroot", f"{dialect.program_data}/admin")
    logging = ET.SubElement(root, "logging")
    _add(logging, "accesslog", "-")
    _add(logging, "errorlog", "-")
    _add(logging, "loglevel", 2)
    security = ET.SubElement(root, "security")
    _add(security, "chroot", 0)
    return root


def _mount(
    root: ET.Element, service: Mapping[str, Any], mount: Mapping[str, Any], folder: str, dialect: Dialect
) -> ET.Element:
    """One mount of the broadcasters, or with ``password_of`` another credential's, or with ``password`` others'."""
    settings, credentials = service["settings"], service["credentials"]
    credential = mount.get("password_of", "source_password")
    entry = ET.SubElement(root, "mount", {"type": "normal"})
    _add(entry, "mount-name", mount["name"])
    _add(entry, "username", "source")
    _add(entry, "password", mount.get("password") or credentials[credential], f"credentials.{credential}")
    total = service["limits"].get("max_listeners")
    # Where the program counts, the sum is its own affair; but 0 means unlimited there.
    listeners = _lowest(mount.get("max_listeners"), None if dialect.counts and total else total)
    if listeners is not None:
        _add(entry, "max-listeners", listeners)
    if mount.get("fallback"):
        _add(entry, "fallback-mount", mount["fallback"])
        _add(entry, "fallback-override", 1)
        if mount.get("fallback_when_full"):
            _add(entry, "fallback-when-full", 1)
    _add(entry, "charset", "UTF-8")
    _add(entry, "public", 0)
    _add(entry, "stream-name", service["name"], "name")
    for element, field in (("stream-description", "description"), ("stream-url", "website"), ("genre", "genre")):
        if settings.get(field):
            _add(entry, element, settings[field], f"settings.{field}")
    bitrate = mount.get("bitrate_kbps")
    if bitrate:
        _add(entry, "bitrate", bitrate)
        _add(entry, "burst-size", min(max(bitrate * 125 * BURST_SECONDS, BURST_BYTES // 4), QUEUE_BYTES // 2))
    if credentials.get("listener_password"):
        check = ET.SubElement(entry, "authentication", {"type": "htpasswd"})
        ET.SubElement(check, "option", {"name": "filename", "value": f"{folder}/listeners.htpasswd"})
        ET.SubElement(check, "option", {"name": "allow_duplicate_users", "value": "1"})
    return entry


def _relay(
    root: ET.Element, service: Mapping[str, Any], mount: Mapping[str, Any], folder: str, dialect: Dialect
) -> None:
    """The hidden mount behind a mount, which is relayed into; behind it is what the mount falls back to else."""
    _add(_mount(root, service, {**mount, "password": password_of(service)}, folder, dialect), "hidden", 1)


def _relayed(service: Mapping[str, Any]) -> int:
    """How many sources are relays in; what changes is a limit, which nobody on the air notices."""
    return sum(relay["direction"] == "in" for relay in service.get("relays") or [])


def _feed(
    root: ET.Element,
    service: Mapping[str, Any],
    mounts: list[Mapping[str, Any]],
    feed: Feed,
    folder: str,
    dialect: Dialect,
) -> None:
    """A hidden mount of the AutoDJ's. Whoever listens to what falls back to it is counted on it."""
    shares = [mount.get("max_listeners") for mount in mounts if mount["name"] in feed.serves]
    limit = None if None in shares else sum(share for share in shares if share is not None)
    mount = {
        "name": feed.mount,
        "bitrate_kbps": feed.bitrate_kbps,
        "max_listeners": limit,
        "password_of": "autodj_password",
    }
    _add(_mount(root, service, mount, folder, dialect), "hidden", 1)


def _passwords(credentials: Mapping[str, Any]) -> None:
    """Check the passwords that a service must have, before anything is derived from them."""
    for name, password in credentials.items():
        if password is not None:
            _text(password, f"credentials.{name}")
        if password == "" and name != "listener_password":
            raise RenderError(f"credentials.{name}", None, "is empty, and would let everybody in")


def _mounts(service: Mapping[str, Any], dialect: Dialect) -> list[Mapping[str, Any]]:
    """The declared mounts, checked for what their schema cannot say."""
    mounts: list[Mapping[str, Any]] = service["settings"]["mounts"]
    names = [mount["name"] for mount in mounts]
    for number, mount in enumerate(mounts):
        _text(mount["name"], f"settings.mounts[{number}].name")
        if dialect.patterns and not PLAIN.fullmatch(mount["name"]):
            message = "would be taken for a pattern: use letters, digits, '.', '_' and '-' after the slash"
            raise RenderError(f"settings.mounts[{number}].name", mount["name"], message)
        if (mount.get("format") or FORMATS[0]) not in FORMATS:
            message = f"is none of {', '.join(FORMATS)}"
            raise RenderError(f"settings.mounts[{number}].format", mount["format"], message)
        if names.index(mount["name"]) != number:
            raise RenderError(f"settings.mounts[{number}].name", mount["name"], "is declared twice")
        fallback = mount.get("fallback")
        if fallback and (fallback not in names or fallback == mount["name"]):
            raise RenderError(f"settings.mounts[{number}].fallback", fallback, "is not another mount of this service")
        seen = {mount["name"]}
        following = {other["name"]: other.get("fallback") for other in mounts}
        while fallback:
            if fallback in seen:
                raise RenderError(f"settings.mounts[{number}].fallback", mount["fallback"], "leads back to itself")
            seen.add(fallback)
            fallback = following.get(fallback)
    return mounts


def _connections(service: Mapping[str, Any], mounts: list[Mapping[str, Any]], dialect: Dialect) -> int:
    """The limit of connections, which holds the sum of the listeners of several mounts where nothing else does."""
    total = service["limits"].get("max_listeners")
    if total is None:
        return MANY
    shares = [_lowest(mount.get("max_listeners"), total) or 0 for mount in mounts]
    # Who is let in elsewhere, where a mount is full, is counted on none of the mounts' limits that add up here.
    elsewhere = any(mount.get("fallback_when_full") for mount in mounts)
    held = dialect.counts or (sum(shares) <= total and not elsewhere)
    spare = SPARE_CONNECTIONS if held else SPARE_WHEN_SHARED
    return int(total) + len(mounts) + spare


def _route(service: Mapping[str, Any], mounts: list[Mapping[str, Any]], dialect: Dialect) -> File:
    names = [mount["name"] for mount in mounts]
    default = next((mount["name"] for mount in mounts if mount.get("default")), names[0])
    route: dict[str, Any] = {"port": service["port"], "mounts": names, "default": default}
    if service["limits"].get("max_bitrate_kbps") is not None:
        # To whoever measures (meter.py beside the engine's render.py).
        route["max_bitrate_kbps"] = service["limits"]["max_bitrate_kbps"]
    if dialect.query:
        route["query"] = dialect.query
    if service["state"] == "moved":
        # Listeners are sent on: the node that has the service counts them.
        route["elsewhere"] = True
    content = json.dumps(route, separators=(", ", ": ")) + "\n"
    return File(f"{ROUTES}/{service['slug']}.json", content, group="www-data", kind="route", validate="json")


def _listeners(password: str) -> str:
    """The password file as Icecast 2.4 wants it: plain MD5 is the one form that it reads."""
    digest = hashlib.md5(password.encode("utf-8"), usedforsecurity=False).hexdigest()
    return f"listener:{digest}\n"


def _unguessable(service: Mapping[str, Any], purpose: str) -> str:
    """A password that nobody is told, always the same for the same service."""
    key = service["credentials"]["admin_password"].encode("utf-8")
    return hmac.new(key, f"{service['slug']}: {purpose}".encode(), hashlib.sha256).hexdigest()


def _lowest(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _fingerprint(*values: object) -> str:
    return hashlib.sha256(json.dumps([str(value) for value in values]).encode()).hexdigest()[:32]


def _add(parent: ET.Element, name: str, value: object, field: str = "") -> None:
    ET.SubElement(parent, name).text = _text(str(value), field or name)


def _text(text: str, field: str) -> str:
    """``text`` if XML 1.0 can hold it and a header can carry it: ElementTree escapes markup, but not these."""
    for character in text:
        number = ord(character)
        if number < 0x20 or number == 0x7F or 0xD800 <= number <= 0xDFFF or number in (0xFFFE, 0xFFFF):
            shown = f"U+{number:04X}"
            raise RenderError(field, shown, f"holds the character {shown}, which no stream title can carry: remove it")
    return text


def _xml(root: ET.Element) -> str:
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'
