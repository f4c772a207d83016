"""File systems that we write to: room, inodes, and whether they can be written."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import ERROR, WARNING, Finding

PLACES = (
    "/",
    "/etc",
    "/run",
    "/tmp",  # noqa: S108  (looked at)
    "/var",
    "/var/lib",
    "/var/log",
    "/var/lib/streamfleet",
    "/var/lib/streamfleet/panel",
    "/var/lib/streamfleet-backup",
    "/var/lib/postgresql",
    "/var/lib/mysql",
    "/run/streamfleet/hls",
)
_OURS = ("/var/lib/streamfleet", "/run/streamfleet", "/var/log")
#: Bytes below which a file system is full whatever the share, and shares from which on it is nearly or quite.
_LITTLE = 64 * 2**20
_NEARLY, _FULL = 90, 98


def gather(host: Host, _about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """Mount point → ``used`` (whole percent, as df), ``free`` (bytes), ``inodes_used`` (percent), ``read_only``."""
    mounts = _mounts(host)
    points = {max((mount for mount in mounts if _below(place, mount)), key=len, default="/") for place in PLACES}
    points |= {mount for mount in mounts if any(_below(mount, ours) for ours in _OURS)}
    found = {}
    for point in sorted(points):
        with contextlib.suppress(OSError):
            space = os.statvfs(host.path(point))
            used, total = space.f_blocks - space.f_bfree, space.f_blocks - space.f_bfree + space.f_bavail
            found[point] = {
                "used": -(-used * 100 // total) if total else 0,
                "free": space.f_bavail * space.f_frsize,
                "size": total * space.f_frsize,
                "inodes_used": -(-(space.f_files - space.f_favail) * 100 // space.f_files) if space.f_files else 0,
                "read_only": bool(space.f_flag & os.ST_RDONLY),
                "type": mounts.get(point, ""),
            }
    return {
        "mounts": found,
        "hls": "/run/streamfleet/hls" in mounts,
        "rtmp": host.path("/etc/streamfleet/rtmp").is_dir(),
    }


def _mounts(host: Host) -> dict[str, str]:
    """Mount point → type. Those that bind a part of another one read-only, as libraries for Wowza, are left out."""
    found = {}
    for line in host.path("/proc/mounts").read_text().splitlines():
        fields = line.split()
        if len(fields) > 3:
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1])
            if not point.startswith("/run/streamfleet/wowzamedia"):
                found[point] = fields[2]
    return found


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules; of a file system the worst."""
    found = []
    for point, it in facts["disk"]["mounts"].items():
        mb, share = it["free"] // 2**20, it["used"]
        what = "HLS segments" if point == "/run/streamfleet/hls" else "what is written there"
        look = f"du -xhd1 {point} | sort -h | tail says what takes it."
        if it["read_only"]:
            cause = (
                f"The file system {point} can be read only, so nothing can be saved there. Likely its disk has failed."
            )
            found.append(
                Finding(
                    "disk.read_only",
                    point,
                    cause,
                    f"{point} ({it['type']}) is mounted ro",
                    f"dmesg says why. Once the disk is well: mount -o remount,rw {point}.",
                )
            )
        elif it["size"] and (share >= _FULL or it["free"] < min(_LITTLE, it["size"] // 4)):
            found.append(
                Finding(
                    "disk.full",
                    point,
                    f"The disk is full: {what} is lost or refused.",
                    f"{point}: {share}% used, {mb} MiB free",
                    look,
                )
            )
        elif it["inodes_used"] >= _FULL:
            found.append(
                Finding(
                    "disk.inodes",
                    point,
                    f"{point} has no room for further files, though it has room: its inodes are used up.",
                    f"{it['inodes_used']}% of inodes used",
                    f"du --inodes -xd1 {point} | sort -n | tail says who has so many files.",
                )
            )
        elif share >= _NEARLY or it["inodes_used"] >= _NEARLY:
            words = f"{share}% of {point} used, {mb} MiB free; {it['inodes_used']}% of inodes"
            found.append(Finding("disk.nearly", point, f"{point} is nearly full.", words, look, WARNING))
    if facts["disk"]["rtmp"] and not facts["disk"]["hls"]:
        found.append(
            Finding(
                "disk.hls",
                "/run/streamfleet/hls",
                "The memory for HLS segments is not mounted, so video channels are not served.",
                "/run/streamfleet/hls is no mount point",
                "systemctl start run-streamfleet-hls.mount, then streamfleet-rtmp.service.",
                ERROR,
                (
                    ("systemctl", "restart", "run-streamfleet-hls.mount"),
                    ("systemctl", "restart", "streamfleet-rtmp.service"),
                ),
            )
        )
    return found
