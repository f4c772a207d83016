"""The node that gives: a key that opens these folders, to be read, and nothing else.

The key's one command is rsync's daemon on the connection itself, with settings that name the folders: each is a root of
its own, read-only. What ssh would grant besides is taken; the key is of use from the other node's addresses only, and
for a day.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..node_apply.host import Host
from .notes import Notes
from .places import BASE, GIVING, CopyError, addresses_of, checked, number_of, there

KEPT = timedelta(days=1)
_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{60,80}={0,2}")
_SETTINGS = """\
# Written by Streamfleet for a transfer.
use chroot = yes
uid = 0
gid = 0
read only = yes
list = no
numeric ids = yes
reverse lookup = no
"""


def served(
    host: Host, transfer: str, user: str, key: str, folders: list[str], addresses: Sequence[str] = ()
) -> list[str]:
    """Let who has the private half of ``key`` read the folders, from ``addresses``; returns those there are.

    Raises CopyError, OSError.
    """
    number, here = number_of(transfer), there(host, checked(folders))
    if not _KEY.fullmatch(key):
        raise CopyError("public_key: is not a key of the type ssh-ed25519")
    place = host.path(f"{GIVING}/{number}")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = Path(place / "rsyncd.conf")
    modules = "".join(f"\n[{folder.replace('/', '.')}]\npath = {BASE}/{folder}\n" for folder in here)
    write(settings, _SETTINGS + modules, None)
    command = f"/usr/bin/rsync --server --daemon --config={GIVING}/{number}/rsyncd.conf ."
    if user != "root":
        command = f"sudo -n {command}"
    until = (datetime.now(UTC) + KEPT).strftime("%Y%m%d%H%MZ")
    places = ",".join(addresses_of(addresses))
    place_from = f'from="{places}",' if places else ""
    line = f'restrict,{place_from}expiry-time="{until}",command="{command}" {key} {_mark(number)}'
    Notes(host, number).add("gave", here)
    with _alone(host):
        _authorize(host, user, number, line)
    return here


def withdrawn(host: Host, transfer: str, user: str) -> bool:
    """Take the key away; whether there was one. Raises CopyError, OSError."""
    number = number_of(transfer)
    with _alone(host):
        changed = _authorize(host, user, number, None)
    place = host.path(f"{GIVING}/{number}")
    if place.is_dir():
        shutil.rmtree(place)
        changed = True
    return changed


@contextlib.contextmanager
def _alone(host: Host) -> Iterator[None]:
    """Two transfers that read and write the keys at once would bring back a line that one of them takes away."""
    place = host.path(GIVING)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _mark(number: str) -> str:
    return f"streamfleet-transfer-{number}"


def _authorize(host: Host, user: str, number: str, line: str | None) -> bool:
    """Have ``line`` be the transfer's in the user's keys, or none; whether that is a change."""
    try:
        home = pwd.getpwnam(user).pw_dir
    except KeyError:
        raise CopyError(f"user: this node has no user {user}: run install.yml for it") from None
    place = host.path(f"{home}/.ssh/authorized_keys")
    try:
        before = place.read_text()
    except FileNotFoundError:
        before = ""
    lines = [other for other in before.splitlines() if not other.endswith(f" {_mark(number)}")]
    after = "".join(f"{other}\n" for other in [*lines, *([line] if line else [])])
    if after == before:
        return False
    if not before:
        raise CopyError(f"user: {user} has no {home}/.ssh/authorized_keys: run install.yml for this node")
    write(place, after, place.stat())
    return True


def write(place: Path, content: str, like: os.stat_result | None) -> None:
    """Replace the file, with owner and mode of ``like``, else root's alone."""
    new = place.with_name(f".{place.name}.streamfleet-new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(content)
        stream.flush()
        if like is not None:
            os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
        os.fsync(descriptor)
    new.replace(place)
