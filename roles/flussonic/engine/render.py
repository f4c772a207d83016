"""Renders a video service of Flussonic Media Server: one stream, as its API takes it, and its route.

See docs/contracts.md. The file is the body of ``PUT /streamer/api/v3/streams/<name>``. It names every setting that
Streamfleet may set, with null for what is off: nothing of an earlier version is left, whether the
API replaces or merges.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from streamfleet.engine import File, Instance, RenderError

ENGINE = "flussonic"
INSTANCES = "/etc/streamfleet/instances/flussonic"
ROUTES = "/etc/streamfleet/routes"
_PORTS = yaml.safe_load(Path(__file__).with_name("spec.yml").read_text())["host_ports"]
#: Where Flussonic serves HLS and its API, and where the gate answers how many may watch; both on loopback.
HTTP_PORT, GATE_PORT = _PORTS["HLS and API"]["port"], _PORTS["gate"]["port"]
#: Where Flussonic keeps what was sent; files/channel.py sweeps there.
DVR = "/var/lib/flussonic/dvr"

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PASSWORD = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: In diffs the password is blanked.
_MASK = r'(?<="password": ")[^"]+'
_MIB = 1024 * 1024


def render(service: Mapping[str, Any], node: Mapping[str, Any]) -> Instance:
    """The instance of ``service`` on ``node`` (a service and the head of a node document).

    Raises RenderError for what Flussonic cannot be told.
    """
    slug = service["slug"]
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise RenderError("slug", slug, "is not a name for a stream of Flussonic")
    running = service["state"] == "running"
    stream = _stream(service) if running else {"name": slug, "disabled": True}
    content = json.dumps(stream, indent=2, sort_keys=True) + "\n"
    files = [File(f"{INSTANCES}/{slug}/stream.json", content, validate="json", mask=_MASK)]
    if running:
        files.append(_route(slug))
    return Instance(
        slug=slug,
        engine=ENGINE,
        uid=service["uid"],
        generation=service["generation"],
        state=service["state"],
        reason=service.get("reason") or "",
        unit=f"streamfleet-flussonic@{slug}.service",
        files=files,
        restart=service["restart"],
        fingerprints={"reload": hashlib.sha256(content.encode()).hexdigest()[:32]},
    )


def _stream(service: Mapping[str, Any]) -> dict[str, Any]:
    """The stream of a service that is on the air. Raises RenderError."""
    settings = service["settings"]
    viewers = service["limits"].get("max_listeners")
    if viewers is not None:
        _whole(viewers, 0, 2**31 - 1, "max_listeners")
    return {
        "name": service["slug"],
        "disabled": False,
        # Nothing but an encoder's own publication, and only with the password.
        "inputs": [{"url": "publish://"}],
        "password": _password(service["credentials"].get("publish_password")),
        # Viewers come through the web server, by HLS: nobody plays by RTMP or anything else.
        "protocols": {"whitelist": True, "hls": True},
        "segment_duration": _whole(settings.get("segment_seconds", 4), 1, 20, "settings.segment_seconds") * 1000,
        "on_play": None if viewers is None else {"url": f"http://127.0.0.1:{GATE_PORT}/play/{viewers}"},
        "dvr": _dvr(settings.get("dvr_hours"), service["limits"].get("disk_quota_mb")),
        "transcoder": _transcoder(settings.get("renditions") or []),
    }


def _whole(value: object, low: int, high: int, field: str) -> int:
    """A whole number in these bounds. Raises RenderError."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RenderError(field, value, f"is not a whole number from {low} to {high}")
    return value


def _password(value: object) -> str:
    """The password of the encoder. Raises RenderError, without it."""
    if not isinstance(value, str) or not _PASSWORD.fullmatch(value):
        raise RenderError(
            "credentials.publish_password",
            None if value is None else "********",
            "is missing, or is not 1 to 128 letters, digits, hyphens, underscores: it is part of a stream key",
        )
    return value


def _dvr(hours: object, quota: object) -> dict[str, Any] | None:
    """What is kept, and how much of it at most. Raises RenderError."""
    if hours is None:
        return None
    kept = {"root": DVR, "expiration": _whole(hours, 1, 8760, "settings.dvr_hours") * 3600}
    if quota is None:
        # All channels share the disk: one without a limit would fill it for everybody.
        raise RenderError("settings.dvr_hours", hours, "needs a limit of what is kept: set disk_quota_mb, too")
    return {**kept, "storage_limit": _whole(quota, 1, 2**40, "disk_quota_mb") * _MIB}


def _transcoder(renditions: object) -> dict[str, Any] | None:
    """What is encoded beside it. Raises RenderError."""
    if not isinstance(renditions, list) or len(renditions) > 4:
        raise RenderError("settings.renditions", renditions, "is not a list of at most 4 renditions")
    if not renditions:
        return None
    # What the encoder sends is passed on as it is, picture and sound.
    video: list[dict[str, Any]] = [{"track": 1, "bitrate": "copy"}]
    for place, item in enumerate(renditions):
        field = f"settings.renditions[{place}]"
        if not isinstance(item, Mapping) or set(item) != {"height", "video_kbps"}:
            raise RenderError(field, item, "is not a mapping of height and video_kbps")
        height = _whole(item["height"], 144, 2160, f"{field}.height")
        bitrate = _whole(item["video_kbps"], 100, 20000, f"{field}.video_kbps") * 1000
        size = {"width": -1, "height": height, "strategy": "scale"}
        video.append({"track": place + 2, "codec": "h264", "bitrate": bitrate, "size": size})
    return {"global": {"hw": "cpu"}, "audio": {"bitrate": "copy"}, "video": video}


def _route(slug: str) -> File:
    """What the web server sends viewers of ``/hls/<slug>/`` to."""
    content = json.dumps({"port": HTTP_PORT, "hls": f"/{slug}", "token": True}, separators=(", ", ": ")) + "\n"
    return File(f"{ROUTES}/{slug}.json", content, group="www-data", kind="route", validate="json")
