"""Which process of which controller a run of Ansible is, so that a run that was killed is not waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def where(process: int) -> str:
    """This controller as it was booted, a process of it, when that began (ticks); empty where that is not known.

    Containers of a machine are booted with it and have processes of their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()} {process} {_began(process)}"
    except (OSError, IndexError):
        return ""


def gone(holder: str) -> bool:
    """Whether the process was one of this controller's, and is no more. Of other controllers nothing is known here."""
    parts = holder.split()
    if len(parts) != 3 or not parts[1].isdecimal():
        return False
    own = where(os.getpid()).split()
    return bool(own) and own[0] == parts[0] and where(int(parts[1])) != holder


def named(process: int) -> str:
    """The same, where it may not be empty: a controller without /proc is told apart by its name."""
    return where(process) or f"{socket.gethostname()}/{process}"


def _began(process: int) -> str:
    """Raises OSError where there is no such process, or one that has ended and is not taken leave of."""
    state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    if state in "ZX":
        raise ProcessLookupError(process)
    return fields[18]
