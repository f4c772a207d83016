"""Whether anybody still writes into folders whose services are off the air: the last copy would not have it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from ..node_apply.host import Host
from .places import BASE, CopyError, checked

#: What only reads, though it has its root there: a copy that a killed run has begun.
READERS = frozenset({"rsync"})
#: Processes that are named.
NAMED = 5


def check(host: Host, folders: Iterable[str], seconds: float) -> None:
    """Wait until no process has its root or working directory there, or a file open to be written. Raises CopyError."""
    places = [f"{BASE}/{folder}" for folder in checked(folders)]
    until = host.clock() + seconds
    while found := _writers(host, places):
        if host.clock() >= until:
            named = ", ".join(f"{name} ({number})" for number, name in sorted(found.items())[:NAMED])
            raise CopyError(
                f"Processes still write into the folders of the services, {seconds:g} seconds after they were told to"
                f" end: {named}. End them, and run this again"
            )
        host.sleep(0.2)


def _writers(host: Host, places: list[str]) -> dict[int, str]:
    """Process id → name of those who may write there."""
    found = {}
    for folder in host.path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (folder / "comm").read_text().strip()
            if name not in READERS and any(_inside(place, places) for place in _places_of(folder)):
                found[int(folder.name)] = name
    return found


def _places_of(process: Path) -> Iterable[str]:
    """Where it is, and what it writes."""
    for name in ("root", "cwd"):
        with contextlib.suppress(OSError):
            yield str((process / name).readlink())
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError, ValueError):
                place = str(descriptor.readlink())
                if place.startswith(f"{BASE}/") and _is_written(process / "fdinfo" / descriptor.name):
                    yield place


def _is_written(described: Path) -> bool:
    for line in described.read_text().splitlines():
        if line.startswith("flags:"):
            return bool(int(line.split()[1], 8) & os.O_ACCMODE)
    return False


def _inside(place: str, places: list[str]) -> bool:
    return any(place == folder or place.startswith(f"{folder}/") for folder in places)
