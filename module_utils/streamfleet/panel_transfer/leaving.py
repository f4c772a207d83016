"""The host that the panel goes from: held, packed, and then gone, or back as it was.

Until the new host has the mark "here" everything is taken back by ``back``; from then on only ``gone`` is right.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from typing import Any

from ..node_apply.host import Host
from ..upgrade import databases, journal, panel, places, steps
from ..upgrade.errors import UpgradeError
from . import looking, marks, pack, way
from .places import (
    BEFORE,
    CA_KEYS,
    CAME,
    COME,
    FOLDER,
    PACK,
    PANEL_DOMAINS,
    REPLACED,
    SECRETS,
    TransferError,
    certificates,
    customers,
    made,
    resellers,
)
from .places import first as first_of
from .places import last as last_of

#: Seconds for a worker to end the run that it is in, and for any other unit.
HOLD_PATIENCE, UNIT_PATIENCE = 1000.0, 180.0
REASON = "The panel is moving to another host"


def systemctl(host: Host, words: list[str], timeout: float = UNIT_PATIENCE) -> None:
    """Raises UpgradeError."""
    done = host.run(["systemctl", *words], "", timeout)
    if done.code != 0:
        raise UpgradeError(f"systemctl {words[0]} failed: {done.last_words}")


def read_only(host: Host, reason: str = REASON) -> None:
    """Have the panel refuse what would change anything, its command line, too; worker and jobs begin nothing."""
    journal.put(host, places.MAINTENANCE, {"reason": reason, "admit": [], "hold": ["worker", "jobs"]}, 0o644)


def gone_to(mark: marks.Mark) -> str:
    """Why a panel that has gone refuses to be changed."""
    return f"The panel is on {mark['to']}"


def goes_along(database: databases.Database) -> databases.Database:
    """The database itself. Raises TransferError where it does not go to another host."""
    if why := databases.stays(database):
        raise TransferError(why)
    return database


def packed_first(host: Host, names: Iterable[str]) -> dict[str, Any]:
    """What the new host needs before it is installed, and a dump to try the way with, while the panel serves."""
    return _packed(host, first_of(host, names), {})


def held(host: Host, to: str, run: str) -> dict[str, Any]:
    """Have worker and jobs stand still, and the panel be read-only; a restart of the host changes nothing of it."""
    mark = marks.read(host)
    state = mark.get("state", "here")
    if state not in ("here", "leaving") or (state == "leaving" and mark["run"] != run):
        raise TransferError(f"this host is {state} in a transfer of the panel already. Run panel_transfer.yml again")
    database = goes_along(databases.database_of(host))
    # The release removes the server that was made for it, and by then nothing else says that it was.
    own = {"own_server": True} if database == databases.OWN_SERVER else {}
    marks.write(host, {**marks.begun(mark, "leaving", to, run), **own})
    marks.hold(host, places.HELD)
    systemctl(host, ["stop", *places.HELD], HOLD_PATIENCE)
    # Not before: a converge that is under way tells the panel what has come of it.
    at = time.time()
    read_only(host)
    return {"at": at}


def packed_last(host: Host, run: str) -> dict[str, Any]:
    """Stop the panel, and pack all of it, with what is in its tables. Raises TransferError, UpgradeError."""
    _of_run(host, run)
    at = time.time()
    marks.hold(host, places.UNITS)
    systemctl(host, ["stop", *places.UNITS])
    told = {"contents": looking.contents(host), "resellers": resellers(host), **_version(host)}
    return {**_packed(host, last_of(host), told), "at": at}


def parting(host: Host, run: str) -> None:
    """Note that from here on the new host alone knows whether the panel has come. Raises TransferError."""
    _of_run(host, run)
    marks.write(host, {**marks.read(host), "parting": True})


def gone(host: Host, run: str) -> None:
    """The panel is on the other host: here nothing of it starts any more. What it had stays until the release."""
    mark = marks.read(host)
    if mark.get("state") == "gone" and mark.get("run") == run:
        return
    _of_run(host, run)
    marks.hold(host, places.UNITS)
    systemctl(host, ["disable", "--now", *places.UNITS], HOLD_PATIENCE)
    way.forbid(host)
    # For the command line, which no unit keeps from starting.
    read_only(host, gone_to(mark))
    # What an earlier run has put aside is none of this panel.
    shutil.rmtree(host.path(BEFORE), ignore_errors=True)
    # Names: the release needs them when what says them is gone.
    own = {name: mark[name] for name in ("own_server",) if name in mark} | {"resellers": resellers(host)}
    marks.write(host, {"state": "gone", "to": mark["to"], "run": run, "at": int(time.time()), **own})


def back(host: Host, other: str, alone: bool = False) -> bool:
    """Have the panel serve and write as before ``held``; whether there was anything to take back.

    ``other``: the host that it was to come to. ``alone``: that cannot be asked whether it has. Raises TransferError,
    UpgradeError.
    """
    mark = marks.read(host)
    if alone and mark.get("state") in ("gone", "released"):
        raise TransferError(
            f"the panel is on {mark['to']}, which cannot be reached: bring it back"
            if mark["to"] == other
            else f"the panel has gone to {mark['to']}, and streamfleet_panel has {other}: correct the inventory"
        )
    if mark.get("state") == "leaving" and mark["to"] != other:
        raise TransferError(
            f"the panel was on its way to {mark['to']}, and not to {other}. Put {mark['to']} into the group"
            " streamfleet_panel, and run panel_transfer.yml again: it goes on, or takes back, what was begun there"
        )
    if alone and mark.get("parting"):
        raise TransferError(
            f"it may have come to {mark['to']}, which cannot be asked, and must not be at work twice. Bring that host"
            " back, and run panel_transfer.yml again"
        )
    changed = way.forbid(host)
    shutil.rmtree(host.path(f"{FOLDER}/dump"), ignore_errors=True)
    if mark.get("state") != "leaving":
        return changed
    resume(host, mark)
    return True


def resume(host: Host, mark: marks.Mark) -> None:
    """Have the panel go on here. Raises UpgradeError."""
    here = steps.installed(host)
    marks.free(host, places.UNITS)
    systemctl(host, ["enable", *places.UNITS])
    systemctl(host, ["start", places.PANEL])
    panel.wait_for(host, here["version"], here["venv"], host.path(places.TOKENS[0]).read_text().strip())
    host.path(places.MAINTENANCE).unlink(missing_ok=True)
    systemctl(host, ["start", *places.HELD])
    # Last: who is killed before it takes back once more.
    marks.write(host, mark.get("was", {}))


def released(host: Host, names: Iterable[str]) -> list[str]:
    """Remove what the roles' own uninstall leaves of a panel that has gone: keys, certificates, copies. What went."""
    mark = marks.read(host)
    if mark.get("state") not in ("gone", "released"):
        raise TransferError("nothing is released here: the panel has not gone from this host")
    # A customer may have the name by now that was a reseller's, or the panel's.
    kept = customers(host)
    names_of_resellers = {*resellers(host), *mark.get("resellers", [])}
    theirs = certificates(host, sorted(names_of_resellers - kept))
    ours = certificates(host, [name for name in names if name not in kept])
    copies = [BEFORE, REPLACED, CAME, PACK, COME, places.MAINTENANCE]
    wanted = [*CA_KEYS, *SECRETS, PANEL_DOMAINS, *copies, *ours, *theirs]
    found = [path for path in wanted if host.path(path).exists()]
    for path in found:
        place = host.path(path)
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    # The units, and with them what keeps them from starting, are gone by now.
    marks.free(host, marks.held(host))
    if mark["state"] != "released":
        marks.write(host, {"state": "released", "to": mark["to"], "at": int(time.time())})
        found.append("the mark")
    return found


def _of_run(host: Host, run: str) -> None:
    mark = marks.read(host)
    if mark.get("state") != "leaving" or mark.get("run") != run:
        raise TransferError(f"this run has not begun on this host, or another has ended it (it is {mark or 'as ever'})")


def _version(host: Host) -> dict[str, str]:
    here = steps.installed(host)
    return {"version": here["version"]}


def _packed(host: Host, paths: list[str], told: dict[str, Any]) -> dict[str, Any]:
    made(host, FOLDER)
    folder = f"{FOLDER}/dump"
    shutil.rmtree(host.path(folder), ignore_errors=True)
    place = made(host, folder)
    try:
        database = goes_along(databases.database_of(host))
        databases.save(host, database, folder)
        kind = {"kind": database.kind}
        return pack.write(host, PACK, paths, place, {**told, **kind})
    finally:
        shutil.rmtree(place, ignore_errors=True)
