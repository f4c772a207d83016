"""Ends uploads of customers whose libraries are over their limits, while they are being written.

ProFTPD adds up what is uploaded, and cuts FTP over TLS where the limit is. It sees an SFTP upload only when that is
over, and several uploads at a time do not see each other. So this looks, about once a second, at what is really on the
disk of those customers who write now; it has nothing to do where nobody writes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

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


def limits() -> dict[int, float]:
    """Bytes that customers may store, by uid; who has no limit is not in it."""
    raw = Path(LIMITS).read_bytes()
    if not raw.startswith(MAGIC):
        raise ValueError(f"{LIMITS} is no table of limits: run converge.yml for this node")
    found = {}
    for start in range(len(MAGIC), len(raw) - RECORD.size + 1, RECORD.size):
        name, _kind, _session, _hard, most, *_rest = RECORD.unpack_from(raw, start)
        word = name.rstrip(b"\0").decode("ascii")
        if word[2:].isdigit() and most > 0:
            found[int(word[2:])] = most
    return found


def writers() -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Sessions (process ids, by the customer's uid) with a file open to write; and those whose file has no name."""
    found: dict[int, list[int]] = {}
    nameless: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # Who owns the folder does not tell: that of a process that has changed its user is root's.
            lines = (folder / "status").read_text("ascii", "replace").splitlines()
            uid = next(int(line.split()[2]) for line in lines if line.startswith("Uid:"))
            if not FIRST_UID <= uid <= LAST_UID:
                continue
            if f"/{UNIT}\n" not in (folder / "cgroup").read_text("ascii", "replace"):
                continue
            links = _written(folder, uid)
            if links:
                found.setdefault(uid, []).append(int(folder.name))
            if 0 in links:
                nameless.setdefault(uid, []).append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found, nameless


def _written(process: Path, uid: int) -> list[int]:
    """How many names each file has that is open to write."""
    links = []
    for opened in (process / "fd").iterdir():
        try:
            status = opened.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_uid != uid:
                continue
            lines = (process / "fdinfo" / opened.name).read_text("ascii").splitlines()
            flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
        except FileNotFoundError:
            continue
        if flags & os.O_ACCMODE != os.O_RDONLY:
            links.append(status.st_nlink)
    return links


def used(uid: int) -> int:
    """Bytes of all files in the customer's library. Links are not followed."""
    return sum(_sizes(f"{LIBRARIES}/{uid}"))


def _sizes(folder: str) -> Iterator[int]:
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        with contextlib.suppress(FileNotFoundError):
                            yield entry.stat(follow_symlinks=False).st_size
        except (FileNotFoundError, NotADirectoryError):
            continue  # deleted, or another thing, meanwhile


def look(due: dict[int, float], now: float) -> dict[int, list[int]]:
    """Sessions to end, by uid; ``due`` is when each customer is counted next, and is updated."""
    writing, nameless = writers()
    for uid in due.keys() - writing.keys():
        del due[uid]
    if not writing:
        return {}
    most = limits()
    # A file without a name is in no library: it is not seen how large it gets.
    over: dict[int, list[int]] = {uid: pids for uid, pids in nameless.items() if uid in most}
    for uid, sessions in writing.items():
        if uid not in most or due.get(uid, 0.0) > now:
            continue
        begun = time.monotonic()
        try:
            full = used(uid) > most[uid]
        except OSError as error:
            # Paths that are too long, say: what cannot be counted is not let grow, and holds up nobody else.
            print(f"sf{uid}: its library cannot be counted: {error.strerror}", file=sys.stderr, flush=True)
            full = True
        if full:
            over[uid] = sessions
        due[uid] = now + (time.monotonic() - begun) / SHARE
    return over


def main() -> None:
    """Look for ever. Ends with an error where the limits cannot be read: the unit is started again, and says so."""
    due: dict[int, float] = {}
    while True:
        for uid, sessions in look(due, time.monotonic()).items():
            for pid in sessions:
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    continue
            print(f"sf{uid}: over its disk quota, ended {len(sessions)} uploads", file=sys.stderr, flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
