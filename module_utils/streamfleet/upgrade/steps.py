"""The steps of an upgrade on the panel's host, in the order of an upgrade; each can be repeated, and all can be undone.

look → claim (nobody else may begin; the probe is heard before) → begin (held, read-only, saved) → [the role panel
migrates and switches] → open (the gate) → finish, or undo.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from ..domain_change.journal import UNFINISHED
from ..node_apply.host import Host
from . import databases, draining, journal, panel, places, versions
from .errors import UpgradeError

#: Seconds for a worker to end the run that it is in.
HOLD_PATIENCE = 1000.0
UNIT_PATIENCE = 180.0
#: Bytes beside the database's own size that going back may need: journal, settings, a unit that is started.
RESERVE = 32 * 2**20
_SETTING_UP = (
    "The panel's database is still being changed, by a run that was killed (set_up.py). Wait for its end, and run again"
)
_TOKEN = re.compile(r"sft_([a-z0-9]{8})_")


def look(host: Host, release: str, venv: str) -> dict[str, Any]:
    """What is installed and what an upgrade to this release and environment would do. Changes nothing.

    ``changes``: whether there is anything to do. ``migrations``: None where the new release is not there to be asked.
    Raises UpgradeError for a host that cannot be upgraded.
    """
    found = installed(host)
    database = databases.database_of(host)
    begun = journal.read(host)
    new = {"release": release, "venv": venv, "version": versions.version_of(release)}
    staged = all(host.path(f"{path}/.complete").exists() for path in (release, venv))
    if versions.is_older(new["version"], found["version"]) and begun is None:
        raise UpgradeError(
            f"This host has {found['version']}, and {new['version']} is older. Its database was migrated to a shape"
            " that the older release does not know, and migrations are not taken back. Use a checkout of at least"
            f" {found['version']}; to go back to what was before the last upgrade, restore a backup of that time."
        )
    lacking = databases.missing(host, database)
    if lacking:
        raise UpgradeError(
            f"This host has no {', '.join(lacking)}, by which the database is saved: apt-get install {database.package}"
        )
    switched = [found["release"], found["venv"]] != [release, venv]
    told = panel.migrations(host, release, venv) if staged and switched and begun is None else None
    if told and told["unknown"]:
        raise UpgradeError(
            f"The database has had migrations that this release does not know ({', '.join(told['unknown'])}): it is of"
            " an older state than what is installed. Use a newer one."
        )
    return {
        "from": found,
        "to": new,
        "changes": switched or begun is not None,
        "migrations": told and told["pending"],
        "read_only": _knows_maintenance(host, found["venv"]),
        "database": database.kind,
        **_room(host, database, begun is None),
        "free_mb": shutil.disk_usage(host.path("/var/lib")).free // 2**20,
        "begun": begun and {"run": begun["run"], "text": journal.describe(begun), "fresh": journal.is_fresh(begun)},
        "draining": draining.noted(host),
    }


def installed(host: Host) -> dict[str, str]:
    """The release and the environment that this host uses. Raises UpgradeError where there are none."""
    found = {}
    for name, path in (("release", places.CURRENT), ("venv", places.VENV)):
        try:
            found[name] = str(host.path(path).readlink())
        except OSError:
            raise UpgradeError(f"{path} is not there, so no panel is installed here: run install.yml") from None
    return {**found, "version": versions.version_of(found["release"])}


def claim(host: Host, run: str, by: str, release: str, venv: str) -> dict[str, Any]:
    """Have nobody else begin, before anything is changed. Raises UpgradeError."""
    with journal.locked(host):
        begun = journal.read(host)
        if begun is not None:
            raise UpgradeError(f"An upgrade is under way already: {journal.describe(begun)}")
        if _names_change(host):
            raise UpgradeError(
                f"A change of host names is under way, or was left ({places.NAMES}). Wait for its end, or have it "
                "finished or taken back by domain_change.yml"
            )
        found = installed(host)
        new = {"release": release, "venv": venv, "version": versions.version_of(release)}
        name = f"{Path(found['release']).name}-to-{Path(release).name}"
        data = {
            "run": run,
            "by": by,
            "since": int(time.time()),
            "phase": "claimed",
            "from": found,
            "to": new,
            "read_only": _knows_maintenance(host, found["venv"]),
            "snapshot": f"{places.UPGRADE}/{name}",
        }
        journal.write(host, data)
        return data


def begin(host: Host, run: str) -> dict[str, Any]:
    """Hold the worker and the jobs, make the panel read-only, and save database and settings. Raises UpgradeError.

    Where saving fails, all runs on as before.
    """
    with journal.locked(host):
        data = journal.of_run(host, run)
        if data["phase"] != "claimed":
            raise UpgradeError(f"The upgrade cannot begin: it is {data['phase']} already")
        data["phase"] = "begun"
        journal.write(host, data)
        try:
            _hold(host, data)
            _save(host, data)
        except Exception as error:
            # Whatever it is, the panel is not left held. Where it cannot be released, the journal tells the next run.
            _release(host, data)
            _drop_reserve(host, data)
            journal.close(host, data, "refused")
            raise UpgradeError(f"Nothing was changed: {error}") from None
        data["phase"] = "snapshot"
        journal.write(host, data)
        return data


def _names_change(host: Host) -> bool:
    """Whether host names are being changed."""
    try:
        state = json.loads(host.path(places.NAMES).read_text())["state"]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError):
        return True
    return state in UNFINISHED


def open_gate(host: Host, run: str) -> dict[str, Any]:
    """Look whether the new release is well; let the probe's writes through, the worker work. Raises UpgradeError."""
    with journal.locked(host):
        data = journal.of_run(host, run)
        new = data["to"]
        tokens = _tokens(host)
        panel.wait_for(host, new["version"], new["venv"], tokens[0])
        done = panel.command(host, ["check_ready"], new["release"], new["venv"])
        if done.code != 0:
            raise UpgradeError(f"The new release is not ready: {done.last_words}")
        counted = panel.without_loss(
            "Database", lambda: panel.counts(host, new["release"], new["venv"]), data["counts"]
        )
        listed = panel.without_loss("API", lambda: panel.lists(host, tokens[0]), data.get("lists", {}))
        data["phase"] = "open"
        journal.write(host, data)
        idents = [found[1] for token in tokens if (found := _TOKEN.match(token))]
        _say(host, data, admit=idents, hold=["jobs"])
        return {"counts": counted, "lists": listed}


def renew(host: Host, run: str) -> None:
    """Note that the run is at work still. Raises UpgradeError where it is not the one any more that was begun."""
    with journal.locked(host):
        data = journal.of_run(host, run)
        if data["phase"] == "undoing":
            raise UpgradeError("Another run has begun to undo this one")
        journal.write(host, data)


def finish(host: Host, run: str) -> None:
    """Let everybody write again. The snapshot stays until the next upgrade. Raises UpgradeError."""
    with journal.locked(host):
        _finish(host, journal.of_run(host, run))


def _finish(host: Host, data: dict[str, Any]) -> None:
    if data["phase"] not in ("open", "passed"):
        raise UpgradeError(f"The upgrade cannot be finished: it is {data['phase']}, and the gate was not passed")
    data["phase"] = "passed"
    journal.write(host, data)
    _release(host, data)
    _drop_reserve(host, data)
    journal.close(host, data, "done")


def undo(host: Host, run: str) -> dict[str, Any]:
    """Have all be as it was before ``begin``: code, settings and database. Raises UpgradeError.

    ``undone``: the release is the one of before; a run that had passed its gate is finished instead. ``restored``:
    something had been changed, and was put back. Where no upgrade is under way, nothing is done: its own last step
    has failed, and has put back itself what there was.
    """
    with journal.locked(host):
        if journal.read(host) is None:
            last = journal.read(host, places.LAST) or {}
            kept = (last.get("run"), last.get("phase")) == (run, "done")
            return {"undone": not kept, "restored": False, "version": installed(host)["version"]}
        data = journal.of_run(host, run)
        if data["phase"] == "passed":
            _finish(host, data)
            return {"undone": False, "restored": False, "version": data["to"]["version"]}
        if data["phase"] == "claimed":
            journal.close(host, data, "refused")
            return {"undone": True, "restored": False, "version": data["from"]["version"]}
        saved = data["phase"] != "begun" and data.get("saved", False)
        _drop_reserve(host, data)
        if saved:
            # What a killed run has begun to do to the database may go on without it.
            with journal.locked(host, places.SET_UP_LOCK, HOLD_PATIENCE, _SETTING_UP):
                _put_back(host, data)
        old = data["from"]
        _systemctl(host, ["start", places.PANEL], UNIT_PATIENCE)
        panel.wait_for(host, old["version"], old["venv"], _tokens(host)[0])
        if saved:
            panel.without_loss("Rollback", lambda: panel.counts(host, old["release"], old["venv"]), data["counts"])
        _release(host, data)
        journal.close(host, data, "undone")
        return {"undone": True, "restored": saved, "version": old["version"]}


def _put_back(host: Host, data: dict[str, Any]) -> None:
    old = data["from"]
    data["phase"] = "undoing"
    journal.write(host, data)
    _say(host, data, admit=[], hold=["worker", "jobs"])
    seen = _seen(host, data)
    _systemctl(host, ["stop", *places.UNITS], HOLD_PATIENCE)
    _restore_settings(host, data["snapshot"])
    databases.restore(host, databases.database_of(host), data["snapshot"])
    _link(host, places.CURRENT, old["release"])
    _link(host, places.VENV, old["venv"])
    _systemctl(host, ["daemon-reload"], UNIT_PATIENCE)
    panel.raise_generations(host, seen, old["release"], old["venv"])


def _seen(host: Host, data: dict[str, Any]) -> dict[str, int]:
    """Generations that nodes may have been given since the snapshot. What was noted by a run that was killed counts."""
    new = data["to"]
    seen: dict[str, int] = dict(data.get("seen") or {})
    # A database that a migration has left in the middle may not answer; then no worker has run with it either.
    with contextlib.suppress(UpgradeError):
        for name, generation in panel.generations(host, new["release"], new["venv"]).items():
            seen[name] = max(generation, seen.get(name, 0))
    data["seen"] = seen
    journal.write(host, data)
    return seen


def _knows_maintenance(host: Host, venv: str) -> bool:
    return any(host.path(venv).glob("lib/python3*/site-packages/streamfleet_panel/maintenance.py"))


def _hold(host: Host, data: dict[str, Any]) -> None:
    # The worker ends the run that it is in.
    _systemctl(host, ["stop", *places.HELD], HOLD_PATIENCE)
    _say(host, data, admit=[], hold=["worker", "jobs"])
    if data["read_only"]:
        data["lists"] = panel.lists(host, _tokens(host)[0])
    else:
        # A release that cannot be read-only would take changes that are then lost.
        _systemctl(host, ["stop", places.PANEL], UNIT_PATIENCE)


def _save(host: Host, data: dict[str, Any]) -> None:
    old = data["from"]
    data["counts"] = panel.counts(host, old["release"], old["venv"])
    place = host.path(data["snapshot"])
    for other in host.path(places.UPGRADE).iterdir():
        if other.is_dir():
            shutil.rmtree(other)
    place.mkdir(mode=0o700)
    databases.save(host, databases.database_of(host), data["snapshot"])
    there = [path.lstrip("/") for path in places.SETTINGS if host.path(path).exists()]
    archive = place / "settings.tar"
    done = host.run(["tar", "--create", f"--file={archive}", f"--directory={host.root}", *there], "", UNIT_PATIENCE)
    if done.code != 0:
        raise UpgradeError(f"The settings cannot be saved: {done.last_words}")
    archive.chmod(0o600)
    _keep_reserve(host, data)
    host.sync()
    data["saved"] = True


def _room(host: Host, database: databases.Database, needed: bool) -> dict[str, int]:
    """MB that the snapshot takes here, and that going back does. ``needed``: a server that does not say is an error."""
    try:
        size = databases.size_mb(host, database)
    except UpgradeError:
        # What was begun has its snapshot. Nothing is saved anew before it is undone.
        if needed:
            raise
        size = 0
    return {"database_mb": size, "back_mb": size if database.is_here else 0}


def _keep_reserve(host: Host, data: dict[str, Any]) -> None:
    """Room for the way back. Raises OSError where there is none, before anything is changed."""
    size = RESERVE + _room(host, databases.database_of(host), True)["back_mb"] * 2**20
    with host.path(f"{data['snapshot']}/{places.RESERVE}").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, size)


def _drop_reserve(host: Host, data: dict[str, Any]) -> None:
    host.path(f"{data['snapshot']}/{places.RESERVE}").unlink(missing_ok=True)


def _restore_settings(host: Host, folder: str) -> None:
    archive = str(host.path(f"{folder}/settings.tar"))
    listed = host.run(["tar", "--list", f"--file={archive}"], "", UNIT_PATIENCE)
    if listed.code != 0:
        raise UpgradeError(f"The saved settings cannot be read: {listed.last_words}")
    known = {name.rstrip("/") for name in listed.out.splitlines()}
    done = host.run(["tar", "--extract", f"--file={archive}", f"--directory={host.root}"], "", UNIT_PATIENCE)
    if done.code != 0:
        raise UpgradeError(f"The saved settings cannot be put back: {done.last_words}")
    for path in places.SETTINGS:
        place = host.path(path)
        for found in [place, *place.rglob("*")] if place.is_dir() else [place]:
            if str(found.relative_to(host.root)) not in known and (found.is_file() or found.is_symlink()):
                found.unlink()


def _release(host: Host, data: dict[str, Any]) -> None:
    """Everybody may write again, and everything runs. The file goes last: until then nobody's change is lost."""
    _systemctl(host, ["start", places.PANEL], UNIT_PATIENCE)
    host.path(places.MAINTENANCE).unlink(missing_ok=True)
    _systemctl(host, ["start", *places.HELD], UNIT_PATIENCE)


def _say(host: Host, data: dict[str, Any], admit: list[str], hold: list[str]) -> None:
    reason = f"The panel is being upgraded from {data['from']['version']} to {data['to']['version']}"
    if data["from"] == data["to"]:
        reason = "The panel's data is being moved into another database"
    journal.put(host, places.MAINTENANCE, {"reason": reason, "admit": admit, "hold": hold}, 0o644)


def _tokens(host: Host) -> list[str]:
    try:
        return [host.path(path).read_text().strip() for path in places.TOKENS]
    except OSError as error:
        raise UpgradeError(f"A token of this installation cannot be read: {error}. Run install.yml") from None


def _link(host: Host, path: str, target: str) -> None:
    place = host.path(path)
    partial = place.with_name(f".{place.name}.new")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(place)


def _systemctl(host: Host, words: list[str], timeout: float) -> None:
    done = host.run(["systemctl", *words], "", timeout)
    if done.code != 0:
        raise UpgradeError(f"systemctl {words[0]} failed: {done.last_words}")
