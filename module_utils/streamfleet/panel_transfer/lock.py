"""One step at a time on a host. One that a killed run has left may be at work still, and its programs, too."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace

from ..node_apply.host import Host, run_program
from ..upgrade import journal
from . import marks
from .places import LOCK, TransferError

#: Seconds to wait for it: one that has a worker come to its end takes that long.
PATIENCE = 1200.0
BUSY = "A step of another transfer of the panel works on this host. Run again when it has ended."


@contextlib.contextmanager
def locked(host: Host) -> Iterator[Host]:
    """The host, whose programs have the lock as well. Raises UpgradeError where it is not to be had, TransferError."""
    before = marks.read(host).get("run")
    with journal.locked(host, LOCK, PATIENCE, BUSY) as descriptor:
        after = marks.read(host).get("run")
        # What was asked for was right for what was there then.
        if after not in (None, before):
            raise TransferError(f"run {after} has begun meanwhile. Run panel_transfer.yml again")
        if host.run is run_program:
            host = replace(host, run=functools.partial(run_program, pass_fds=(descriptor,)))
        yield host
