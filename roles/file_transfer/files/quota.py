"""Ends uploads of customers whose libraries are over their limits, while they are being written.

ProFTPD adds up what is uploaded, and cuts FTP over TLS where the limit is. It sees an SFTP upload only when that is
over, and several uploads at a time do not see each other; and it does not ask how many directories and empty files
there are when they come by SFTP. So this looks, about once a second, at what is really on the disk of those customers
who write now, and now and then of those who are logged in; it has nothing to do where nobody is.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import resource
import signal
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
#: What bounds memory and open files, whatever is in libraries: one folder is open for each level, with 32 KiB (glibc).
#: Libraries with more levels cannot be counted. So many are counted by turns, of customers who write and of others; the
#: rest waits.
MOST_DEEP, MOST_WRITING, MOST_IDLE = 32, 48, 16
#: Files that may be open: those folders, and some.
MOST_OPEN = 4096


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


class Found(NamedTuple):
    """What a library holds: bytes, and files and directories."""

    bytes: int
    entries: int


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
    """Bytes of every file and every directory below, as ProFTPD counts them. Links are not followed.

    Depth first, so that nothing but one open folder for each level is kept. Raises OSError where that are too many.
    """
    opened: list[Any] = []
    try:
        _enter(opened, folder)
        while opened:
            entry = _next(opened[-1])
            if entry is None:
                opened.pop().close()
                continue
            with contextlib.suppress(FileNotFoundError):
                yield entry.stat(follow_symlinks=False).st_size
            if entry.is_dir(follow_symlinks=False):
                _enter(opened, entry.path)
    finally:
        for entries in opened:
            entries.close()


def _enter(opened: list[Any], folder: str) -> None:
    if len(opened) >= MOST_DEEP:
        raise OSError(errno.ENAMETOOLONG, f"more than {MOST_DEEP} folders lie within each other")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # deleted, or another thing, meanwhile
        opened.append(os.scandir(folder))


def _next(entries: Iterator[os.DirEntry[str]]) -> os.DirEntry[str] | None:
    try:
        return next(entries, None)
    except FileNotFoundError:
        return None


class Count:
    """A library that is being counted, by turns with others: a large one must not hold them up."""

    def __init__(self, uid: int, limit: Limit) -> None:
        self.uid = uid
        self.limit = limit
        self.bytes = 0
        self.entries = 0
        self.spent = 0.0
        #: Sessions that this count has ended already, and whether as sessions that write.
        self.told: set[tuple[int, bool]] = set()
        self._left = _sizes(f"{LIBRARIES}/{uid}")

    @property
    def full(self) -> bool:
        """Whether what has been counted so far is too much already."""
        return self.bytes > self.limit.bytes or self.entries > self.limit.entries

    @property
    def found(self) -> Found:
        """What has been counted so far."""
        return Found(self.bytes, self.entries)

    def grown(self, before: Found | None) -> bool:
        """Whether there is more than too much, and more than there was. Counting on cannot take that back."""
        return before is not None and (
            self.bytes > max(self.limit.bytes, before.bytes) or self.entries > max(self.limit.entries, before.entries)
        )

    def go_on(self, seconds: float) -> bool:
        """Count on for about so long; whether all is counted now."""
        begun = now = time.monotonic()
        done = False
        try:
            while not done and now - begun < seconds:
                some = list(itertools.islice(self._left, AT_ONCE))
                self.entries += len(some)
                self.bytes += sum(some)
                done = len(some) < AT_ONCE
                now = time.monotonic()
        finally:
            self.spent += time.monotonic() - begun
        return done


class Over(NamedTuple):
    """Sessions to end: those that write to a library that is full, or all of a customer who makes still more."""

    uid: int
    pids: list[int]
    writing: bool


class Watch:
    """Who is logged in, whose library is being counted, and when each is counted next.

    ``end_all`` ends sessions, and says how many were still there.
    """

    def __init__(self, end_all: Callable[[Over], int]) -> None:
        self._end_all = end_all
        self.sessions = Sessions({}, {}, {})
        self._counts: dict[int, Count] = {}
        #: Who is here, or has been since the last count began: what is made in a session that is over soon is counted,
        #: too.
        self._uncounted: set[int] = set()
        #: Not to be counted before; whoever comes back meanwhile is not counted earlier.
        self._due: dict[int, float] = {}
        #: Of those who were over when last counted to the end: whoever has more since then makes more.
        self._before: dict[int, Found] = {}
        #: Of those who had more then, and were gone already: the next session ends for it.
        self._owed: dict[int, Found] = {}

    def look(self, now: float) -> dict[int, list[int]]:
        """See who is there, and begin to count. Returns sessions to end at once, by uid."""
        before, self.sessions = self.sessions, sessions()
        for uid in self.sessions.writing.keys() - before.writing.keys():
            # Whoever begins to write is not left waiting for the turn of one who does not.
            self._due.pop(uid, None)
        self._due = {uid: due for uid, due in self._due.items() if due > now}
        self._uncounted.update(self.sessions.all)
        if not self._uncounted:
            return {}
        most = limits()
        self._uncounted &= most.keys()
        for known in (self._before, self._owed):
            for uid in known.keys() - most.keys():
                del known[uid]
        for uid in self._uncounted - self._counts.keys() - self._due.keys():
            self._counts[uid] = Count(uid, most[uid])
            if uid not in self.sessions.all:
                self._uncounted.discard(uid)
        # A file without a name is in no library: it is not seen how large it gets.
        return {
            uid: pids for uid, pids in self.sessions.nameless.items() if uid in most and most[uid].bytes < float("inf")
        }

    def count(self, until: float) -> None:
        """Count by turns until that time, or until all is counted; ends at once whoever is over."""
        for uid in self._owed.keys() & self.sessions.all.keys():
            if self._end_all(Over(uid, self.sessions.all[uid], writing=False)):
                self._before[uid] = self._owed.pop(uid)
        while (count := self._turn(until)) is not None:
            try:
                done = count.go_on(TURN)
            except OSError as error:
                # Paths that are too long, say: what cannot be counted is not let grow, and holds up nobody else.
                print(f"sf{count.uid}: its library cannot be counted: {error.strerror}", file=sys.stderr, flush=True)
                self._put_off(count)
                writing = count.uid in self.sessions.writing
                kind = self.sessions.writing if writing else self.sessions.all
                self._end_all(Over(count.uid, kind.get(count.uid, []), writing))
                continue
            self._judge(count)
            if done:
                self._finish(count)
            else:
                self._counts[count.uid] = self._counts.pop(count.uid)  # the others' turn

    def _turn(self, until: float) -> Count | None:
        """Who is counted next; None when it is time to look again, or nobody is left.

        Those who write come first. The others get what is left, and one turn at the end, so that nobody who writes
        all the time keeps them from being counted at all.
        """
        now = time.monotonic()
        if now >= until:
            return None
        writer, idle = self._first(True, MOST_WRITING), self._first(False, MOST_IDLE)
        if writer is None or (idle is not None and now >= until - 2 * TURN):
            return idle
        return writer

    def _first(self, writing: bool, most: int) -> Count | None:
        """The one of a kind whose turn it is. No more are begun than may be, also when the begun ones change kind."""
        kind = [count for uid, count in self._counts.items() if (uid in self.sessions.writing) == writing]
        begun = sum(count.spent > 0 for count in kind)
        all_begun = sum(count.spent > 0 for count in self._counts.values())
        may_begin = begun < most and all_begun < MOST_WRITING + MOST_IDLE
        return next((count for count in kind if count.spent > 0 or may_begin), None)

    def _judge(self, count: Count) -> None:
        """End sessions for what has been counted so far, each once."""
        writing = not count.grown(self._before.get(count.uid))
        if writing and not count.full:
            return
        kind = self.sessions.writing if writing else self.sessions.all
        pids = [pid for pid in kind.get(count.uid, []) if (pid, writing) not in count.told]
        if pids and self._end_all(Over(count.uid, pids, writing)):
            count.told.update((pid, writing) for pid in pids)

    def _finish(self, count: Count) -> None:
        """Remember what a count to the end has found."""
        self._put_off(count)
        self._owed.pop(count.uid, None)
        ended = any(not writing for _pid, writing in count.told)
        if not count.full:
            self._before.pop(count.uid, None)
        elif count.grown(self._before.get(count.uid)) and not ended:
            self._owed[count.uid] = count.found
        else:
            self._before[count.uid] = count.found

    def _put_off(self, count: Count) -> None:
        del self._counts[count.uid]
        share = SHARE if count.uid in self.sessions.writing else SHARE_IDLE
        self._due[count.uid] = time.monotonic() + count.spent / share


def main() -> None:
    """Look for ever. Ends with an error where the limits cannot be read: the unit is started again, and says so."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_OPEN if hard == resource.RLIM_INFINITY else min(MOST_OPEN, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    watch = Watch(_end_all)
    while True:
        begun = time.monotonic()
        for uid, pids in watch.look(begun).items():
            _end_all(Over(uid, pids, writing=True))
        # Where looking takes long, there is time to count all the same.
        watch.count(max(begun + PAUSE, time.monotonic() + PAUSE / 2))
        time.sleep(max(begun + PAUSE - time.monotonic(), 0.05))


def _end_all(over: Over) -> int:
    ended = sum(end(pid, over.uid, over.writing) for pid in over.pids)
    if ended:
        what = "over its disk quota" if over.writing else "over its disk quota, and makes still more"
        print(f"sf{over.uid}: {what}, ended {ended} sessions", file=sys.stderr, flush=True)
    return ended


if __name__ == "__main__":
    main()
