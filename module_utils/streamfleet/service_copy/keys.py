"""Keys by which another host runs one command here: lines of a user's authorized_keys, each with a mark of its own.

What ssh would grant besides is taken; a key is of use from the other host's addresses only, and for a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from .. import durable
from ..node_apply.host import Host
from .places import GIVING, CopyError, addresses_of

_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{60,80}={0,2}")


def checked(public_key: str) -> str:
    """``public_key`` if it can be let in. Raises CopyError."""
    if not _KEY.fullmatch(public_key):
        raise CopyError("public_key: is not a key of the type ssh-ed25519")
    return public_key


def allow(
    host: Host, user: str, mark: str, public_key: str, command: str, addresses: Sequence[str], kept: timedelta
) -> None:
    """Let who has the private half run ``command``, in place of what ``mark`` stands for so far.

    ``command`` is written as it is: it may have no quotation mark, and no line's end. Root is asked by sudo.
    ``addresses``: from where alone, unless there are none. Raises CopyError, OSError.
    """
    checked(public_key)
    if user != "root":
        command = f"sudo -n {command}"
    places = ",".join(addresses_of(addresses))
    place_from = f'from="{places}",' if places else ""
    until = (datetime.now(UTC) + kept).strftime("%Y%m%d%H%MZ")
    line = f'restrict,{place_from}expiry-time="{until}",command="{command}" {public_key} {mark}'
    with _alone(host):
        _replace(host, user, mark, line)


def forbid(host: Host, user: str, mark: str) -> bool:
    """Take the key away; whether there was one. Raises CopyError, OSError."""
    with _alone(host):
        return _replace(host, user, mark, None)


@contextlib.contextmanager
def _alone(host: Host) -> Iterator[None]:
    """Two that read and write the keys at once would bring back a line that one of them takes away."""
    place = host.path(GIVING)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(host: Host, user: str, mark: str, line: str | None) -> bool:
    """Have ``line`` be what ends with ``mark``, or none; whether that is a change."""
    try:
        home = pwd.getpwnam(user).pw_dir
    except KeyError:
        if line is None:
            return False
        raise CopyError(f"this host has no user {user}: run install.yml for it") from None
    place = host.path(f"{home}/.ssh/authorized_keys")
    before = place.read_text() if place.exists() else ""
    lines = [other for other in before.splitlines() if not other.endswith(f" {mark}")]
    after = "".join(f"{other}\n" for other in [*lines, *([line] if line else [])])
    if after == before:
        return False
    if not before:
        raise CopyError(f"{user} has no {home}/.ssh/authorized_keys: run install.yml for this host")
    there = place.stat()
    durable.write(place, after.encode(), stat.S_IMODE(there.st_mode), (there.st_uid, there.st_gid))
    return True
