"""Let Wowza read a folder of this user's media library: ``library SLUG``.

Runs as the customer's own user, whose the files are; so it can open nothing that is not the customer's. What is put
there later inherits the right; what is moved there gets it the next time. Links are not followed. A channel that plays
no library has no file here, and nothing is done.

Only what becomes of the folder itself is this program's success: files come and go meanwhile, there may be more than
can be looked at in time, and a channel that plays most of them is better than one that is off the air.
"""

import errno
import json
import os
import pwd
import re
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PLACE = Path("/etc/streamfleet/instances/wowzalibrary")
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
USER = "streamfleet-wowza"
#: Seconds for what is in a folder that is new to Wowza, and for what may have been moved into one that is not.
FIRST, AGAIN = 60.0, 10.0

# Access control lists as the kernel takes them (linux/posix_acl_xattr.h), each entry a tag, rights and a number.
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
HEAD, ENTRY, VERSION = struct.Struct("<I"), struct.Struct("<HHI"), 2
OWNER, NAMED_USER, GROUP, NAMED_GROUP, MASK, OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
BASE = (OWNER, GROUP, OTHERS)
NOBODY = 0xFFFFFFFF
READ, PASS = 4, 1

Entries = dict[tuple[int, int], int]


class Rights:
    """What the user with this uid may do with files, and how it is let do more."""

    def __init__(self, uid: int) -> None:
        self._user = (NAMED_USER, uid)

    def has(self, path: str, kind: str, rights: int) -> bool:
        """Whether the list of this kind gives all of ``rights``. Raises OSError."""
        entries = _read(path, kind)
        given = entries.get(self._user, 0) & entries.get((MASK, NOBODY), 7)
        return given & rights == rights

    def give(self, path: str, kind: str, rights: int) -> bool:
        """Add ``rights`` where they are missing: whether they were. Raises OSError."""
        if self.has(path, kind, rights):
            return False
        # A list begins with what the mode says.
        entries = _read(path, kind) or {key: value for key, value in _access(path).items() if key[0] in BASE}
        entries[self._user] = entries.get(self._user, 0) | rights
        entries.pop((MASK, NOBODY), None)
        limited = [value for (tag, _id), value in entries.items() if tag in (NAMED_USER, GROUP, NAMED_GROUP)]
        entries[MASK, NOBODY] = limited[0]
        for value in limited:
            entries[MASK, NOBODY] |= value
        packed = b"".join(ENTRY.pack(tag, value, number) for (tag, number), value in sorted(entries.items()))
        os.setxattr(path, kind, HEAD.pack(VERSION) + packed, follow_symlinks=False)
        return True

    def let_in(self, path: str) -> bool:
        """Let read a folder and what is put there later: whether this is new. Raises OSError."""
        self.give(path, ACCESS, READ | PASS)
        return self.give(path, DEFAULT, READ | PASS)


def _read(path: str, kind: str) -> Entries:
    try:
        raw = os.getxattr(path, kind, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return {}
        raise
    return {(tag, number): value for tag, value, number in ENTRY.iter_unpack(raw[HEAD.size :])}


def _access(path: str) -> Entries:
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    return _read(path, ACCESS) or {(tag, NOBODY): mode >> shift & 7 for tag, shift in zip(BASE, (6, 3, 0), strict=True)}


def grant(rights: Rights, library: Path, folder: str) -> None:
    """The right to read all of the folder, and to get there. Raises OSError for the folder itself only."""
    wanted = library / folder
    wanted.mkdir(mode=0o750, parents=True, exist_ok=True)
    for path in wanted.parents:
        if path == library or library in path.parents:
            rights.give(str(path), ACCESS, PASS)
    # First, so that what comes from now on has it.
    new = rights.let_in(str(wanted))
    until = time.monotonic() + (FIRST if new else AGAIN)
    problem = ""
    for entry in _below(str(wanted)):
        if time.monotonic() > until:
            problem = "there was no time for all of it, the next start or change of the channel goes on"
            break
        try:
            if entry.is_dir(follow_symlinks=False):
                rights.let_in(entry.path)
            elif entry.is_file(follow_symlinks=False):
                rights.give(entry.path, ACCESS, READ)
        except FileNotFoundError:
            pass
        except OSError as error:
            problem = str(error)
    if problem:
        print(f"Wowza may not read all of {wanted}: {problem}", file=sys.stderr)


def _below(folder: str) -> Iterator[os.DirEntry[str]]:
    """All that is in the folder, each folder before what is in it; what cannot be listed is passed over."""
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError:
            continue


def main() -> int:
    """Command line."""
    if len(sys.argv) != 2 or not SLUG.fullmatch(sys.argv[1]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        wanted = json.loads((PLACE / sys.argv[1] / "library.json").read_text())
    except FileNotFoundError:
        return 0
    try:
        grant(Rights(pwd.getpwnam(USER).pw_uid), Path(wanted["library"]), wanted["folder"])
    except (OSError, KeyError) as error:
        print(f"Wowza cannot be let into {wanted['library']}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
