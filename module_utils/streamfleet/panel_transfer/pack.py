"""What goes from one host to the other, in one file of root's: the database's dump, files with their owners, a list."""

from __future__ import annotations

import grp
import hashlib
import io
import json
import os
import pwd
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from .. import durable
from ..node_apply.host import Host
from .places import TransferError

LIST, DUMP = "list.json", "dump"
_PIECE = 1 << 20


def write(host: Host, place: str, paths: Iterable[str], dump: Path | None, told: dict[str, Any]) -> dict[str, Any]:
    """Write it; its ``sha256`` and ``bytes``. Of a path that ends in a slash the folder goes, and nothing in it.

    Raises TransferError for what is neither file nor folder.
    """
    target = host.path(place)
    target.unlink(missing_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        text = json.dumps(told).encode()
        entry = tarfile.TarInfo(LIST)
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
        for path in paths:
            archive.add(host.path(path), path.strip("/"), recursive=not path.endswith("/"), filter=_plain)
        for file in sorted(dump.iterdir()) if dump else []:
            archive.add(file, f"{DUMP}/{file.name}", filter=_plain)
    return {"sha256": digest(target), "bytes": target.stat().st_size}


def digest(place: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    with place.open("rb") as stream:
        while piece := stream.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def told(host: Host, place: str) -> dict[str, Any]:
    """What its writer says of it. Raises TransferError."""
    try:
        with tarfile.open(host.path(place)) as archive:
            stream = archive.extractfile(LIST)
            found: dict[str, Any] = json.load(stream) if stream else {}
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise TransferError(f"{place} cannot be read ({error}). Run panel_transfer.yml again") from None
    return found


def dumped(host: Host, place: str, folder: Path) -> None:
    """Put the dump's files into ``folder``."""
    with tarfile.open(host.path(place)) as archive:
        for entry in archive:
            if entry.isreg() and entry.name.startswith(f"{DUMP}/"):
                _file(archive, entry, folder / Path(entry.name).name, None)


def differing(host: Host, place: str, wanted: Callable[[str], bool]) -> list[str]:
    """Those that ``put`` would change."""
    with tarfile.open(host.path(place)) as archive:
        return [
            path
            for path, entry in _wanted(archive, wanted)
            if not entry.isdir() and not _same(archive, entry, host.path(path), _owner(entry) if host.own else None)
        ]


def put(host: Host, place: str, wanted: Callable[[str], bool]) -> list[str]:
    """Put files with these paths into their places, each whole or not at all; those that have changed.

    Who is not known here owns nothing: that is root's until the host is installed.
    """
    changed = []
    with tarfile.open(host.path(place)) as archive:
        for path, entry in _wanted(archive, wanted):
            target = host.path(path)
            owner = _owner(entry) if host.own else None
            if entry.isdir():
                _folder(entry, target, owner)
            elif not _same(archive, entry, target, owner):
                target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                _file(archive, entry, target, owner)
                changed.append(path)
    os.sync()
    return changed


def _wanted(archive: tarfile.TarFile, wanted: Callable[[str], bool]) -> Iterator[tuple[str, tarfile.TarInfo]]:
    for entry in archive:
        path = f"/{entry.name}"
        if entry.name != LIST and not entry.name.startswith(f"{DUMP}/") and wanted(path):
            yield path, entry


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    if not (entry.isreg() or entry.isdir()):
        raise TransferError(f"/{entry.name} is neither a file nor a folder. Take it from there, and run again")
    return entry


def _owner(entry: tarfile.TarInfo) -> tuple[int, int]:
    try:
        user = pwd.getpwnam(entry.uname).pw_uid
    except KeyError:
        user = 0
    try:
        return user, grp.getgrnam(entry.gname).gr_gid
    except KeyError:
        return user, 0


def _folder(entry: tarfile.TarInfo, target: Path, owner: tuple[int, int] | None) -> None:
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if owner:
        os.chown(target, *owner, follow_symlinks=False)
    target.chmod(entry.mode)


def _same(archive: tarfile.TarFile, entry: tarfile.TarInfo, target: Path, owner: tuple[int, int] | None) -> bool:
    try:
        found = target.lstat()
        have = target.read_bytes() if found.st_size == entry.size and not target.is_symlink() else None
    except OSError:
        return False
    stream = archive.extractfile(entry)
    alike = found.st_mode & 0o7777 == entry.mode and (owner is None or (found.st_uid, found.st_gid) == owner)
    return alike and stream is not None and have == stream.read()


def _file(archive: tarfile.TarFile, entry: tarfile.TarInfo, target: Path, owner: tuple[int, int] | None) -> None:
    source = archive.extractfile(entry)
    with durable.replacing(target, entry.mode, owner) as stream:
        while source and (piece := source.read(_PIECE)):
            stream.write(piece)
