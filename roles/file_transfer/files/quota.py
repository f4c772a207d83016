"""Ends uploads of customers whose libraries are over their limits, while they are being written.

ProFTPD adds up what is uploaded, and cuts FTP over TLS where the limit is. It sees an SFTP upload only when that is
over, and several uploads at a time do not see each other; and it does not ask how many directories and empty files
there are when they come by SFTP. So this looks, about once a second, at what is really on the disk of those customers
who write now, and now and then of those who are logged in; it has nothing to do where nobody is.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LIMITS = "/etc/streamfleet/file-transfer/limits"
LIBRARIES = "/var/lib/streamfleet/media"
UNIT = "streamfleet-file-transfer.service"
FIRST_UID, LAST_UID = 200000, 299999
#: A record of ProFTPD's table of limits: name, kind, per session, hard, bytes (in, out, both), files (likewise).
RECORD = struct.Struct("<81siBi3d3I")
MAGIC = struct.pack("<I", 0x07626)
PAUSE = 1.0
#: Large libraries are counted more rarely: counting takes at most so much of the time.
SHARE = 0.1
#: The same for customers who are logged in and seem to write nothing.
SHARE_IDLE = 0.02
#: So long is one library counted before it is the next one's turn, and so much of it between two looks at the time.
TURN, AT_ONCE = 0.02, 100


class Limit(NamedTuple):
    """What a customer may store: bytes, infinity where there is no such limit, and files and directories."""

    bytes: float
    entries: float


def limits() -> dict[int, Limit]:
    """The customers' limits, by uid."""
    raw = Path(LIMITS).read_bytes()
    if not raw.startswith(MAGIC):
        raise ValueError(f"{LIMITS} is no table of limits: run converge.yml for this node")
    found = {}
    for start in range(len(MAGIC), len(raw) - RECORD.size + 1, RECORD.size):
        name, _kind, _session, _hard, most, _out, _both, entries, *_rest = RECORD.unpack_from(raw, start)
        word = name.rstrip(b"\0").decode("ascii")
        if word[2:].isdigit():
            found[int(word[2:])] = Limit(most or float("inf"), entries or float("inf"))
    return found


class Sessions(NamedTuple):
    """Process ids of sessions, by the customer's uid."""

    all: dict[int, list[int]]
    #: With a file open to write.
    writing: dict[int, list[int]]
    #: With such a file that has no name.
    nameless: dict[int, list[int]]


def sessions() -> Sessions:
    """Who is logged in now."""
    found = Sessions({}, {}, {})
    for folder in Path("/proc").glob("[0-9]*"):
        uid = customer_of(folder)
        if uid is None:
            continue
        links = _written(folder, uid)
        for kind, belongs in ((found.all, True), (found.writing, bool(links)), (found.nameless, 0 in links)):
            if belongs:
                kind.setdefault(uid, []).append(int(folder.name))
    return found


def customer_of(process: Path) -> int | None:
    """The customer whose session a process is; None for any other process."""
    try:
        # Who owns the folder does not tell: that of a process that has changed its user is root's.
        lines = (process / "status").read_text("ascii", "replace").splitlines()
        uid = next(int(line.split()[2]) for line in lines if line.startswith("Uid:"))
        ours = f"/{UNIT}\n" in (process / "cgroup").read_text("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return uid if ours and FIRST_UID <= uid <= LAST_UID else None


def _written(process: Path, uid: int) -> list[int]:
    """How many names each file has that is open to write."""
    links = []
    try:
        for opened in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = opened.stat()
                if not stat.S_ISREG(status.st_mode) or status.st_uid != uid:
                    continue
                lines = (process / "fdinfo" / opened.name).read_text("ascii").splitlines()
                flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
                if flags & os.O_ACCMODE != os.O_RDONLY:
                    links.append(status.st_nlink)
    except (FileNotFoundError, ProcessLookupError):
        return []
    return links


def end(pid: int, uid: int, writing: bool = True) -> bool:
    """End a session, if the process is still one of that customer's (and writes, if it should); whether it was.

    Its number may be another's by now. It is held while that is looked at, so that it cannot become so then.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        process = Path(f"/proc/{pid}")
        if customer_of(process) != uid or (writing and not _written(process, uid)):
            return False
        signal.pidfd_send_signal(handle, signal.SIGTERM)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _sizes(folder: str) -> Iterator[int]:
    """Bytes of every file and every directory below, as ProFTPD counts them. Links are not followed."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.stat(follow_symlinks=False).st_size
        except (FileNotFoundError, NotADirectoryError):
            continue  # deleted, or another thing, meanwhile


class Count:
    """A library that is being counted, by turns with others: a large one must not hold them up."""

    def __init__(self, uid: int, limit: Limit, whole: bool = False) -> None:
        self.uid = uid
        self.limit = limit
        #: Counted to its end, however much it is.
        self.whole = whole
        self.bytes = 0
        self.entries = 0
        self.spent = 0.0
        self._left = _sizes(f"{LIBRARIES}/{uid}")

    @property
    def full(self) -> bool:
        """Whether what has been counted so far is too much already."""
        return self.bytes > self.limit.bytes or self.entries > self.limit.entries

    def go_on(self, seconds: float) -> bool:
        """Count on for about so long; whether it is known now if the library is full."""
        begun = now = time.monotonic()
        done = False
        while not done and now - begun < seconds:
            some = list(itertools.islice(self._left, AT_ONCE))
            self.entries += len(some)
            self.bytes += sum(some)
            done = len(some) < AT_ONCE or (self.full and not self.whole)
            now = time.monotonic()
        self.spent += now - begun
        return done


class Watch:
    """Who is logged in, whose library is being counted, and when each is counted next."""

    def __init__(self) -> None:
        self.sessions = Sessions({}, {}, {})
        self._counts: dict[int, Count] = {}
        self._due: dict[int, float] = {}
        #: Entries of those who were over, when they were last counted: whoever has more of them since then makes more.
        self._entries: dict[int, int] = {}

    def look(self, now: float) -> dict[int, list[int]]:
        """See who is there, and begin to count. Returns sessions to end at once, by uid."""
        before, self.sessions = self.sessions, sessions()
        present, writing = self.sessions.all, self.sessions.writing
        for kept in (self._counts, self._due):
            for uid in kept.keys() - present.keys():
                del kept[uid]
        for uid in writing.keys() - before.writing.keys():
            # Whoever begins to write is not left waiting for the turn of one who does not.
            self._due.pop(uid, None)
        if not present:
            return {}
        most = limits()
        for uid in present:
            if uid in most and uid not in self._counts and self._due.get(uid, 0.0) <= now:
                self._counts[uid] = Count(uid, most[uid], whole=uid not in writing)
        # A file without a name is in no library: it is not seen how large it gets.
        return {
            uid: pids for uid, pids in self.sessions.nameless.items() if uid in most and most[uid].bytes < float("inf")
        }

    def count(self, until: float) -> Iterator[int]:
        """Count by turns until that time, or until all is counted; says at once of each customer who is over."""
        while self._counts and time.monotonic() < until:
            for count in list(self._counts.values()):
                try:
                    done, over = count.go_on(TURN), count.full
                except OSError as error:
                    # Paths that are too long, say: what cannot be counted is not let grow, and holds up nobody else.
                    print(
                        f"sf{count.uid}: its library cannot be counted: {error.strerror}", file=sys.stderr, flush=True
                    )
                    done = over = True
                else:
                    if count.uid not in self.sessions.writing:
                        over = done and self._grown(count)
                if done or over:
                    del self._counts[count.uid]
                    share = SHARE if count.uid in self.sessions.writing else SHARE_IDLE
                    self._due[count.uid] = time.monotonic() + count.spent / share
                if over:
                    yield count.uid

    def _grown(self, count: Count) -> bool:
        """Whether there are more files and directories than allowed, and more than the last time."""
        if count.entries <= count.limit.entries:
            self._entries.pop(count.uid, None)
            return False
        before = self._entries.get(count.uid, count.entries)
        self._entries[count.uid] = count.entries
        return count.entries > before


def main() -> None:
    """Look for ever. Ends with an error where the limits cannot be read: the unit is started again, and says so."""
    watch = Watch()
    while True:
        begun = time.monotonic()
        for uid, pids in watch.look(begun).items():
            _end_all(uid, pids)
        for uid in watch.count(begun + PAUSE):
            if uid in watch.sessions.writing:
                _end_all(uid, watch.sessions.writing[uid])
            else:
                _end_all(uid, watch.sessions.all.get(uid, []), writing=False)
        time.sleep(max(begun + PAUSE - time.monotonic(), 0.05))


def _end_all(uid: int, pids: list[int], writing: bool = True) -> None:
    ended = sum(end(pid, uid, writing) for pid in pids)
    if ended:
        what = "over its disk quota" if writing else "makes more files and directories than it may have"
        print(f"sf{uid}: {what}, ended {ended} sessions", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
