"""Which folders a service's files are in, and where a transfer notes what it needs."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..node_apply.host import Host

BASE = "/var/lib/streamfleet"
#: Settings of the way in, on the node that gives; gone at a restart of the host.
GIVING = "/run/streamfleet-transfer"
#: What a node knows of a transfer, until it is at its end: the key, whose the folders are, what was replaced. Root's.
NOTES = f"{BASE}/transfer"

#: So many files of several may go at once without being asked for.
FEW = 2

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


def measured(host: Host, folders: Iterable[str]) -> dict[str, Measure]:
    """By folder, what is in those that there are; of files that go meanwhile nothing, and of what is not copied."""
    found = {}
    for folder in there(host, folders):
        files = size = 0
        for parent, _folders, names in os.walk(host.path(f"{BASE}/{folder}")):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    status = (Path(parent) / name).lstat()
                    if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                        size += status.st_size
                        files += 1
        found[folder] = Measure(files, size)
    return found


def addresses_of(names: Iterable[str]) -> list[str]:
    """The addresses of hosts, which may be names. Raises CopyError."""
    found: set[str] = set()
    for name in names:
        try:
            found |= {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
        except (OSError, UnicodeError):
            raise CopyError(f"addresses: this node does not find {name!r}: correct its address in the panel") from None
    return sorted(found)


def total(measures: Mapping[str, Measure]) -> Measure:
    """All of them together."""
    return Measure(sum(one.files for one in measures.values()), sum(one.bytes for one in measures.values()))


def lost(more: Mapping[str, int], fewer: Mapping[str, int]) -> list[str]:
    """Folders of which a copy is there, and the other side has none or by far fewer files: no work of a moment.

    ``more`` and ``fewer``: by folder how many files there are; ``fewer`` is what would be the only copy.
    """
    found = []
    for folder, files in more.items():
        left = fewer.get(folder)
        if files and left is None:
            found.append(f"{BASE}/{folder} ({files} files) is not there")
        elif files and left is not None and (not left or (left * 2 < files and files - left > FEW)):
            found.append(f"{BASE}/{folder} has {left} files there, and {files} here")
    return found
