"""Renders the relays of a station: data of a fixed program. See docs/contracts.md."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from streamfleet import guard
from streamfleet.engine import File, Instance, RenderError
from streamfleet.relays import mount_of, password_of

COMPANION = "relay"
INSTANCES = "/etc/streamfleet/instances/relay"
DATA = "/var/lib/streamfleet/services"
GROUP = "streamfleet-relay"

MOST_RELAYS = 16
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
USERNAME = re.compile(r"[!-9;-~]{1,64}")
PASSWORD = re.compile(r"[!-~]{1,128}")
SCHEMES = {"in": ("http", "https"), "out": ("icecast", "icecasts")}
RANGES = {"silence_seconds": (5, 300), "reconnect_seconds": (1, 3600)}

#: In diffs: the password, the old one as well as the new.
MASK = r'(?<="password": ")(?:[^"\\]|\\.)*(?=")'


def render(service: Mapping[str, Any], node: Mapping[str, Any]) -> list[Instance]:
    """The one instance that runs all relays of ``service``; none where it has no relay.

    Raises RenderError, never with a password.
    """
    del node
    relays = service.get("relays") or []
    if not relays:
        return []
    if len(relays) > MOST_RELAYS:
        raise RenderError("relays", len(relays), f"are more than {MOST_RELAYS}: delete some")
    slug, uid = service["slug"], service["uid"]
    folder, group = f"{INSTANCES}/{slug}", f"sf{uid}"
    password = password_of(service)
    settings = _json({"port": service["port"], "password": password})
    data = _json(_relays(service, relays))
    return [
        Instance(
            slug=slug,
            engine=COMPANION,
            companion=True,
            # What the firewall opens for relays is open to this group's processes, and to no other of the tenant's.
            group=GROUP,
            uid=uid,
            generation=service["generation"],
            state=service["state"],
            reason=service.get("reason") or "",
            unit=f"streamfleet-relay@{slug}.service",
            restart=service["restart"],
            files=[
                File(f"{folder}/settings.json", settings, group=group, validate="json", mask=MASK),
                # Of a file of this kind nothing is shown: it holds what others' servers are logged in to with.
                File(f"{folder}/relays.json", data, group=group, kind="key", validate="json"),
            ],
            ports=[service["port"]],
            fingerprints={
                # Relays are read again when their file changes.
                "restart": _fingerprint(service["port"], uid, password),
                "reload": "",
            },
        )
    ]


def _relays(service: Mapping[str, Any], items: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The relays as their program reads them, checked."""
    mounts = {mount["name"]: mount for mount in service["settings"]["mounts"]}
    live = _live(service)
    made: list[dict[str, Any]] = []
    names: set[str] = set()
    fed: set[str] = set()
    for number, item in enumerate(items):
        where = f"relays[{number}]"
        _check(item, where)
        if item["name"] in names:
            raise RenderError(f"{where}.name", item["name"], "is the name of another relay too")
        names.add(item["name"])
        mount = mounts.get(item["mount"])
        if mount is None:
            raise RenderError(f"{where}.mount", item["mount"], "is not a mount of this service")
        incoming = item["direction"] == "in"
        if incoming and item["enabled"]:
            if item["mount"] in fed:
                raise RenderError(f"{where}.mount", item["mount"], "is relayed into by another relay already")
            fed.add(item["mount"])
        keys = (
            "name",
            "direction",
            "address",
            "username",
            "password",
            "enabled",
            "silence_seconds",
            "reconnect_seconds",
        )
        made.append(
            {
                **{key: item[key] for key in keys},
                "mount": mount_of(item["mount"]) if incoming else item["mount"],
                "format": mount.get("format") or "mp3",
                # While somebody is on the air there, this one steps aside.
                "live": live if incoming and item["djs_first"] else None,
                "title": service["name"],
                # What listeners of the station log in with; a relay out is one of them.
                "listener_password": None if incoming else service["credentials"].get("listener_password") or None,
            }
        )
    return made


def _check(item: Mapping[str, Any], where: str) -> None:
    """What the panel has checked, once more: these go into requests."""
    if not isinstance(item["name"], str) or not NAME.fullmatch(item["name"]):
        raise RenderError(f"{where}.name", item["name"], "is not a name of lower-case letters, digits and hyphens")
    if item["direction"] not in SCHEMES:
        raise RenderError(f"{where}.direction", item["direction"], "is neither in nor out")
    try:
        guard.place_of(item["address"], SCHEMES[item["direction"]])
    except guard.Refused as refused:
        # It may hold a log-in.
        shown = None if "@" in str(item["address"]) else item["address"]
        raise RenderError(f"{where}.address", shown, refused.message) from None
    if item["username"] is not None and not USERNAME.fullmatch(item["username"]):
        raise RenderError(f"{where}.username", item["username"], "is not ASCII without spaces and colons")
    if item["password"] is not None and not PASSWORD.fullmatch(item["password"]):
        raise RenderError(f"{where}.password", "(hidden)", "is not 1 to 128 characters of ASCII without spaces")
    for key, (lowest, highest) in RANGES.items():
        value = item[key]
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise RenderError(f"{where}.{key}", value, f"is not a number from {lowest} to {highest}")


def _live(service: Mapping[str, Any]) -> str | None:
    """Where the way in for DJs says who is on the air; None where there is no such way."""
    autodj, port = service["settings"].get("autodj"), service["settings"].get("live_port")
    if autodj is None or port is None or not autodj.get("enabled", True):
        return None
    return f"{DATA}/{service['slug']}/live/live.json"


def _fingerprint(*values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def _json(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
