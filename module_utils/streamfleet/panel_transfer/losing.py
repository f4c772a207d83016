"""The other host of a transfer is lost for good, as the operator has said; what is here goes on, as it was then."""

from __future__ import annotations

import shutil

from ..node_apply.host import Host
from ..upgrade import panel, places, steps
from ..upgrade.errors import UpgradeError
from . import coming, leaving, marks
from .places import BEFORE, TransferError


def lost(host: Host, other: str) -> dict[str, bool]:
    """Have the panel go on here as it was when it went; ``panel``: whether there is one.

    Where it was on its way to this host, what has come of it is put away: there is none then, unless it had gone from
    here before. Can be repeated. Raises TransferError, UpgradeError.
    """
    mark = marks.read(host)
    state, known = mark.get("state"), mark.get("to", mark.get("from"))
    if state in (None, "here"):
        raise TransferError(f"the panel is on this host, whatever has become of {other}: nothing is to be done")
    if known != other:
        raise TransferError(f"other: this host knows of {known} in a transfer of the panel, and not of {other!r}")
    if state == "released":
        raise TransferError(f"nothing of the panel is left on this host: restore a backup of {known}")
    if state == "coming":
        coming.away(host)
        mark = marks.read(host)
        if not mark:
            return {"panel": False}
    if mark["state"] == "gone":
        coming.as_kept(host)
    if mark["state"] == "gone" or mark.get("parting"):
        _other_than_was_seen(host)
    leaving.resume(host, mark)
    shutil.rmtree(host.path(BEFORE), ignore_errors=True)
    return {"panel": True}


def _other_than_was_seen(host: Host) -> None:
    """Nodes may have documents of the lost panel, newer than any here, and files of customers that are unknown here."""
    here = steps.installed(host)
    # Its command line refuses to write as long as this is there; its units are held still.
    host.path(places.MAINTENANCE).unlink(missing_ok=True)
    done = panel.command(host, ["restored"], here["release"], here["venv"])
    if done.code != 0:
        raise UpgradeError(f"streamfleet-panel restored: {done.last_words}")
