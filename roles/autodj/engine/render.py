"""Renders the AutoDJ of a station: settings and playlists, data of a fixed script. See docs/contracts.md."""

from __future__ import annotations

import hashlib
import json
import re
import zoneinfo
from collections.abc import Mapping
from typing import Any

from streamfleet.engine import File, Instance, RenderError
from streamfleet.feeds import feeds_of

COMPANION = "autodj"
INSTANCES = "/etc/streamfleet/instances/autodj"
MEDIA = "/var/lib/streamfleet/media"

DAYS = frozenset({"mon", "tue", "wed", "thu", "fri", "sat", "sun"})
TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
LONGEST_PATH = 500
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

#: In diffs: the password, the old one as well as the new.
MASK = r'(?<="password": ")(?:[^"\\]|\\.)*(?=")'


def render(service: Mapping[str, Any], node: Mapping[str, Any]) -> Instance | None:
    """The AutoDJ's instance of ``service``; None where it has none. Raises RenderError."""
    del node
    autodj = service["settings"].get("autodj")
    if autodj is None:
        return None
    slug, uid = service["slug"], service["uid"]
    group = f"sf{uid}"
    folder = f"{INSTANCES}/{slug}"
    library = f"{MEDIA}/{uid}"
    password = service["credentials"]["autodj_password"]
    feeds = [
        {"mount": feed.mount, "format": feed.format, "bitrate_kbps": feed.bitrate_kbps or 0}
        for feed in feeds_of(service)
    ]
    settings = {
        "port": service["port"],
        "password": password,
        "feeds": feeds,
        "library": library,
        "timezone": _timezone(autodj.get("timezone", "UTC")),
        "crossfade_seconds": autodj.get("crossfade_seconds", 3),
        "smart_crossfade": autodj.get("smart_crossfade", True),
        "minimum_track_seconds": autodj.get("minimum_track_seconds", 10),
        "seed": _seed(slug) if autodj.get("seed") is None else autodj["seed"],
    }
    playlists = [_playlist(item, f"playlists[{number}]") for number, item in enumerate(service.get("playlists") or [])]
    on = service["state"] != "running" or autodj.get("enabled", True)
    return Instance(
        slug=slug,
        engine=COMPANION,
        companion=True,
        uid=uid,
        generation=service["generation"],
        state=service["state"] if on else "stopped",
        reason=service.get("reason") or "",
        unit=f"streamfleet-autodj@{slug}.service",
        files=[
            File(f"{folder}/settings.json", _json(settings), group=group, validate="json", mask=MASK),
            File(f"{folder}/playlists.json", _json(playlists), group=group, validate="json"),
        ],
        restart=service["restart"],
        ports=[service["port"]],
        directories=[library],
        fingerprints={
            # The rest is read for every track anew.
            "restart": _fingerprint(service["port"], uid, password, feeds),
            "reload": "",
        },
    )


def _playlist(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The playlist as the chooser reads it, its paths and times checked."""
    if item.get("folder") is not None:
        _path(item["folder"], f"{where}.folder", root=True)
    for number, path in enumerate(item.get("files") or []):
        _path(path, f"{where}.files[{number}]")
    for number, window in enumerate(item.get("active") or []):
        for end in ("start", "end"):
            if not isinstance(window.get(end), str) or not TIME.fullmatch(window[end]):
                raise RenderError(
                    f"{where}.active[{number}].{end}", window.get(end), "is not a time from 00:00 to 23:59"
                )
        if not set(window.get("days") or []) <= DAYS:
            raise RenderError(f"{where}.active[{number}].days", window["days"], f"are not days of {sorted(DAYS)}")
    keys = ("name", "enabled", "type", "folder", "files", "order", "weight", "active", "every_tracks", "every_minutes")
    return {key: item.get(key) for key in keys}


def _path(path: object, field: str, root: bool = False) -> None:
    """A path below the library. ``root``: it may be the library itself, written as a dot."""
    if root and path == ".":
        return
    good = (
        isinstance(path, str)
        and len(path) <= LONGEST_PATH
        and not CONTROL.search(path)
        and all(part not in ("", ".", "..") for part in path.split("/"))
    )
    if not good:
        raise RenderError(
            field, path, "is not a path inside the media library: no leading slash, no .. and no empty part"
        )


def _timezone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        message = "is not a time zone: use an IANA name such as Europe/Prague"
        raise RenderError("settings.autodj.timezone", name, message) from None
    return name


def _seed(slug: str) -> int:
    return int.from_bytes(hashlib.sha256(slug.encode()).digest()[:4], "big") >> 1


def _fingerprint(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _json(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
