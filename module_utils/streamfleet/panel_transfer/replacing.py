"""Files that come to the new host, and what was in their places, which is put back where the panel comes to nothing.

Each is noted, and what it replaces is kept, before it is written: who is killed takes back the more.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from .. import durable
from ..node_apply.host import Host
from . import pack
from .places import CAME, COME, FOLDER, REPLACED, made


def put(host: Host, wanted: Callable[[str], bool]) -> list[str]:
    """Put files of what came into their places; those that have changed."""
    _note(host, pack.differing(host, COME, wanted))
    return pack.put(host, COME, wanted)


def remove(host: Host, paths: Iterable[str]) -> None:
    """Remove files."""
    paths = list(paths)
    _note(host, paths)
    for path in paths:
        host.path(path).unlink(missing_ok=True)


def came(host: Host) -> list[str]:
    """Files that came, or were removed."""
    try:
        return list(json.loads(host.path(CAME).read_text()))
    except FileNotFoundError:
        return []


def take_back(host: Host, roots: Iterable[str]) -> None:
    """Have all of them be as before. Folders below ``roots`` that have nothing any more go."""
    stays = {host.path(root) for root in roots}
    for path in came(host):
        place, kept = host.path(path), host.path(f"{REPLACED}{path}")
        if kept.exists():
            copy(kept, place)
            continue
        place.unlink(missing_ok=True)
        for folder in place.parents:
            if folder in stays or not stays & set(folder.parents):
                break
            with contextlib.suppress(OSError):
                folder.rmdir()
    os.sync()
    forget(host)


def forget(host: Host) -> None:
    """Have nothing be there to be taken back."""
    # First what says that there is: who is killed behind it puts back nothing that is half away.
    host.path(CAME).unlink(missing_ok=True)
    shutil.rmtree(host.path(REPLACED), ignore_errors=True)


def _note(host: Host, paths: list[str]) -> None:
    before = came(host)
    new = [path for path in paths if path not in before]
    if not new:
        return
    made(host, FOLDER)
    for path in new:
        place, kept = host.path(path), host.path(f"{REPLACED}{path}")
        kept.unlink(missing_ok=True)
        if place.is_file():
            copy(place, kept)
    os.sync()
    durable.write_json(host.path(CAME), [*before, *new], 0o600)


def copy(source: Path, target: Path) -> None:
    """With owner and mode; whole or not at all."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    like = source.stat()
    with (
        source.open("rb") as there,
        durable.replacing(target, like.st_mode & 0o7777, (like.st_uid, like.st_gid)) as stream,
    ):
        shutil.copyfileobj(there, stream)
