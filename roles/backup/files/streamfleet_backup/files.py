"""What lies on the disk: every file below the roots, with its hash. No link is followed."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from .errors import BackupError
from .settings import SCRATCH

PIECE = 1 << 20
RACY = 2_000_000_000
#: Tenants' users have the same number on every node, whether they are there yet or not.
TENANTS = range(200_000, 300_000)


@dataclass(frozen=True)
class Entry:
    """One thing on the disk.

    ``kind``: file, directory or link. ``owner``, ``group``: names, or numbers of who has none. ``mtime``: nanoseconds.
    ``ctime``: nanoseconds, of this host alone: whoever owns a file sets its mtime as he likes, and this one he cannot.
    ``sha256``: of a file's content or a link's target; None where it changed while it was stored.
    """

    path: str
    kind: str
    mode: int
    owner: str
    group: str
    size: int
    mtime: int
    sha256: str | None
    ctime: int = 0

    @property
    def same(self) -> tuple[Any, ...]:
        """What must be equal after a restore. The time of a folder is that of whoever wrote into it last."""
        return (self.path, self.kind, self.mode, self.owner, self.group, self.size, self.sha256)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is true of it on another disk, too."""
        return {name: value for name, value in asdict(self).items() if name != "ctime"}


@dataclass
class Counted:
    """What a walk found besides its entries."""

    skipped: int = 0
    hashed_bytes: int = 0


class Hashes:
    """SHA-256 of files, remembered by device, inode, size and ctime."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._base = self._open(path)
        except sqlite3.DatabaseError:
            # It is a memory of what can be computed again.
            path.unlink(missing_ok=True)
            self._base = self._open(path)

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        base = sqlite3.connect(path)
        base.execute(
            "CREATE TABLE IF NOT EXISTS contents (device INTEGER, inode INTEGER, size INTEGER, ctime INTEGER,"
            " sha256 TEXT, seen INTEGER DEFAULT 0, PRIMARY KEY (device, inode))"
        )
        base.execute("DROP TABLE IF EXISTS hashes")
        base.execute("UPDATE contents SET seen = 0")
        return base

    def of(self, descriptor: int, found: os.stat_result, tell: Callable[[int], None]) -> str:
        """The hash of an open file that looked like ``found``; ``tell`` hears of each piece that had to be read."""
        key = (found.st_dev, found.st_ino)
        known = self._base.execute(
            "SELECT size, ctime, sha256 FROM contents WHERE device = ? AND inode = ?", key
        ).fetchone()
        if known and known[:2] == (found.st_size, found.st_ctime_ns):
            self._base.execute("UPDATE contents SET seen = 1 WHERE device = ? AND inode = ?", key)
            return str(known[2])
        digest = hashlib.sha256()
        while piece := os.read(descriptor, PIECE):
            digest.update(piece)
            tell(len(piece))
        # A file that was written a moment ago may be written again within the same tick of the clock.
        if time.time_ns() - found.st_ctime_ns > RACY:
            self._base.execute(
                "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?, 1)",
                (*key, found.st_size, found.st_ctime_ns, digest.hexdigest()),
            )
        return digest.hexdigest()

    def forget_unseen(self) -> None:
        """Forget files that this walk, which has come to its end, did not meet."""
        self._base.execute("DELETE FROM contents WHERE seen = 0")

    def close(self) -> None:
        """Keep what is known."""
        self._base.commit()
        self._base.close()


def walk(
    roots: Iterable[str],
    hashes: Hashes,
    tell: Callable[[int], None] = lambda _bytes: None,
    counted: Counted | None = None,
) -> Iterator[Entry]:
    """Entries of all roots, a folder before what is in it. Raises BackupError for what cannot be read."""
    counted = counted if counted is not None else Counted()

    def heard(count: int) -> None:
        counted.hashed_bytes += count
        tell(count)

    for root in roots:
        try:
            found = os.lstat(root)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(found.st_mode):
            yield from _one(str(Path(root).parent), Path(root).name, None, hashes, heard, counted)
            continue
        yield _entry(root, "directory", found, 0, None)
        for folder, names, files, descriptor in os.fwalk(root, onerror=_refuse, follow_symlinks=False):
            if folder == root and SCRATCH in names:
                names.remove(SCRATCH)
            names.sort()
            for name in sorted([*names, *files]):
                yield from _one(folder, name, descriptor, hashes, heard, counted)


def _one(
    folder: str, name: str, descriptor: int | None, hashes: Hashes, tell: Callable[[int], None], counted: Counted
) -> Iterator[Entry]:
    path = f"{folder}/{name}"
    at = name if descriptor is not None else path
    try:
        found = os.stat(at, dir_fd=descriptor, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            yield _entry(path, "directory", found, 0, None)
        elif stat.S_ISLNK(found.st_mode):
            target = os.fsencode(os.readlink(at, dir_fd=descriptor))
            yield _entry(path, "link", found, len(target), hashlib.sha256(target).hexdigest())
        elif stat.S_ISREG(found.st_mode):
            opened = os.open(at, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
            try:
                found = os.fstat(opened)
                if not stat.S_ISREG(found.st_mode):
                    counted.skipped += 1
                    return
                yield _entry(path, "file", found, found.st_size, hashes.of(opened, found, tell))
            finally:
                os.close(opened)
        else:
            # Sockets and pipes are made by whoever listens on them.
            counted.skipped += 1
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        _refuse(error, path)


def _entry(path: str, kind: str, found: os.stat_result, size: int, sha256: str | None) -> Entry:
    mode = stat.S_IMODE(found.st_mode)
    return Entry(
        path, kind, mode, user(found.st_uid), group(found.st_gid), size, found.st_mtime_ns, sha256, found.st_ctime_ns
    )


def changed_since(entry: Entry) -> Entry | None:
    """The entry, without its hash where the file is another by now; None where it has gone."""
    try:
        found = os.lstat(entry.path)
    except OSError:
        return None
    if entry.kind == "file" and (found.st_size, found.st_ctime_ns) != (entry.size, entry.ctime):
        return replace(entry, sha256=None)
    return entry


def _refuse(error: OSError, path: str = "") -> None:
    if isinstance(error, FileNotFoundError):
        return
    raise BackupError(f"{path or error.filename} cannot be read ({error.strerror}). Nothing was stored.") from None


@cache
def user(number: int) -> str:
    """Name of a user, or the number where it is a tenant's or nobody's."""
    if number in TENANTS:
        return str(number)
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@cache
def group(number: int) -> str:
    """Likewise of a group."""
    if number in TENANTS:
        return str(number)
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


@cache
def uid(name: str) -> int:
    """Number of a user of this host. Raises BackupError where there is none."""
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise BackupError(
            f"user {name}, who owns what is to be put back, is not on this host. Run install.yml first."
        ) from None


@cache
def gid(name: str) -> int:
    """Likewise of a group."""
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise BackupError(
            f"group {name}, to whom is to be put back what it had, is not on this host. Run install.yml first."
        ) from None
