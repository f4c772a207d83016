"""What a restore would do, before it does anything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import files, manifest
from .errors import BackupError
from .restic import megabytes

SHOWN = 50
#: Room that is left to others on a file system.
RESERVE = 100_000_000


@dataclass
class Plan:
    """Entries of the backup by what is to be done with them.

    ``missing`` are not on this host, ``different`` differ, ``owners`` in owners or modes only, ``same`` are
    as they should be. ``elsewhere``: roots of the backup that this host has not. ``kept``: there, and changing when
    they were stored.
    """

    missing: list[files.Entry] = field(default_factory=list)
    different: list[files.Entry] = field(default_factory=list)
    owners: list[files.Entry] = field(default_factory=list)
    same: int = 0
    kept: int = 0
    extra: int = 0
    stay: set[str] = field(default_factory=set)
    elsewhere: list[str] = field(default_factory=list)

    @property
    def work(self) -> list[files.Entry]:
        """What is to be put back, folders before what is in them."""
        return sorted([*self.missing, *self.different], key=lambda entry: entry.path)

    def told(self) -> dict[str, Any]:
        """For people and playbooks; ``conflicts_more``: how many conflicts are not named."""
        conflicts = sorted(entry.path for entry in [*self.different, *self.owners])
        return {
            "missing": len(self.missing),
            "missing_bytes": sum(entry.size for entry in self.missing),
            "different": len(conflicts),
            "conflicts": conflicts[:SHOWN],
            "conflicts_more": max(0, len(conflicts) - SHOWN),
            "same": self.same,
            "kept": self.kept,
            "extra": self.extra,
            "elsewhere": self.elsewhere,
        }


def make(
    entries: Iterable[files.Entry],
    roots: Sequence[str],
    now: Iterable[files.Entry],
    own: Sequence[str] = (),
) -> Plan:
    """Compare a manifest's entries with what is on the disk, within ``roots``.

    ``own``: roots in which a file that differs stays as it is, since it has gone on from what was put back there.
    """
    plan = Plan()
    left = {entry.path: entry for entry in entries if manifest.under(entry.path, roots)}
    for there in now:
        entry = left.pop(there.path, None)
        if entry is None:
            plan.extra += 1
        elif there.same == entry.same:
            plan.same += 1
        elif there.kind == entry.kind == "file" and (entry.sha256 is None or manifest.under(entry.path, own)):
            plan.kept += 1
            plan.stay.add(entry.path)
        elif (there.kind, there.size, there.sha256) == (
            entry.kind,
            entry.size,
            entry.sha256,
        ) and entry.kind != "directory":
            plan.owners.append(entry)
        else:
            plan.different.append(entry)
    plan.missing = list(left.values())
    return plan


def elsewhere(stored: Sequence[str], roots: Sequence[str]) -> list[str]:
    """Roots of a backup that this host has not."""
    return sorted(root for root in stored if not manifest.under(root, roots))


def room(plan: Plan, roots: Sequence[str], more: Mapping[str, int] | None = None) -> None:
    """Raises BackupError where a file system is too small for what would come onto it.

    ``more``: folder → bytes that come into it besides.
    """
    needed: dict[int, list[Any]] = {}

    def need(path: str, size: int) -> None:
        at = path
        while not Path(at).exists():
            at = str(Path(at).parent)
        found = needed.setdefault(Path(at).stat().st_dev, [at, 0])
        found[1] += size

    for entry in plan.work:
        root = next(root for root in roots if manifest.under(entry.path, [root]))
        need(root, entry.size if entry.kind == "file" else 4096)
    for path, size in (more or {}).items():
        need(path, size)
    for at, size in needed.values():
        disk = os.statvfs(at)
        free = disk.f_bavail * disk.f_frsize
        if size + RESERVE > free:
            raise BackupError(
                f"the file system of {at} has {megabytes(free)} free; {megabytes(size + RESERVE)} needed. Make room,"
                " or restore onto a larger disk. Nothing was changed."
            )


def owners_known(plan: Plan) -> None:
    """Raises BackupError where somebody to whom something belongs is not on this host."""
    for entry in [*plan.work, *plan.owners]:
        files.uid(entry.owner)
        files.gid(entry.group)
