"""Renders the AutoDJ of a station, and the way in for its DJs: data of fixed programs. See docs/contracts.md.

They are two instances, so that neither is restarted for the other.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

from streamfleet.engine import File, Instance, RenderError
from streamfleet.feeds import feeds_of
from streamfleet.libraries import index_of, library_of
from streamfleet.playlists import (
    check_path,
    check_texts,
    check_windows,
    playlists_of,
    seed_of,
    time_zone,
    times_by_name,
    with_times,
)

COMPANION = "autodj"
LIVE = "live"
FULL, ECO = "full", "eco"
#: What the small player can send: see frames.py.
ECO_FORMATS = ("mp3", "aac", "ogg", "opus")
INSTANCES = "/etc/streamfleet/instances"
DATA = "/var/lib/streamfleet/services"

#: How far above the DJs' own port their slots are, on loopback: beyond any usual range of a node, below where the
#: kernel takes ports from for connections.
SLOTS_ABOVE = 20000
LOWEST_PORT, HIGHEST_PORT = 1024, 65535
MOST_DJS = 100
#: Those that wait, and those that were done since the service was last changed.
MOST_QUEUED = 200
QUEUED_ID = re.compile("[0-9a-f]{32}")
MOST_PRIORITY, MOST_GRACE = 100, 300
USERNAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
PASSWORD = re.compile(r"[A-Za-z0-9._~-]{8,64}")

ZONE = "settings.autodj.timezone"

#: In diffs: the password, the old one as well as the new.
MASK = r'(?<="password": ")(?:[^"\\]|\\.)*(?=")'


def render(service: Mapping[str, Any], node: Mapping[str, Any]) -> list[Instance]:
    """The AutoDJ's instance of ``service`` and that of the DJs' way in; none where it has no AutoDJ.

    Raises RenderError.
    """
    del node
    autodj = service["settings"].get("autodj")
    if autodj is None:
        return []
    check_texts({"autodj_password": service["credentials"]["autodj_password"]}, "credentials", secret=True)
    port = _live_port(service)
    if _class(autodj) == ECO:
        # It mixes nothing, so there is nothing for DJs to be mixed with.
        return [_autodj(service, autodj, None)]
    if port is None:
        return [_autodj(service, autodj, None)]
    slots = {"port": _slots_port(port), "password": _slots_password(service)}
    return [_autodj(service, autodj, slots), _live(service, autodj, port, slots)]


def _autodj(service: Mapping[str, Any], autodj: Mapping[str, Any], slots: Mapping[str, Any] | None) -> Instance:
    uid, folder = service["uid"], f"{INSTANCES}/{COMPANION}/{service['slug']}"
    library, index = library_of(uid), index_of(uid)
    password = service["credentials"]["autodj_password"]
    feeds = [
        {"mount": feed.mount, "format": feed.format, "bitrate_kbps": feed.bitrate_kbps or 0}
        for feed in feeds_of(service)
    ]
    eco = _class(autodj) == ECO
    if eco and feeds and service["state"] == "running" and (len(feeds) != 1 or feeds[0]["format"] not in ECO_FORMATS):
        found = [f"{feed['format']} {feed['bitrate_kbps']}" for feed in feeds]
        able = ", ".join(ECO_FORMATS)
        message = f"sends one encoding, of {able}; the mounts have {', '.join(found)}: make them alike, or use full"
        raise RenderError("settings.autodj.class", ECO, message)
    settings = {
        "port": service["port"],
        "password": password,
        "feeds": feeds,
        "live": None if slots is None else {**slots, "folder": f"{DATA}/{service['slug']}/{LIVE}"},
        "library": library,
        "index": index,
        "timezone": time_zone(autodj.get("timezone", "UTC"), ZONE),
        "crossfade_seconds": autodj.get("crossfade_seconds", 3),
        "smart_crossfade": autodj.get("smart_crossfade", True),
        "minimum_track_seconds": autodj.get("minimum_track_seconds", 10),
        "seed": seed_of(service["slug"]) if autodj.get("seed") is None else autodj["seed"],
    }
    return _instance(
        service,
        autodj,
        COMPANION,
        files=[
            _file(service, f"{folder}/settings.json", settings, mask=MASK),
            _file(service, f"{folder}/playlists.json", playlists_of(service)),
            _file(service, f"{folder}/queue.json", _queue(service)),
            # Read by a shell.
            *([File(f"{folder}/class", f"{ECO}\n", group=f"sf{uid}")] if eco else []),
        ],
        ports=[service["port"]],
        directories=[library, index],
        fingerprints={
            # The rest is read for every track anew, feeds every second.
            "restart": _fingerprint(service["port"], uid, password, slots, *([ECO] if eco else [])),
            "reload": "",
        },
    )


def _class(autodj: Mapping[str, Any]) -> str:
    found: str = autodj.get("class", FULL)
    if found not in (FULL, ECO):
        raise RenderError("settings.autodj.class", found, f"is neither {FULL} nor {ECO}")
    return found


def _live(service: Mapping[str, Any], autodj: Mapping[str, Any], port: int, slots: Mapping[str, Any]) -> Instance:
    folder = f"{INSTANCES}/{LIVE}/{service['slug']}"
    djs = {"timezone": time_zone(autodj.get("timezone", "UTC"), ZONE), "djs": _djs(service)}
    return _instance(
        service,
        autodj,
        LIVE,
        files=[
            _file(service, f"{folder}/settings.json", {"port": port, "slots": slots}, mask=MASK),
            _file(service, f"{folder}/djs.json", djs, kind="key"),
        ],
        ports=[slots["port"]],
        listen=[port],
        # DJs are read again when their file changes.
        fingerprints={"restart": _fingerprint(port, service["uid"], slots), "reload": ""},
    )


def _instance(service: Mapping[str, Any], autodj: Mapping[str, Any], name: str, **more: Any) -> Instance:
    """What both instances have alike."""
    on = service["state"] != "running" or autodj.get("enabled", True)
    return Instance(
        slug=service["slug"],
        engine=name,
        companion=True,
        uid=service["uid"],
        generation=service["generation"],
        state=service["state"] if on else "stopped",
        reason=service.get("reason") or "",
        unit=f"streamfleet-{name}@{service['slug']}.service",
        restart=service["restart"],
        **more,
    )


def _file(service: Mapping[str, Any], path: str, data: object, kind: str = "config", mask: str | None = None) -> File:
    return File(path, _json(data), group=f"sf{service['uid']}", kind=kind, validate="json", mask=mask)


def _live_port(service: Mapping[str, Any]) -> int | None:
    """The port that DJs connect to; None in a document of a panel that gives none."""
    port: int | None = service["settings"].get("live_port")
    if port is None:
        return None
    if (
        isinstance(port, bool)
        or not isinstance(port, int)
        or not LOWEST_PORT <= port <= HIGHEST_PORT
        or port == service["port"]
    ):
        message = f"is not another port than the station's, from {LOWEST_PORT} to {HIGHEST_PORT}"
        raise RenderError("settings.live_port", port, message)
    return port


def _slots_port(port: int) -> int:
    """Where Liquidsoap takes the DJs, on loopback: no two of these are the same, as no two ports are."""
    ports = HIGHEST_PORT + 1 - LOWEST_PORT
    return LOWEST_PORT + (port - LOWEST_PORT + SLOTS_ABOVE) % ports


def _slots_password(service: Mapping[str, Any]) -> str:
    """What both programs of a station know and nobody else."""
    key = service["credentials"]["autodj_password"].encode()
    return hmac.new(key, f"{service['slug']}: slots of DJs".encode(), hashlib.sha256).hexdigest()[:32]


def _djs(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The DJs as the gateway reads them, checked. Raises RenderError, without a password."""
    items = service.get("djs") or []
    if len(items) > MOST_DJS:
        raise RenderError("djs", len(items), f"are more than {MOST_DJS}: delete some")
    times, seen = times_by_name(service, "dj"), set[str]()
    found = []
    for number, item in enumerate(items):
        where, username = f"djs[{number}]", item["username"]
        check_texts(item, where)
        if not isinstance(username, str) or not USERNAME.fullmatch(username):
            raise RenderError(f"{where}.username", username, "is not 1 to 32 letters a-z, digits and - inside")
        if username in seen:
            raise RenderError(f"{where}.username", username, "is another DJ's already")
        seen.add(username)
        if not isinstance(item["password"], str) or not PASSWORD.fullmatch(item["password"]):
            raise RenderError(f"{where}.password", "(hidden)", "is not 8 to 64 letters, digits and . _ ~ -")
        for key, lowest, highest in (("priority", 1, MOST_PRIORITY), ("grace_seconds", 0, MOST_GRACE)):
            value = item[key]
            if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
                raise RenderError(f"{where}.{key}", value, f"is not a number from {lowest} to {highest}")
        check_windows(item["active"], where)
        active = with_times(item["active"], times.get(username, []), only=item["scheduled_only"])
        keys = ("username", "name", "password", "priority", "enabled", "scheduled_only", "active", "grace_seconds")
        found.append({**{key: item[key] for key in (*keys, "record", "kick")}, "active": active})
    return found


def _queue(service: Mapping[str, Any]) -> dict[str, Any]:
    """What was put before the rotation, checked, and how often it was asked to skip. Raises RenderError."""
    items, skip = service.get("queue") or [], service.get("skip", 0)
    if len(items) > MOST_QUEUED:
        raise RenderError("queue", len(items), f"are more than {MOST_QUEUED}: take some out")
    for number, item in enumerate(items):
        if not isinstance(item["id"], str) or not QUEUED_ID.fullmatch(item["id"]):
            raise RenderError(f"queue[{number}].id", item["id"], "is not 32 digits and letters a-f")
        check_path(item["path"], f"queue[{number}].path")
    if isinstance(skip, bool) or not isinstance(skip, int) or skip < 0:
        raise RenderError("skip", skip, "is not a number of 0 or more")
    return {"skip": skip, "items": [{"id": item["id"], "path": item["path"]} for item in items]}


def _fingerprint(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _json(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
