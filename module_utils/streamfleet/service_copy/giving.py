"""The node that gives: a key that opens these folders, to be read, and nothing else.

The key's one command is rsync's daemon on the connection itself, with settings that name the folders: each is a root of
its own, read-only. What ssh would grant besides is taken; the key is of use from the other node's addresses only, and
for a day.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from .. import durable
from ..node_apply.host import Host
from . import keys
from .notes import Notes
from .places import BASE, GIVING, checked, number_of, there

KEPT = timedelta(days=1)
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
    keys.checked(key)
    place = host.path(f"{GIVING}/{number}")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = Path(place / "rsyncd.conf")
    modules = "".join(f"\n[{folder.replace('/', '.')}]\npath = {BASE}/{folder}\n" for folder in here)
    durable.write(settings, (_SETTINGS + modules).encode(), 0o600)
    Notes(host, number).add("gave", here)
    command = f"/usr/bin/rsync --server --daemon --config={GIVING}/{number}/rsyncd.conf ."
    keys.allow(host, user, _mark(number), key, command, addresses, KEPT)
    return here


def withdrawn(host: Host, transfer: str, user: str) -> bool:
    """Take the key away; whether there was one. Raises CopyError, OSError."""
    number = number_of(transfer)
    changed = keys.forbid(host, user, _mark(number))
    place = host.path(f"{GIVING}/{number}")
    if place.is_dir():
        shutil.rmtree(place)
        changed = True
    return changed


def _mark(number: str) -> str:
    return f"streamfleet-transfer-{number}"
