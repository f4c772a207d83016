"""What a video service of nginx_rtmp is on its node: one small file per stream key, and one that says whose it is.

The first says which public name the key stands for. It is read by ``roles/nginx_rtmp/files/publish.js`` when an encoder
starts and every few seconds while it publishes, so adding, rotating and suspending need no reload, no unit, no command.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from streamfleet.engine import File, Instance, RenderError

ENGINE = "nginx_rtmp"
KEYS = "/etc/streamfleet/publish-keys"
ROUTES = "/etc/streamfleet/routes"
GROUP = "streamfleet-rtmp"

_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")


def render(service: Mapping[str, Any], node: Mapping[str, Any]) -> Instance:
    """Return the instance of one service of a node document (docs/contracts.md).

    Only a running service has files; that is how every other state takes it off the air. Raises RenderError.
    """
    files: list[File] = []
    if service["state"] == "running":
        limit = (service.get("limits") or {}).get("max_bitrate_kbps")
        grants = [(_key(service, "stream_key", (service.get("credentials") or {}).get("stream_key")), None)]
        for previous in (service.get("previous_credentials") or {}).get("stream_key") or []:
            grants.append((_key(service, "previous_credentials.stream_key", previous["value"]), _expires(previous)))
        # The key of today wins over the same key among the old ones.
        found = dict(reversed(grants))
        files = [_file(service, key, expires, limit) for key, expires in sorted(found.items())]
        files.append(_owner(service))
    return Instance(
        slug=service["slug"],
        engine=ENGINE,
        uid=service["uid"],
        generation=service["generation"],
        state=service["state"],
        unit=None,
        files=files,
        restart=service.get("restart", 0),
        reason=service.get("reason", ""),
    )


def _key(service: Mapping[str, Any], field: str, value: object) -> str:
    """Return a key that the RTMP server can be asked for. Raises RenderError, without the key."""
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise RenderError(
            field,
            None if value is None else "********",
            f"the stream key of {service['slug']} is missing, or is not 1 to 128 letters, digits, hyphens, underscores",
        )
    return value


def _expires(previous: Mapping[str, Any]) -> str:
    """Return when an old key ends, in the one spelling that the reader is tested with. Raises RenderError."""
    text = previous.get("expires")
    try:
        moment = datetime.fromisoformat(str(text))
        if moment.tzinfo is None:
            raise ValueError(text)
    except ValueError as error:
        raise RenderError(
            "previous_credentials.stream_key", text, "expires is not an RFC 3339 time with a zone"
        ) from error
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _file(service: Mapping[str, Any], key: str, expires: str | None, limit: int | None) -> File:
    """Return the file that grants ``key`` the service's name. The key itself is in neither name nor content."""
    granted = {"slug": service["slug"], "uid": service["uid"], "expires": expires, "max_bitrate_kbps": limit}
    return File(
        path=f"{KEYS}/{hashlib.sha256(key.encode()).hexdigest()}.json",
        content=json.dumps(granted, sort_keys=True) + "\n",
        mode="0640",
        owner="root",
        group=GROUP,
        kind="key",
        validate="json",
    )


def _owner(service: Mapping[str, Any]) -> File:
    """Return the file that tells whose segments the web server sends: a channel has no unit that would say so.

    To the web server it is a route that leads nowhere: it serves the segments as files.
    """
    return File(
        path=f"{ROUTES}/{service['slug']}.json",
        content=json.dumps({"uid": service["uid"]}) + "\n",
        group="www-data",
        kind="route",
        validate="json",
    )
