"""The other host of a transfer is lost for good, as the operator has said; what is here goes on."""

from __future__ import annotations

import shutil

from ..node_apply.host import Host
from ..upgrade import panel, places, steps
from ..upgrade.errors import UpgradeError
from . import coming, leaving, marks, way
from .places import BEFORE, FOLDER, TransferError


def lost(host: Host, other: str) -> dict[str, bool]:
    """Have the panel go on here; ``panel``: whether there is one.

    Where it was on its way to this host and all of it has come, it goes on with that. Else what has come is put away,
    and it goes on as it was when it went from here, if it did. Can be repeated. Raises TransferError, UpgradeError.
    """
    mark = marks.read(host)
    state, known = mark.get("state"), mark.get("to", mark.get("from"))
    here = state == "here" and marks.held(host) and known == other
    if state in (None, "here") and not here:
        raise TransferError(f"the panel is on this host, whatever has become of {other}: nothing is to be done")
    if known != other:
        raise TransferError(f"other: this host knows of {known} in a transfer of the panel, and not of {other!r}")
    if state == "released":
        raise TransferError(f"nothing of the panel is left on this host: restore a backup of {known}")
    if here or mark.get("filled"):
        _goes_on_with_what_came(host, mark)
        return {"panel": True}
    # The other host may have the key to it still.
    way.forbid(host)
    shutil.rmtree(host.path(f"{FOLDER}/dump"), ignore_errors=True)
    if state == "coming":
        coming.away(host)
        mark = marks.read(host)
        if mark.get("state") != "gone":
            return {"panel": False}
    # Who failed before has started it, maybe.
    coming.stop(host)
    if mark.get("kept"):
        coming.as_kept(host)
    if mark["state"] == "gone" or mark.get("parting"):
        _other_than_was_seen(host, mark)
    if mark.get("kept"):
        # Not once more: from here on it is written to.
        mark = {**mark, "kept": False}
        marks.write(host, mark)
    shutil.rmtree(host.path(BEFORE), ignore_errors=True)
    leaving.resume(host, mark)
    return {"panel": True}


def _goes_on_with_what_came(host: Host, mark: marks.Mark) -> None:
    # The former host may have gone on with it, where it could not ask this one.
    if mark["state"] == "coming":
        coming.stop(host)
        _other_than_was_seen(host, mark)
    coming.here(host, mark["run"])
    # There is no other host that would have to be released.
    marks.write(host, {})


def _other_than_was_seen(host: Host, mark: marks.Mark) -> None:
    """Nodes may have documents of the lost panel, newer than any here, and files of customers that are unknown here."""
    here = steps.installed(host)
    # Its command line refuses to write as long as this is there; its units are held still.
    host.path(places.MAINTENANCE).unlink(missing_ok=True)
    done = panel.command(host, ["restored"], here["release"], here["venv"])
    if done.code != 0:
        leaving.read_only(host, leaving.gone_to(mark) if mark["state"] == "gone" else leaving.REASON)
        raise UpgradeError(f"streamfleet-panel restored: {done.last_words}")
