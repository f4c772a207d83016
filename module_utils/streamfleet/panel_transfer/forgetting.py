"""A host whose other one is lost for good knows nothing of the transfer any more; the operator has said so."""

from __future__ import annotations

from ..node_apply.host import Host
from ..upgrade import places
from . import coming, leaving, marks
from .places import TransferError


def forget(host: Host, other: str) -> bool:
    """Clear the mark of a host that the panel was to leave, has left, or was to come to; whether there was one.

    What a panel has left there is as it was then: restore.yml brings what a backup has. Raises TransferError,
    UpgradeError.
    """
    mark = marks.read(host)
    state, known = mark.get("state"), mark.get("to", mark.get("from"))
    if state is None:
        return False
    if state == "here":
        raise TransferError(f"the panel is on this host: there is nothing to forget. {known} has it no more")
    if known != other:
        raise TransferError(f"other: this host knows of {known} in a transfer of the panel, and not of {other!r}")
    if state == "leaving":
        # Nobody can be there any more, whatever had been begun.
        leaving.resume(host, mark)
        return True
    if state == "coming":
        # After that it may be gone, or released, as before: to the same host, if it was to come back.
        coming.away(host)
    marks.free(host, marks.held(host))
    host.path(places.MAINTENANCE).unlink(missing_ok=True)
    marks.write(host, {})
    return True
