"""Connections that the kernel has taken for a server, and that the server has not."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

#: ESTABLISHED and CLOSE_WAIT, as the kernel writes them: whoever has gone meanwhile waits all the same.
_STATES = frozenset({"01", "08"})


def at(root: Path, port: int) -> set[tuple[str, str]]:
    """Both ends of each that waits at the port. What no program has taken has no inode."""
    found = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), (root / "proc/net" / name).open() as lines:
            for line in lines:
                row = line.split()
                if len(row) > 9 and row[3] in _STATES and row[9] == "0" and row[1].endswith(f":{port:04X}"):
                    found.add((row[1], row[2]))
    return found


def stands(root: Path, port: int, seconds: float) -> bool:
    """Whether some wait, and none of them is taken within ``seconds``."""
    first = at(root, port)
    if not first:
        return False
    time.sleep(seconds)
    return first <= at(root, port)
