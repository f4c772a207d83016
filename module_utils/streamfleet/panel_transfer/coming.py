"""The host that the panel comes to: made empty, filled while nothing runs, tried while nobody can write, and then here.

Whatever comes to nothing is put away by ``away``: a copy of the panel that is elsewhere must never begin to work.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from typing import Any

from ..node_apply.host import Host
from ..upgrade import databases, panel, places, steps
from ..upgrade.errors import UpgradeError
from . import looking, marks, pack, replacing, way
from .leaving import HOLD_PATIENCE, goes_along, gone_to, read_only, systemctl
from .places import (
    ACME,
    ACME_STATE,
    BEFORE,
    CA,
    COME,
    FOLDER,
    PACK,
    PANEL_DOMAINS,
    SECRETS,
    TLS,
    TransferError,
    customers,
    made,
)

#: What of a pack is the new host's before it is installed.
FIRST = (CA, "/etc/streamfleet/worker", TLS, "/var/lib/streamfleet/certificates")


def prepared(host: Host, origin: str, run: str) -> dict[str, Any]:
    """Have nothing of a panel be here that is at work. Raises TransferError where one is that has something of its own.

    What a panel that has gone from here has left is put aside, since the one that comes back has it, and more.
    """
    mark = marks.read(host)
    stale = mark.get("state") == "coming" or (mark.get("state") == "gone" and mark.get("to") == origin)
    if host.path(places.PANEL_ENV).exists():
        goes_along(databases.database_of(host))
    if not stale:
        _empty(host, mark)
    if mark.get("state") != "coming":
        replacing.forget(host)
    # Of what had gone from here nothing else may be left: it is put aside once, and not by each run that fails.
    new = {**marks.begun(mark, "coming", origin, run), "kept": mark.get("kept", False)}
    marks.write(host, new)
    stop(host)
    if not new["kept"]:
        _keep(host, half=new["was"].get("state") != "gone")
        marks.write(host, {**new, "kept": True})
    _put_away(host)
    host.path(places.MAINTENANCE).unlink(missing_ok=True)
    marks.free(host, places.UNITS)
    return {}


def came_first(host: Host, run: str) -> dict[str, Any]:
    """Put what came before the installation into its place, and see that the dump can be had. Raises TransferError."""
    _of_run(host, run)
    folder = made(host, f"{FOLDER}/dump")
    try:
        pack.dumped(host, COME, folder)
        if not any(folder.iterdir()):
            raise TransferError("what came has no dump of the database")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    taken, own = customers(host), _own_acme(host)

    def wanted(path: str) -> bool:
        if path.startswith(f"{TLS}/") and path.removeprefix(f"{TLS}/").partition("/")[0] in taken:
            return False
        # A node's own account stays, and what its client knows.
        if any(path == root or path.startswith(f"{root}/") for root in own):
            return False
        # What the authority has signed here since.
        if path.startswith(f"{CA}/issued/") and host.path(path).exists():
            return False
        return any(path == root or path.startswith(f"{root}/") for root in FIRST)

    return {"changed": replacing.put(host, wanted)}


def filled(host: Host, run: str, nodes: Iterable[str]) -> dict[str, Any]:
    """Have the panel be here as it was there, read-only, and without a worker. ``nodes``: those to be reached.

    Raises TransferError, UpgradeError.
    """
    _of_run(host, run)
    told = pack.told(host, COME)
    installed = steps.installed(host)
    if told.get("version") != installed["version"]:
        raise TransferError(
            f"the panel there is of version {told.get('version')}, and here of {installed['version']}. Run"
            " panel_transfer.yml again, with the checkout of the version there"
        )
    marks.hold(host, places.UNITS)
    systemctl(host, ["stop", *places.UNITS], HOLD_PATIENCE)
    read_only(host)
    database = goes_along(databases.database_of(host))
    if told.get("kind") != database.kind:
        raise TransferError(f"the database there is of kind {told.get('kind')}, and here of {database.kind}")
    folder = made(host, f"{FOLDER}/dump")
    try:
        pack.dumped(host, COME, folder)
        databases.restore(host, database, f"{FOLDER}/dump")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    changed = _files(host, set(told["resellers"]))
    here = looking.contents(host)
    wrong = sorted(name for name in {*here, *told["contents"]} if here.get(name) != told["contents"].get(name))
    if wrong:
        raise TransferError(f"these tables are not as they were sent: {', '.join(wrong[:5])}")
    # All that took its time, in which another run may have begun.
    _of_run(host, run)
    marks.free(host, [places.PANEL])
    systemctl(host, ["start", places.PANEL])
    token = host.path(places.TOKENS[0]).read_text().strip()
    panel.wait_for(host, installed["version"], installed["venv"], token)
    listed = panel.lists(host, token)
    asked = looking.asked(host)
    missing = sorted(set(nodes) - set(looking.reached(host, asked["nodes"])))
    if missing:
        raise TransferError(
            f"the worker does not reach {', '.join(missing)} from here, and did from the former host. See that this"
            " host comes to their port of SSH"
        )
    # Where the former host is lost from here on, this is the newest copy that there is.
    marks.write(host, {**marks.read(host), "filled": True})
    return {
        "files": changed,
        "rows": sum(rows for rows, _digest in here.values()),
        "tables": len(here),
        "listed": listed,
        "nodes": len(asked["nodes"]),
    }


def here(host: Host, run: str) -> dict[str, Any]:
    """The panel is here. From the mark on it may write; the former host can only go. Raises TransferError."""
    mark = marks.read(host)
    if not (mark.get("state") == "here" and mark.get("run") == run):
        _of_run(host, run)
        marks.write(host, {"state": "here", "from": mark["from"], "run": run, "at": int(time.time())})
    # What was here before is of no use any more, and neither is what came by.
    replacing.forget(host)
    shutil.rmtree(host.path(BEFORE), ignore_errors=True)
    host.path(PACK).unlink(missing_ok=True)
    host.path(places.MAINTENANCE).unlink(missing_ok=True)
    marks.free(host, places.UNITS)
    way.forget(host)
    systemctl(host, ["enable", *places.UNITS])
    systemctl(host, ["start", *places.UNITS])
    return {"at": time.time()}


def away(host: Host) -> bool:
    """Put away what has come, and has come to nothing; whether there was any. Raises UpgradeError."""
    way.forget(host)
    mark = marks.read(host)
    if mark.get("state") != "coming":
        return False
    if mark.get("kept"):
        _put_away(host)
    else:
        # Nothing has come, and what was here is in its place.
        stop(host)
    replacing.take_back(host, FIRST)
    was = mark.get("was", {})
    if was.get("state") == "gone":
        read_only(host, gone_to(was))
        was = {**was, "kept": mark.get("kept", False)}
    else:
        shutil.rmtree(host.path(BEFORE), ignore_errors=True)
        host.path(places.MAINTENANCE).unlink(missing_ok=True)
        marks.free(host, places.UNITS)
    marks.write(host, was)
    return True


def _files(host: Host, names: set[str]) -> list[str]:
    """Secrets, and names of resellers' own with their certificates; names that are not theirs any more go."""
    roots = [PANEL_DOMAINS, *(f"{TLS}/{name}" for name in names - customers(host))]
    # Secrets go with the database wherever that goes, so there is nothing to be put back of them.
    changed = pack.put(host, COME, lambda path: path in SECRETS)
    changed += replacing.put(host, lambda path: any(path == root or path.startswith(f"{root}/") for root in roots))
    others = (path.stem for path in host.path(PANEL_DOMAINS).glob("*.json"))
    replacing.remove(host, [f"{PANEL_DOMAINS}/{name}.json" for name in others if name not in names])
    return changed


def _own_acme(host: Host) -> list[str]:
    """Accounts at directories, and the client's state, that this host has and that did not come."""
    came = replacing.came(host)
    folders = [f"{ACME}/{place.parent.name}/{place.name}" for place in host.path(ACME).glob("*/*")]
    own = [folder for folder in folders if not any(path.startswith(f"{folder}/") for path in came)]
    return own + [path for path in (ACME_STATE,) if host.path(path).exists() and path not in came]


def _empty(host: Host, mark: marks.Mark) -> None:
    """Raise TransferError where this host has a panel of its own."""
    if mark.get("state") not in (None, "released", "gone"):
        raise TransferError(f"this host is {mark.get('state')} in a transfer of the panel already")
    if mark.get("state") == "gone":
        raise TransferError(f"the panel that was here has gone to {mark.get('to')}: release that first")
    found = looking.look(host, False)
    if found["customers"] or found["services"] or found["nodes"]:
        raise TransferError(
            f"this host has a panel with {found['customers']} customers, {found['services']} services and"
            f" {len(found['nodes'])} nodes, which has not come from there. Take another host, or uninstall this one"
        )


def _put_away(host: Host) -> None:
    """Have nothing run, and no database and no secret of it be in its place."""
    stop(host)
    database = _database(host)
    if database is not None:
        databases.empty(host, database)
    for path in SECRETS:
        host.path(path).unlink(missing_ok=True)


def stop(host: Host) -> None:
    """Have no unit of a panel run, nor start. Raises UpgradeError."""
    marks.hold(host, places.UNITS)
    units = [unit for unit in places.UNITS if host.path(f"/etc/systemd/system/{unit}").exists()]
    if units:
        systemctl(host, ["disable", "--now", *units], HOLD_PATIENCE)


def _database(host: Host) -> databases.Database | None:
    """The database here that came, or was there before it. One that did not go along is not the transfer's to empty."""
    if not host.path(places.PANEL_ENV).exists():
        return None
    database = databases.database_of(host)
    if databases.stays(database) or (database.kind == "sqlite" and not looking.filled(host, database.file)):
        return None
    return database


def _keep(host: Host, half: bool) -> None:
    """Put aside what was here before the first run that has begun. ``half``: that may be worth nothing."""
    shutil.rmtree(host.path(BEFORE), ignore_errors=True)
    database = _database(host)
    if database is None:
        return
    made(host, BEFORE)
    try:
        databases.save(host, database, BEFORE)
        for path in SECRETS:
            if host.path(path).exists():
                replacing.copy(host.path(path), host.path(f"{BEFORE}{path}"))
    except UpgradeError:
        shutil.rmtree(host.path(BEFORE), ignore_errors=True)
        # Half of one that was being filled: whole it is where it came from.
        if not half:
            raise


def as_kept(host: Host) -> None:
    """Have the panel be here again that was put aside for one that does not come back. Raises TransferError."""
    if not host.path(BEFORE).is_dir():
        raise TransferError(f"{BEFORE}, with the panel as it was when it went, is not there: restore a backup")
    databases.restore(host, goes_along(databases.database_of(host)), BEFORE)
    for path in SECRETS:
        kept = host.path(f"{BEFORE}{path}")
        if kept.exists():
            replacing.copy(kept, host.path(path))


def _of_run(host: Host, run: str) -> None:
    mark = marks.read(host)
    if mark.get("state") != "coming" or mark.get("run") != run:
        raise TransferError(f"this run has not begun on this host, or another has ended it (it is {mark or 'as ever'})")
