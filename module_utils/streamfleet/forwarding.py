"""What a node has of a service that another node has by now: its ports, from which all is sent on. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from .engine import File, Instance, RenderError

#: As an instance is called beside its service: ``<slug>+forward``.
NAME = "forward"
FOLDER = "/etc/streamfleet/instances/forward"
#: In which the program runs, which is no tenant's: tenants' processes reach no private network.
GROUP = "streamfleet-forward"


def instances(service: Mapping[str, Any]) -> list[Instance]:
    """The instance that forwards the service's ports; none where it has not moved. Raises RenderError."""
    forward = service.get("forward")
    # Without ports of its own a service is sent on by its engine's server, which its renderer tells.
    if service["state"] != "moved" or not forward or "ports" not in forward:
        return []
    address, pairs = forward.get("address"), forward.get("ports")
    if not isinstance(address, str) or not address or not address.isprintable() or " " in address:
        raise RenderError("forward.address", address, "is not an address")
    if not isinstance(pairs, list) or not pairs:
        raise RenderError("forward.ports", pairs, "is not a list of pairs of ports")
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_port(port) for port in pair):
            raise RenderError("forward.ports", pair, "is not a pair of ports from 1024 to 65535")
    content = json.dumps({"address": address, "ports": pairs}) + "\n"
    slug = service["slug"]
    return [
        Instance(
            slug=slug,
            engine=NAME,
            companion=True,
            uid=service["uid"],
            generation=service["generation"],
            state="running",
            unit=f"streamfleet-forward@{slug}.service",
            files=[File(f"{FOLDER}/{slug}/forward.json", content, group=GROUP, validate="json")],
            fingerprints={"restart": hashlib.sha256(content.encode()).hexdigest()[:32], "reload": ""},
        )
    ]


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1024 <= value <= 65535
