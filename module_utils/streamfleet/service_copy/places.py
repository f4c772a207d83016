"""Which folders a service's files are in, and where a transfer notes what it needs."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..node_apply.host import Host

BASE = "/var/lib/streamfleet"
#: Settings of the way in, on the node that gives; gone at a restart of the host.
GIVING = "/run/streamfleet-transfer"
#: Key and host key, on the node that gets; root's alone.
GETTING = f"{BASE}/transfer"

_ID = re.compile(r"[0-9]{1,18}")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_FOLDER = re.compile(r"(?:services/[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?|media(?:-index)?/2[0-9]{5})")


class CopyError(ValueError):
    """What cannot be done, for people: names what is wrong, and what to do."""


@dataclass(frozen=True)
class Measure:
    """What is in folders: plain files, and their bytes."""

    files: int = 0
    bytes: int = 0


def number_of(transfer: str) -> str:
    """``transfer`` if it is a transfer's number. Raises CopyError."""
    if not _ID.fullmatch(transfer):
        raise CopyError(f"transfer: {transfer!r} is not the number of a transfer")
    return transfer


def folders_of(services: Iterable[str], uids: Iterable[int]) -> list[str]:
    """Folders below ``BASE`` of services, by their slugs, and of libraries, by their owners' uids. Raises CopyError."""
    found = []
    for slug in services:
        if not _SLUG.fullmatch(slug):
            raise CopyError(f"services: {slug!r} is not a slug")
        found.append(f"services/{slug}")
    for uid in uids:
        if not 200000 <= uid <= 299999:
            raise CopyError(f"libraries: {uid} is not the uid of a tenant, from 200000 to 299999")
        found += [f"media/{uid}", f"media-index/{uid}"]
    return found


def checked(folders: Iterable[str]) -> list[str]:
    """``folders`` if each is a service's or a library's. Raises CopyError."""
    found = list(folders)
    for folder in found:
        if not _FOLDER.fullmatch(folder):
            raise CopyError(f"folders: {folder!r} is not a folder of a service or of a library")
    return found


def there(host: Host, folders: Iterable[str]) -> list[str]:
    """Those of the folders that there are; links are none."""
    found = []
    for folder in folders:
        place = host.path(f"{BASE}/{folder}")
        if place.is_dir() and not place.is_symlink():
            found.append(folder)
    return found


def measured(host: Host, folders: Iterable[str]) -> Measure:
    """What is in the folders that there are; of files that go meanwhile nothing."""
    files = size = 0
    for folder in there(host, folders):
        for parent, _folders, names in os.walk(host.path(f"{BASE}/{folder}")):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    size += (Path(parent) / name).lstat().st_size
                    files += 1
    return Measure(files, size)
