"""Where the lines come from: the web server's log of streams, and the journal for what Icecast writes."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from streamfleet_sessions.lines import LONGEST_LINE, Request, of_icecast, of_web

#: What is read at a time.
PIECE = 1 << 19
#: Seconds for which a log that was renamed may grow: until all processes of the web server have opened the new one.
REOPENED = 10.0
#: Seconds until a journal that has ended is opened again.
AGAIN = 5.0


class Log:
    """A log that is rotated by renaming. ``place``: inode and offset of what has been read, for a later process."""

    def __init__(self, path: Path, place: list[int] | None) -> None:
        self._path = path
        self.place = place
        self._file: int | None = None
        self._due: float | None = None

    def requests(self) -> Iterator[Request]:
        """What is new, to the end of what is there; of a new file once nothing more comes into the one before."""
        while True:
            if self._file is None and not self._open():
                return
            # Before the last look at what is there, not after it.
            over = self._is_over()
            yield from self._rest()
            if not over:
                return
            self._close()
            self.place = [0, 0]

    def _open(self) -> bool:
        if self.place is None:
            # The first time: what was before is not counted.
            with contextlib.suppress(FileNotFoundError):
                found = self._path.stat()
                self.place = [found.st_ino, found.st_size]
            self.place = self.place or [0, 0]
        for path in (self._path.with_name(self._path.name + ".1"), self._path):
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            found = os.fstat(file)
            if path == self._path or found.st_ino == self.place[0]:
                if found.st_ino != self.place[0] or found.st_size < self.place[1]:
                    self.place = [found.st_ino, 0]
                if found.st_ino == self.place[0]:
                    self._file = file
                    return True
            os.close(file)
        return False

    def _rest(self) -> Iterator[Request]:
        assert self._file is not None
        assert self.place is not None
        while True:
            inode, offset = self.place
            piece = os.pread(self._file, PIECE, offset)
            whole = piece.rfind(b"\n") + 1
            if not whole:
                if len(piece) < PIECE:
                    return
                whole = len(piece)
            for line in piece[:whole].splitlines(keepends=True):
                request = of_web(line.rstrip(b"\n"), f"{inode}:{offset}")
                offset += len(line)
                if request is not None:
                    yield request
            self.place = [inode, offset]

    def _is_over(self) -> bool:
        """Whether the file was renamed, and it is long enough ago that the one in its place has lines."""
        if not self._rotated():
            self._due = None
        elif self._due is None:
            self._due = time.monotonic() + REOPENED
        return self._due is not None and time.monotonic() >= self._due

    def _rotated(self) -> bool:
        assert self._file is not None
        assert self.place is not None
        here = os.fstat(self._file)
        if here.st_size < self.place[1]:
            self.place = [here.st_ino, 0]
            return False
        try:
            found = self._path.stat()
            return found.st_ino != here.st_ino and found.st_size > 0
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = self._due = None


class Journal:
    """What Icecast's processes write. ``cursor``: the last entry that has been read, for a later process."""

    COMMAND = (
        *("/usr/bin/journalctl", "--quiet", "--follow", "--no-tail"),
        *("--output=json", "--output-fields=MESSAGE,_SYSTEMD_UNIT"),
    )

    def __init__(self, cursor: str | None) -> None:
        self.cursor = cursor
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._due = 0.0

    def requests(self, seconds: float) -> Iterator[Request]:
        """What comes within ``seconds``."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._process is None and not self._start():
                time.sleep(min(left, 1.0))
                continue
            assert self._process is not None
            assert self._process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(self._process.stdout, selectors.EVENT_READ)
                if not selector.select(left):
                    return
            piece = os.read(self._process.stdout.fileno(), PIECE)
            if not piece:
                self.stop()
                continue
            *lines, self._rest = (self._rest + piece).split(b"\n")
            if len(self._rest) > 4 * LONGEST_LINE:
                self._rest = b""
            for line in lines:
                request = self._entry(line)
                if request is not None:
                    yield request

    def _entry(self, line: bytes) -> Request | None:
        try:
            found = json.loads(line)
            cursor, written = str(found["__CURSOR"]), int(found["__REALTIME_TIMESTAMP"]) / 1e6
            unit, message = found.get("_SYSTEMD_UNIT"), found.get("MESSAGE")
        except (ValueError, KeyError, TypeError):
            return None
        self.cursor = cursor
        if isinstance(message, list):
            # So the journal writes what is no text.
            with contextlib.suppress(ValueError, TypeError):
                message = bytes(message).decode("utf-8", "replace")
        if not isinstance(message, str) or not isinstance(unit, str):
            return None
        return of_icecast(unit, message, cursor, written)

    def _start(self) -> bool:
        if time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + AGAIN
        # The first time: what was before is not counted.
        since = f"--after-cursor={self.cursor}" if self.cursor else f"--since=@{int(time.time())}"
        # The name of the program is the kernel's word, and so is the unit: no tenant's.
        match = ("_TRANSPORT=stdout", "_COMM=icecast2", "_COMM=icecast")
        self._process = subprocess.Popen(
            [*self.COMMAND, since, *match], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        return True

    def stop(self) -> None:
        """End journalctl."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        print("journalctl has ended, and is started again", file=sys.stderr, flush=True)
        self._process, self._rest = None, b""
