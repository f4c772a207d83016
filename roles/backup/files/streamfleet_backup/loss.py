"""What this host had and has no more: a disk that is not mounted, a key that is lost.

A backup of the rest is not whole. Tenants come and go, and so do their files: fewer of
them are no fault as long as their folder is the one that it was.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import BackupError
from .settings import Settings

#: Of so few files it says nothing that half of them have gone.
FEW = 10
ACCEPT = "If that is meant, run backup.yml with -e backup_accept_missing=yes, once."


def refuse_unmounted(settings: Settings, undone: str) -> None:
    """Raises BackupError where a disk is to be mounted at or above a root, and is not. ``undone``: said at the end."""
    for path, unit in unmounted(settings):
        raise BackupError(
            f"no disk is mounted at {path}, and {unit} is to mount one there. Run systemctl restart {unit}, or remove"
            f" it (or the line of /etc/fstab) if no disk belongs there. {undone}"
        )


def unmounted(settings: Settings) -> Iterator[tuple[str, str]]:
    """(folder, unit) of disks that systemd has to mount at or above a root, and that are not there."""
    mounted = None
    for path in sorted({str(each) for root in settings.roots for each in (Path(root), *Path(root).parents)} - {"/"}):
        unit = f"{_escaped(path)}.mount"
        if not any((folder / unit).exists() for folder in settings.mount_units):
            continue
        if mounted is None:
            mounted = _mounted(settings.mountinfo)
        if path not in mounted:
            yield path, unit


def _escaped(path: str) -> str:
    """As systemd-escape --path writes it."""
    inner = re.sub(
        rb"[^A-Za-z0-9:_.\-/]|-", lambda found: b"\\x%02x" % found[0][0], os.fsencode(path).strip(b"/")
    ).replace(b"/", b"-")
    return os.fsdecode(b"\\x2e" + inner[1:] if inner.startswith(b".") else inner)


def _mounted(mountinfo: Path) -> set[str]:
    """Folders at which something is mounted (proc_pid_mountinfo(5))."""
    found = set()
    for line in mountinfo.read_bytes().splitlines():
        place = line.split(b" ")[4]
        found.add(os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda each: bytes([int(each[1], 8)]), place)))
    return found


def remembered(settings: Settings, counts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Root → ``{"files", "place"}`` of those that are there, for the next backup to compare with.

    ``place``: which folder it is, on which file system.
    """
    found = {}
    for root in settings.roots:
        try:
            number, system = os.lstat(root).st_ino, os.statvfs(root).f_fsid
        except OSError:
            continue
        found[root] = {"files": counts[root]["files"], "place": f"{system:x} {number}"}
    return found


def compare(settings: Settings, now: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """What the backup before had and this one has not: faults, and warnings. ``now``: as ``remembered`` tells it."""
    try:
        before = dict(json.loads((settings.data / "last.json").read_text())["roots"])
    except (OSError, ValueError, KeyError, TypeError):
        return [], []
    own = {path for part in settings.parts if part.units or part.reload for path in part.paths}
    optional = {path for part in settings.parts for path in part.optional}
    faults: list[str] = []
    warnings: list[str] = []
    for root in settings.roots:
        had, has = before.get(root), now.get(root)
        if had is None:
            continue
        if has is None:
            (warnings if root in optional else faults).append(f"{root} is not there")
        elif had["files"] and not has["files"] and root in own:
            faults.append(f"{root} is empty, and had {had['files']} files")
        elif had["files"] >= FEW and has["files"] < had["files"] / 2 and root not in own:
            less = f"{root} has {has['files']} files, and had {had['files']}"
            if has["place"] != had["place"]:
                faults.append(f"{less}; it is another folder or disk than before")
            else:
                warnings.append(f"{less} in the backup before")
        elif had["files"] and not has["files"] and has["place"] != had["place"]:
            faults.append(f"{root} is empty, and had {had['files']} files; it is another folder or disk than before")
    return faults, warnings
