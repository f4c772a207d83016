"""Renders a Shoutcast 2 station: the configuration of its sc_serv and its route. See docs/contracts.md.

sc_serv reads lines ``key=value``. The vendor's documentation does not say how it takes quotes, blanks, or a semicolon
inside a line, so no value here has any: each goes through the encoder of its type, which lets through only characters
that can mean nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from streamfleet.engine import REACHED, File, Instance, RenderError

ENGINE = "shoutcast2"
INSTANCES = "/etc/streamfleet/instances/shoutcast2"
DATA = "/var/lib/streamfleet/services"
ROUTES = "/etc/streamfleet/routes"

#: What stands for "unlimited". Not 0, which sc_serv has for it: beside it a stream's own limit would be "higher than
#: maxuser", and of that sc_serv says that it does not count.
MANY = 1_000_000
#: The largest port that leaves one for old sources.
LAST_PORT = 65534

#: What stands for a secret in an error.
HIDDEN = "********"
#: In diffs: every password, hash and licence, the old value as well as the new.
MASK = r"(?<=password=).+|(?<=streamauthhash_)\d+=.+|(?<=userid=).+|(?<=licenceid=).+"

_KEY = re.compile(r"[a-z0-9]+(?:_[0-9]{1,3})?")
_SECRET = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_STREAM = re.compile(r"/[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_FILE = re.compile(r"(?:/[A-Za-z0-9._-]+)+")


class Config:
    """The lines of one sc_serv.conf. Every method adds one line, or raises RenderError for what it cannot hold."""

    def __init__(self) -> None:
        self._lines = ["; Managed by Streamfleet. Changes are overwritten."]
        self._keys: set[str] = set()

    def number(self, key: str, value: object, low: int, high: int, field: str = "", times: int = 1) -> None:
        """A whole number from ``low`` to ``high``, written in a unit that is ``times`` smaller."""
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise RenderError(field or key, value, f"is not a whole number from {low} to {high}")
        self._add(key, str(value * times))

    def flag(self, key: str, value: bool) -> None:
        """On or off."""
        self._add(key, "1" if value else "0")

    def word(self, key: str, value: object, words: tuple[str, ...]) -> None:
        """One of the words that sc_serv knows here."""
        if value not in words:
            raise RenderError(key, value, f"is not one of {', '.join(words)}")
        self._add(key, str(value))

    def secret(self, key: str, value: object, field: str) -> None:
        """A password, hash or licence. It is in no error: only which of its characters is wrong."""
        if not isinstance(value, str) or not _SECRET.fullmatch(value):
            wrong = sorted(set(_SECRET.sub("", value))) if isinstance(value, str) else []
            shown = ", ".join(f"U+{ord(character):04X}" for character in wrong)
            raise RenderError(
                field,
                shown or HIDDEN,
                "must have 1 to 128 characters, each a letter, digit, dot, hyphen, underscore or tilde: "
                "Shoutcast's configuration and its source protocol give others a meaning",
            )
        self._add(key, value)

    def stream(self, key: str, value: object, field: str) -> None:
        """A path that listeners open."""
        self._matching(key, value, field, _STREAM, "is not a path of one part such as /stream")

    def host(self, key: str, value: object, field: str) -> None:
        """A host name or an IPv4 address."""
        self._matching(key, value, field, _HOST, "is not a host name")

    def file(self, key: str, value: object, field: str = "") -> None:
        """The absolute path of a file on the node."""
        self._matching(key, value, field or key, _FILE, "is not a plain absolute path")

    def none(self, key: str) -> None:
        """Switches something off by naming nothing."""
        self._add(key, "")

    def text(self) -> str:
        """The file."""
        return "\n".join(self._lines) + "\n"

    def _matching(self, key: str, value: object, field: str, pattern: re.Pattern[str], problem: str) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise RenderError(field, value, problem)
        self._add(key, value)

    def _add(self, key: str, value: str) -> None:
        # sc_serv takes the last of two lines with one key, whatever the first said.
        if not _KEY.fullmatch(key) or key in self._keys:
            raise RenderError(key, None, "is no key, or is there twice")
        self._keys.add(key)
        self._lines.append(f"{key}={value}")


def render(service: Mapping[str, Any], node: Mapping[str, Any]) -> Instance:
    """The instance of ``service`` on ``node`` (a service and the head of a node document).

    Raises RenderError for what sc_serv cannot be told.
    """
    slug, uid, port = service["slug"], service["uid"], service["port"]
    streams = _streams(service)
    config = _config(service, node, streams)
    files = [File(f"{INSTANCES}/{slug}/sc_serv.conf", config, group=f"sf{uid}", mask=MASK)]
    if service["state"] in REACHED:
        files.append(_route(service, streams))
    return Instance(
        slug=slug,
        engine=ENGINE,
        uid=uid,
        generation=service["generation"],
        state=service["state"],
        reason=service.get("reason") or "",
        unit=f"streamfleet-shoutcast2@{slug}.service",
        files=files,
        restart=service["restart"],
        ports=[port, port + 1],
        listen=[port, port + 1],
        # Whatever is in its configuration takes a start to be sure of: docs/shoutcast2.md says why.
        fingerprints={"restart": _fingerprint(config, uid)},
    )


def _config(service: Mapping[str, Any], node: Mapping[str, Any], streams: list[Mapping[str, Any]]) -> str:
    config, credentials = Config(), service["credentials"]
    data = f"{DATA}/{service['slug']}"
    config.number("portbase", service["port"], 1, LAST_PORT, "port")
    _passwords(config, credentials)
    # A source can use declared streams only.
    config.flag("requirestreamconfigs", True)
    _limits(config, service["limits"])
    config.number("songhistory", service["settings"].get("song_history", 20), 0, 100, "settings.song_history")
    config.word("publicserver", "never", ("default", "always", "never"))
    config.flag("allowpublicrelay", False)
    if any(stream.get("public") for stream in streams):
        config.host("publicip", node["stream_host"], "stream_host")
    # Listeners through the web server come from loopback, with their true address in X-Forwarded-For.
    config.flag("usexff", True)
    config.flag("namelookups", False)
    # Lists that the station's admin pages change: sc_serv writes them, converge never.
    for key in ("banfile", "ripfile", "agentfile"):
        config.file(key, f"{data}/sc_serv.{key.removesuffix('file')}")
    config.flag("configrewrite", False)
    # Its log goes to the journal, which is capped. sc_serv prints only what it also logs into a file.
    config.flag("log", True)
    config.flag("screenlog", True)
    config.file("logfile", "/dev/null")
    config.number("rotateinterval", 0, 0, 0)
    config.flag("w3cenable", False)
    config.none("pidfile")
    for number, stream in enumerate(streams):
        _stream(config, stream, f"settings.streams[{number}]", credentials)
    return config.text()


def _passwords(config: Config, credentials: Mapping[str, Any]) -> None:
    source, admin = credentials["source_password"], credentials["admin_password"]
    config.secret("password", source, "credentials.source_password")
    config.secret("adminpassword", admin, "credentials.admin_password")
    if source == admin:
        raise RenderError(
            "credentials.admin_password", HIDDEN, "is the same as source_password, with which Shoutcast does not start"
        )
    user, licence = credentials.get("premium_user_id"), credentials.get("premium_licence_id")
    if bool(user) != bool(licence):
        missing = "premium_licence_id" if user else "premium_user_id"
        raise RenderError(
            f"credentials.{missing}", None, "is missing: a Premium licence has a user id and a licence id"
        )
    if user:
        config.secret("userid", user, "credentials.premium_user_id")
        config.secret("licenceid", licence, "credentials.premium_licence_id")


def _limits(config: Config, limits: Mapping[str, Any]) -> None:
    listeners, bitrate = limits.get("max_listeners"), limits.get("max_bitrate_kbps")
    if listeners == 0:
        raise RenderError("max_listeners", 0, "means unlimited to Shoutcast: stop the service to have no listener")
    config.number("maxuser", MANY if listeners is None else listeners, 1, 2**31 - 1, "max_listeners")
    if bitrate is not None:
        # In bits per second; a source that announces more is refused.
        config.number("maxbitrate", bitrate, 1, 2_000_000, "max_bitrate_kbps", times=1000)


def _stream(config: Config, stream: Mapping[str, Any], field: str, credentials: Mapping[str, Any]) -> None:
    number = stream["id"]
    config.number(f"streamid_{number}", number, 1, 999, f"{field}.id")
    config.stream(f"streampath_{number}", stream["name"], f"{field}.name")
    if stream.get("max_listeners") is not None:
        config.number(f"streammaxuser_{number}", stream["max_listeners"], 1, 1_000_000, f"{field}.max_listeners")
    public = bool(stream.get("public"))
    config.word(f"streampublicserver_{number}", "always" if public else "never", ("always", "never"))
    if public:
        if not credentials.get("authhash"):
            # sc_serv 2.6 would let no listener in.
            raise RenderError(
                f"{field}.public", True, "needs the credential authhash, the station's key of the directory"
            )
        config.secret(f"streamauthhash_{number}", credentials["authhash"], "credentials.authhash")


def _streams(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The declared streams, checked for what their schema cannot say."""
    streams: list[Mapping[str, Any]] = service["settings"]["streams"]
    for key in ("id", "name"):
        values = [stream[key] for stream in streams]
        for number, value in enumerate(values):
            if value in values[:number]:
                raise RenderError(f"settings.streams[{number}].{key}", value, "is declared twice")
    return streams


def _route(service: Mapping[str, Any], streams: list[Mapping[str, Any]]) -> File:
    names = [stream["name"] for stream in streams]
    default = next((stream["name"] for stream in streams if stream.get("default")), names[0])
    # sc_serv's log of listeners gives those through the web server their own addresses, so that they would count twice.
    route: dict[str, Any] = {"port": service["port"], "mounts": names, "default": default, "unwritten": True}
    if service["limits"].get("max_bitrate_kbps") is not None:
        # To whoever measures (meter.py beside this file).
        route["max_bitrate_kbps"] = service["limits"]["max_bitrate_kbps"]
    if service["state"] == "moved":
        # Listeners are sent on: the node that has the service counts them.
        route["elsewhere"] = True
    content = json.dumps(route, separators=(", ", ": ")) + "\n"
    return File(f"{ROUTES}/{service['slug']}.json", content, group="www-data", kind="route", validate="json")


def _fingerprint(*values: object) -> str:
    return hashlib.sha256(json.dumps([str(value) for value in values]).encode()).hexdigest()[:32]
