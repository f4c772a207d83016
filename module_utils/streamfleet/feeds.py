"""What an AutoDJ feeds its station with: one hidden mount for every distinct encoding.

Both renderers ask here, so that the station offers exactly the mounts that the AutoDJ sends to. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .engine import RenderError

#: Bitrates of MPEG-1 layer III, kbit/s: LAME encodes at no other at 44.1 kHz.
MP3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
#: Format → lowest and highest bitrate in kbit/s that its encoder takes at 44.1 kHz stereo.
RANGES = {"mp3": (MP3[0], MP3[-1]), "aac": (32, 320), "ogg": (48, 480), "opus": (16, 510)}
#: Format → bitrate where the mount names none.
USUAL = {"mp3": 128, "aac": 128, "ogg": 128, "opus": 96}


@dataclass(frozen=True)
class Feed:
    """One encoding: the hidden mount, its format, its bitrate (None: lossless) and the mounts that fall back to it."""

    mount: str
    format: str
    bitrate_kbps: int | None
    serves: tuple[str, ...]


def autodj_on(service: Mapping[str, Any]) -> bool:
    """Whether the service's AutoDJ shall play while the service is on the air."""
    autodj = service["settings"].get("autodj")
    return bool(autodj and autodj.get("enabled", True))


def feeds_of(service: Mapping[str, Any]) -> list[Feed]:
    """The feeds of a service with mounts, in the order of its mounts; none where its AutoDJ is off.

    A mount with a fallback of its own is left to that. Raises RenderError where a mount has a feed's name.
    """
    if not autodj_on(service):
        return []
    mounts: Sequence[Mapping[str, Any]] = service["settings"]["mounts"]
    serves: dict[tuple[str, str, int | None], list[str]] = {}
    for mount in mounts:
        if mount.get("fallback"):
            continue
        kind = mount.get("format") or "mp3"
        bitrate = _bitrate(kind, mount.get("bitrate_kbps"), service["limits"].get("max_bitrate_kbps"))
        name = f"/autodj-{kind}" if bitrate is None else f"/autodj-{kind}-{bitrate}"
        serves.setdefault((name, kind, bitrate), []).append(mount["name"])
    feeds = [Feed(name, kind, bitrate, tuple(names)) for (name, kind, bitrate), names in serves.items()]
    hidden = {feed.mount for feed in feeds}
    for number, mount in enumerate(mounts):
        if mount["name"] in hidden:
            raise RenderError(
                f"settings.mounts[{number}].name", mount["name"], "is the AutoDJ's own: give the mount another name"
            )
    return feeds


def _bitrate(kind: str, announced: int | None, limit: int | None) -> int | None:
    """The bitrate to encode with, near the announced one, for a format that has one."""
    if kind not in RANGES:
        return None
    low, high = RANGES[kind]
    wanted = announced or min(USUAL[kind], limit or USUAL[kind])
    wanted = min(max(wanted, low), high)
    if kind == "mp3":
        return max(rate for rate in MP3 if rate <= wanted)
    return wanted
