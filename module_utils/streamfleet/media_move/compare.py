"""Whether a copy is the same: by what is there of every file, and by the content of some."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import MoveError

#: A file system makes it at its root; it is nobody's.
SKIPPED = "lost+found"


@dataclass(frozen=True)
class Counts:
    """Of libraries. ``bytes``: sizes of files."""

    files: int = 0
    folders: int = 0
    bytes: int = 0


def entries(root: Path) -> Iterator[tuple[str, os.stat_result, str]]:
    """Path below ``root``, status and target (of a link) of everything there, by path. Raises OSError.

    But for devices, pipes and sockets, which are not copied.
    """
    folders = [""]
    while folders:
        inside = folders.pop()
        with os.scandir(root / inside) as found:
            names = sorted(entry.name for entry in found)
        for name in names:
            path = f"{inside}{name}"
            if path == SKIPPED:
                continue
            status = (root / path).lstat()
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
                continue
            yield path, status, str((root / path).readlink()) if stat.S_ISLNK(status.st_mode) else ""
            if stat.S_ISDIR(status.st_mode):
                folders.append(f"{path}/")


def count(root: Path) -> Counts:
    """How much there is; what goes while it is counted is passed over."""
    files = folders = size = 0
    for folder, names, there in os.walk(root):
        folders += len(names)
        for name in there:
            try:
                size += os.lstat(f"{folder}/{name}").st_size
            except OSError:
                continue
            files += 1
    return Counts(files, folders, size)


def equal(source: Path, target: Path) -> Counts:
    """What both hold. Raises MoveError, naming the first path, where it is not the same."""
    files = folders = size = 0
    there = entries(target)
    for path, status, link in entries(source):
        other, status_there, link_there = next(there, ("", None, ""))
        if other != path or status_there is None:
            raise MoveError(f"the copy is not the same: {path!r} is there, and in the copy {other!r} comes next")
        if (told := _told(status, link)) != (told_there := _told(status_there, link_there)):
            raise MoveError(f"the copy is not the same: {path!r} is {told}, and in the copy {told_there}")
        if stat.S_ISDIR(status.st_mode):
            folders += 1
        else:
            files, size = files + 1, size + status.st_size
    if left := next(there, None):
        raise MoveError(f"the copy is not the same: {left[0]!r} is in the copy only")
    return Counts(files, folders, size)


def changed_since(root: Path, since: float) -> str:
    """A path below ``root`` of something other than a folder that was written since (seconds since 1970), or empty."""
    found = (
        path for path, status, _link in entries(root) if not stat.S_ISDIR(status.st_mode) and status.st_ctime > since
    )
    return next(found, "")


def _told(status: os.stat_result, link: str) -> str:
    # Bits that would lend somebody's rights are not copied.
    text = f"{stat.filemode(status.st_mode & ~(stat.S_ISUID | stat.S_ISGID))} of {status.st_uid}:{status.st_gid}"
    if stat.S_ISDIR(status.st_mode):
        return text
    when = "" if stat.S_ISLNK(status.st_mode) else f" of {status.st_mtime_ns}"
    return f"{text}, {status.st_size} bytes{when} {link}".rstrip()


def sample(source: Path, target: Path, most_files: int = 200, most_bytes: int = 2**29) -> int:
    """Compare the contents of some files, by chance. Returns how many. Raises MoveError where one is not the same.

    What is changed meanwhile is passed over: it is copied again, and compared then by its time and size.
    """
    chosen: list[tuple[str, int]] = []
    for number, (path, status, _link) in enumerate(entries(source)):
        if not stat.S_ISREG(status.st_mode):
            continue
        if len(chosen) < most_files:
            chosen.append((path, status.st_size))
        elif (place := random.randrange(number + 1)) < most_files:  # noqa: S311
            chosen[place] = (path, status.st_size)
    random.shuffle(chosen)
    compared, left = 0, most_bytes
    for path, size in chosen:
        if size > left and compared:
            continue
        if _same_content(source / path, target / path):
            compared += 1
            left -= size
    return compared


def _same_content(one: Path, other: Path) -> bool:
    """Whether both could be compared, and are the same. Raises MoveError where they are not."""
    before = _stamp(one), _stamp(other)
    if None in before or before[0] != before[1]:
        return False
    try:
        same = _digest(one) == _digest(other)
    except FileNotFoundError:
        return False
    if not same and (_stamp(one), _stamp(other)) == before:
        raise MoveError(f"the copy of {one} has another content. Look at both disks: journalctl -k")
    return same


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _digest(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
