"""What a video service of nginx_rtmp is on its node: one small file per stream key, and two that say whose it is.

The first says which public name the key stands for. It is read by ``roles/nginx_rtmp/files/publish.js`` when an encoder
starts and every few seconds while it publishes, so adding, rotating and suspending need no reload, no unit, no command.
Of a service that another node has by now there is a file for each key, too, under a name from which nobody learns what
that node knows the key by: it says where the encoder is sent on to.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
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
_DIGEST = re.compile(r"[0-9a-f]{64}")
# As the server's certificate is asked for; an address of IPv6 stands without brackets.
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:-]{0,251}[A-Za-z0-9])?")


def render(service: Mapping[str, Any], node: Mapping[str, Any]) -> Instance:
    """Return the instance of one service of a node document (docs/contracts.md).

    Only a running service has files, and one that another node has; that is how every other state takes it off the air.
    Raises RenderError.
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
        keys = [{"file": _digest(key), "secret": _ticket_secret(key, str(node.get("node") or ""))} for key in found]
        files += [_keys_of(service, {"keys": sorted(keys, key=lambda one: one["file"])}), _owner(service)]
    elif service["state"] == "moved":
        files = _moved(service, node)
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


def _expires(previous: Mapping[str, Any], field: str = "previous_credentials.stream_key") -> str:
    """Return when an old key ends, in the one spelling that the reader is tested with. Raises RenderError."""
    text = previous.get("expires")
    try:
        moment = datetime.fromisoformat(str(text))
        if moment.tzinfo is None:
            raise ValueError(text)
    except ValueError as error:
        raise RenderError(field, text, "expires is not an RFC 3339 time with a zone") from error
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _file(service: Mapping[str, Any], key: str, expires: str | None, limit: int | None) -> File:
    """Return the file that grants ``key`` the service's name. The key itself is in neither name nor content."""
    granted = {"slug": service["slug"], "uid": service["uid"], "expires": expires, "max_bitrate_kbps": limit}
    return _of_the_server(_digest(key), granted)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _ticket_secret(key: str, node: str) -> str:
    """Return by what ``node`` sees that whoever sends a stream on to it was shown the key.

    Of the node as well: who had the service before has known another one. It stands in contents alone, which no diff
    shows.
    """
    return hmac.new(key.encode(), f"ticket for {node}".encode(), hashlib.sha256).hexdigest()


def _of_the_server(name: str, content: Mapping[str, Any]) -> File:
    """Return a file that the RTMP server reads, and nobody else."""
    return File(
        path=f"{KEYS}/{name}.json",
        content=json.dumps(content, sort_keys=True) + "\n",
        mode="0640",
        owner="root",
        group=GROUP,
        kind="key",
        validate="json",
    )


def _keys_of(service: Mapping[str, Any], content: Mapping[str, Any]) -> File:
    """Return the file by which the keys of one service are found: for what another node has sent on."""
    return _of_the_server(f"of-{service['slug']}", content)


def _moved(service: Mapping[str, Any], node: Mapping[str, Any]) -> list[File]:
    """Return the files of a service that another node has: who is sent on, and to where. Raises RenderError.

    While nobody has it on the air encoders have nowhere to go and are told to come again; viewers have what was sent.
    """
    forward = service.get("forward")
    to = web = name = None
    if forward:
        name = forward.get("node")
        address, host = _address(forward.get("address")), forward.get("stream_host")
        port = (forward.get("host_ports") or {}).get("RTMP")
        if not isinstance(port, int) or isinstance(port, bool) or not 1024 <= port <= 65535:
            raise RenderError("forward.host_ports", port, "has no port from 1024 to 65535 for RTMP")
        if not isinstance(host, str) or not _HOST.fullmatch(host):
            raise RenderError("forward.stream_host", host, "is not a host name")
        if not isinstance(name, str) or not name:
            raise RenderError("forward.node", name, "is not the name of a node")
        to = f"rtmp://{address}:{port}/live" if forward.get("open") is True else None
        # ``here``: the name under which this node's own web server is asked, by who looks whether it goes on.
        web = {"address": address, "host": host, "here": str(node.get("stream_host") or "")}
    files = []
    for item in (service.get("digests") or {}).get("stream_key") or []:
        digest = item.get("digest")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise RenderError("digests.stream_key", digest, "is not a SHA-256")
        expires = None if item.get("expires") is None else _expires(item, "digests.stream_key")
        sent = {"slug": service["slug"], "uid": service["uid"], "expires": expires, "to": to, "node": name}
        files.append(_of_the_server(f"moved-{digest}", sent))
    return [*files, _keys_of(service, {"keys": [], "moved": True}), _owner(service, web)]


def _address(given: object) -> str:
    """Return an address as it stands in an URL. Raises RenderError."""
    try:
        found = ipaddress.ip_address(str(given))
    except ValueError:
        raise RenderError("forward.address", given, "is not an IP address, and no names are looked up here") from None
    return f"[{found}]" if found.version == 6 else str(found)


def _owner(service: Mapping[str, Any], web: Mapping[str, str] | None = None) -> File:
    """Return the file that tells whose segments the web server sends: a channel has no unit that would say so.

    To the web server it is a route that leads nowhere: it serves the segments as files. With ``web`` it fetches them
    from another node's web server, which counts who watches.
    """
    route: dict[str, Any] = {"uid": service["uid"]}
    if web is not None:
        route |= {"elsewhere": True, "web": dict(web)}
    return File(
        path=f"{ROUTES}/{service['slug']}.json",
        content=json.dumps(route) + "\n",
        group="www-data",
        kind="route",
        validate="json",
    )
