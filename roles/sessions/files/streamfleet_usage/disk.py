"""What lies in folders of tenants, counted bit by bit: nobody's many files are in the way of others' being counted."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

#: Seconds between two counts of a folder; one that takes long is counted more rarely: so much of the time at most.
AGAIN, SHARE = 300.0, 0.02
#: Entries between two looks at the clock.
AT_ONCE = 100
#: Levels of folders, and files and folders of one folder, that are counted: of more it is known that there is as much.
MOST_DEEP, MOST_FILES = 32, 500_000


def sizes(folder: Path) -> Iterator[int]:
    """Bytes of every entry below that are really on the disk: nothing where it is no file, since folders take time to
    look through like files. No link is followed, and each folder is entered from
    the one above, so that none that is replaced meanwhile leads anywhere else."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    opened: list[tuple[int, Iterator[os.DirEntry[str]]]] = []
    try:
        with contextlib.suppress(OSError):
            _enter(opened, os.open(folder, flags))
        while opened:
            place, entries = opened[-1]
            try:
                entry = next(entries, None)
            except OSError:
                entry = None
            if entry is None:
                _leave(opened)
                continue
            size = 0
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    # One with holes is as large as what was written of it.
                    size = min(found.st_size, found.st_blocks * 512)
                elif stat.S_ISDIR(found.st_mode) and len(opened) < MOST_DEEP:
                    _enter(opened, os.open(entry.name, flags, dir_fd=place))
            yield size
    finally:
        while opened:
            _leave(opened)


def _enter(opened: list[tuple[int, Iterator[os.DirEntry[str]]]], folder: int) -> None:
    try:
        opened.append((folder, os.scandir(folder)))
    except OSError:
        os.close(folder)


def _leave(opened: list[tuple[int, Iterator[os.DirEntry[str]]]]) -> None:
    folder, entries = opened.pop()
    entries.close()  # type: ignore[attr-defined]
    os.close(folder)


class Disk:
    """Folders that are counted again and again."""

    def __init__(self) -> None:
        self._found: dict[Path, int] = {}
        self._due: dict[Path, float] = {}
        self._counting: tuple[Path, Iterator[int]] | None = None
        self._bytes = self._entries = 0
        self._spent = 0.0

    def bytes(self, folder: Path) -> int | None:
        """What was in it when it was last counted; None where it has not been yet."""
        return self._found.get(folder)

    def recall(self, folder: Path, size: int) -> None:
        """What an earlier process has found, until it is counted anew."""
        self._found.setdefault(folder, size)

    def count(self, folders: list[Path], seconds: float) -> None:
        """Count those that are due, for about so long."""
        begun = time.monotonic()
        for known in (self._found, self._due):
            for folder in known.keys() - set(folders):
                del known[folder]
        waiting = sorted(folders, key=lambda folder: self._due.get(folder, 0.0))
        while time.monotonic() - begun < seconds:
            if self._counting is None:
                if not waiting or self._due.get(waiting[0], 0.0) > begun:
                    return
                folder = waiting.pop(0)
                self._counting = folder, sizes(folder)
                self._bytes = self._entries = 0
                self._spent = 0.0
            self._go_on()

    def _go_on(self) -> None:
        assert self._counting is not None
        folder, left = self._counting
        begun = time.monotonic()
        some = list(itertools.islice(left, AT_ONCE))
        self._bytes += sum(some)
        self._entries += len(some)
        now = time.monotonic()
        self._spent += now - begun
        if len(some) < AT_ONCE or self._entries >= MOST_FILES:
            left.close()  # type: ignore[attr-defined]
            self._found[folder] = self._bytes
            self._due[folder] = now + max(AGAIN, self._spent / SHARE)
            self._counting = None
