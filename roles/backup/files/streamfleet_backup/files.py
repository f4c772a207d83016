"""What lies on the disk: every file below the roots, with its hash. No link is followed."""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import pwd
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from .errors import BackupError
from .settings import SCRATCH

PIECE = 1 << 20
RACY = 2_000_000_000
#: Tenants' users have the same number on every node, whether they are there yet or not.
TENANTS = range(200_000, 300_000)
#: Folders inside each other, counted from a root, of which something is stored. A level costs a file descriptor.
DEEPEST = 64
#: Bytes of a path. The kernel takes 4095, and a restore puts the folder in which it assembles files before each.
LONGEST = 3900
#: So many paths that are too long are kept from restic by name. Of others it may store some, which nothing promises.
NAMED = 100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
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
        return {name: getattr(self, name) for name in WRITTEN}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Entry:
        """One of a manifest; words that thousands have are kept once, and what a restore does not ask for is not kept.

        Raises KeyError or TypeError.
        """
        kind, owner, group = (sys.intern(told[name]) for name in ("kind", "owner", "group"))
        mode = _MODES.setdefault(told["mode"], told["mode"])
        return cls(told["path"], kind, mode, owner, group, told["size"], 0, told["sha256"])


#: What the manifest says of each.
WRITTEN = ("path", "kind", "mode", "owner", "group", "size", "mtime", "sha256")
_MODES: dict[int, int] = {}


@dataclass
class Counted:
    """What a walk found besides its entries. ``left_out``: how many were too deep or too long; ``long``: the first."""

    skipped: int = 0
    hashed_bytes: int = 0
    left_out: int = 0
    first: str = ""
    long: list[str] = field(default_factory=list)

    def leave_out(self, path: str, long: bool) -> None:
        """Count what is not stored since no restore could put it back."""
        self.left_out += 1
        self.first = self.first or path
        if long and len(self.long) < NAMED:
            self.long.append(path)


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
    """Entries of all roots, a folder before what is in it. Raises BackupError for what cannot be read.

    What lies deeper than ``DEEPEST`` or has a path longer than ``LONGEST`` is counted, and not gone into.
    """
    counted = counted if counted is not None else Counted()

    def heard(count: int) -> None:
        counted.hashed_bytes += count
        tell(count)

    for root in roots:
        try:
            found = os.lstat(root)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(found.st_mode):
            yield _entry(root, "directory", found, 0, None)
            yield from _below(root, hashes, heard, counted)
        else:
            yield from _one(str(Path(root).parent), Path(root).name, None, hashes, heard, counted)


def _below(root: str, hashes: Hashes, tell: Callable[[int], None], counted: Counted) -> Iterator[Entry]:
    """What is in a root. Each folder is opened in the one that it was found in, so that nobody leads out of it."""
    # Descriptor, path and the names that are left, of the folder that is read and of those around it.
    around: list[tuple[int, str, Iterator[str]]] = []

    def enter(path: str, name: str, parent: int | None) -> None:
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            # Of what was a folder a moment ago, and is a link.
            if error.errno != errno.ELOOP:
                _refuse(error, path)
            return
        around.append((descriptor, path, iter(())))
        around[-1] = (descriptor, path, iter(_names(descriptor, path, counted, len(around))))

    try:
        enter(root, root, None)
        while around:
            descriptor, folder, names = around[-1]
            name = next(names, None)
            if name is None:
                os.close(around.pop()[0])
                continue
            for entry in _one(folder, name, descriptor, hashes, tell, counted):
                yield entry
                if entry.kind == "directory":
                    enter(entry.path, name, descriptor)
    finally:
        for descriptor, _path, _names_left in around:
            os.close(descriptor)


def _names(descriptor: int, path: str, counted: Counted, depth: int) -> list[str]:
    """Names in a folder of that depth, without those that are left out."""
    try:
        names = sorted(os.listdir(descriptor))
    except OSError as error:
        _refuse(error, path)
        return []
    if depth == 1 and SCRATCH in names:
        names.remove(SCRATCH)
    if depth > DEEPEST:
        if names:
            counted.leave_out(path, long=False)
        return []
    # A name has 255 bytes at most.
    room = LONGEST - len(os.fsencode(path)) - 1
    if room < 255:
        for name in [name for name in names if len(os.fsencode(name)) > room]:
            counted.leave_out(f"{path}/{name}", long=True)
            names.remove(name)
    return names


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
    mode = _MODES.setdefault(mode, mode)
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
