"""Nodes that an upgrade has set draining while it interrupts streams there, noted until they take services again.

A file for each node, so that hosts that are upgraded at one time need no lock.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from ..node_apply.host import Host
from . import journal, places
from .errors import UpgradeError

_NODE = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


def note(host: Host, run: str, nodes: Iterable[str]) -> None:
    """Note, before it is done, that these are set draining. Raises UpgradeError."""
    for node in _checked(nodes):
        journal.put(host, _path(node), {"run": run, "since": int(time.time())}, 0o600)


def forget(host: Host, nodes: Iterable[str]) -> None:
    """They take services again, or are gone. Raises UpgradeError."""
    for node in _checked(nodes):
        host.path(_path(node)).unlink(missing_ok=True)


def noted(host: Host) -> list[str]:
    """Nodes that were not given back, by name."""
    found = (path.name for path in host.path(places.UPGRADE).glob(places.DRAINING.format(node="*")))
    start, end = places.DRAINING.split("{node}")
    return sorted(name for each in found if _NODE.fullmatch(name := each[len(start) : -len(end)]))


def _checked(nodes: Iterable[str]) -> list[str]:
    """The names, all or none: they become names of files."""
    names = list(nodes)
    for name in names:
        if not _NODE.fullmatch(name):
            raise UpgradeError(f"nodes: {name!r} is no name of a node. Use one as in the inventory")
    return names


def _path(node: str) -> str:
    return f"{places.UPGRADE}/{places.DRAINING.format(node=node)}"
