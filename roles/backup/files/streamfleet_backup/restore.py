"""Puts a backup back: shown first, done when confirmed, verified by its manifest, resumed after an interruption."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files, journal, loss, manifest, plan
from .backup import dispute, moment, restic_name, sorted_out
from .database import NoTables, Panel, is_installation, objects
from .errors import BackupError
from .place import InTheWay, Place
from .restic import MOST_INCLUDES, Restic
from .settings import SCRATCH, Settings
from .status import Status, stamp, write_whole


@dataclass(frozen=True)
class Request:
    """What is asked for.

    ``snapshot``: an id, latest, or a moment (RFC 3339), which means the newest that is not later. ``again``: what has
    gone on since this backup was put back here, too. Of a part: ``username`` or ``slug`` of whom or what, ``node`` for
    services that are not here; or ``only``, paths below which things are put back, and ``missing``, where only what is
    missing is.
    """

    snapshot: str = "latest"
    confirm: bool = False
    again: bool = False
    username: str = ""
    slug: str = ""
    node: str = ""
    only: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Units:
    """systemd, for what is stopped meanwhile."""

    def active(self, names: Sequence[str]) -> list[str]:
        """Those that run."""
        if not names:
            return []
        done = subprocess.run(["systemctl", "is-active", *names], stdout=subprocess.PIPE, text=True, check=False)
        return [
            name for name, state in zip(names, done.stdout.split(), strict=False) if state in ("active", "reloading")
        ]

    def known(self, names: Sequence[str]) -> list[str]:
        """Those that this host has: one whose role makes another choice here (no ACME, for example) is not stopped."""
        if not names:
            return []
        show = ["systemctl", "show", "--property=LoadState", "--value", *names]
        done = subprocess.run(show, stdout=subprocess.PIPE, text=True, check=False)
        states = done.stdout.split()
        # Where systemd does not say it of each, all are asked to stop, and what is wrong is told by that.
        if len(states) != len(names):
            return list(names)
        return [name for name, state in zip(names, states, strict=True) if state != "not-found"]

    def act(self, verb: str, names: Sequence[str]) -> None:
        """Start, stop or reload them. Raises BackupError."""
        if not names:
            return
        done = subprocess.run(["systemctl", verb, *names], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise BackupError(f"systemctl {verb} {' '.join(names)} failed: {' '.join(done.stderr.split())}")


def run(
    settings: Settings, status: Status, request: Request, restic: Restic | None = None, units: Units | None = None
) -> dict[str, Any]:
    """Show what would be done, or do it. Raises BackupError."""
    restic, units = restic or Restic(settings), units or Units()
    status.phase("repository")
    repository = str(restic.config()["id"])
    backups, disputed = sorted_out(restic)
    chosen = choose(backups, request.snapshot, _begun(settings), disputed)
    doubts = [f"{dispute(disputed)}."] if disputed else []
    with scratch(settings) as folder:
        summary, entries = fetch_manifest(settings, status, restic, chosen, folder)
        database = summary["database"] if settings.database else None
        versions(settings, summary, database)
        status.phase("compare")
        own = [] if request.again or not _has_gone_on(settings, chosen["id"]) else lenient(settings)
        with now(settings, settings.roots) as here:
            work = plan.make(entries, settings.roots, here, own)
        work.elsewhere = plan.elsewhere(list(summary["roots"]), settings.roots)
        told = {"snapshot": chosen["id"], "time": chosen["time"], "release": summary["release"], **work.told()}
        dumped = None
        if database:
            dumped = fetch_database(restic, chosen["id"], database, folder)
            told |= _database(settings, chosen["id"], database, request.again, folder)
        if not request.confirm:
            return {**told, "done": False, "warnings": doubts}
        loss.refuse_unmounted(settings, "Nothing was changed.")
        doing = told.get("database") in ("other", "empty", "unreadable")
        # One that is equal to the backup's has nothing to be kept.
        keep = told.get("database") == "unreadable" or bool(told.get("tables"))
        plan.room(work, settings.roots, room_of_database(settings, dumped, folder, keep) if dumped and doing else {})
        plan.owners_known(work)
        if (
            told.get("database") == "unreadable"
            and settings.database
            and Panel(settings.database).where.kind != "sqlite"
        ):
            raise BackupError(
                f"{told['reason']}. It cannot be kept, so nothing was changed. Mend it, or drop and make it."
            )
        with _stopped(settings, units, chosen["id"], work, doing):
            faults, warnings = put(settings, status, restic, chosen["id"], work)
            if dumped and doing:
                status.phase("database")
                kept = _load(settings, dumped, chosen["id"], database or {}, folder, keep)
                told |= {"database_kept": ", ".join(kept)} if kept else {}
        _known(settings, repository)
        again = f"Run the restore again, with restore_snapshot={chosen['id'][:8]}."
        if faults:
            raise BackupError(f"{' '.join(faults)} {again}")
        status.phase("verify")
        result = _verify(settings, entries, work.stay)
        if result["differing"] > result["moved"]:
            raise BackupError(
                f"{result['differing']} of {result['compared']} are not as the manifest says, among them"
                f" {', '.join(result['paths'])}. {again}"
            )
        if result["moved"]:
            warnings.append(
                f"{result['moved']} of {result['compared']} are not as the manifest says, since somebody has changed"
                f" them or moved their folders meanwhile, among them {', '.join(result['paths'][:3])}"
            )
        del result["moved"]
        _done(settings, chosen["id"])
    return {**told, **result, "done": True, "warnings": doubts + warnings}


def choose(
    backups: Sequence[Mapping[str, Any]], asked: str, begun: str = "", disputed: Sequence[Mapping[str, Any]] = ()
) -> Mapping[str, Any]:
    """The backup that is asked for; for latest the one whose restore has ``begun``. Raises BackupError.

    ``disputed``: those with more than one manifest, of which none is chosen.
    """
    going_on = asked == "latest" and bool(begun)
    if going_on:
        asked = begun
    wrong = [item for item in disputed if len(asked) >= 6 and item["id"].startswith(asked)]
    if wrong or (disputed and not backups):
        raise BackupError(f"{dispute(wrong or disputed)}. Then run it again. Nothing was changed.")
    if going_on and not any(item["id"].startswith(asked) for item in backups):
        raise BackupError(
            f"the restore of {asked[:8]} has begun on this host and has not ended, and that backup is not in the"
            " repository any more. Name another one as restore_snapshot, or the repository that has it as"
            " restore_repository; docs/backup.md, A restore that cannot be ended, says how to do without."
            " Nothing was changed."
        )
    if not backups:
        raise BackupError(
            "the repository holds no complete backup of this host. Run backup.yml, or name another repository or host."
        )
    if asked == "latest":
        return backups[-1]
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2})", asked):
        return _not_later(backups, asked)
    found = [item for item in backups if item["id"].startswith(asked)]
    if len(asked) < 6 or len(found) != 1:
        known = ", ".join(f"{item['id'][:8]} of {item['time'][:19]}" for item in backups[-10:])
        raise BackupError(
            f"restore_snapshot is {asked!r}, which is {'no' if not found else 'more than one'} backup. There are"
            f" {known}."
        )
    return found[0]


def _not_later(backups: Sequence[Mapping[str, Any]], asked: str) -> Mapping[str, Any]:
    """The newest of before that moment. Raises BackupError."""
    try:
        limit = moment({"time": asked})
    except ValueError:
        raise BackupError(
            f"restore_snapshot is {asked!r}, which is no moment. Write it as 2026-11-28T02:00:00Z."
        ) from None
    found = [item for item in backups if moment(item) <= limit]
    if not found:
        raise BackupError(f"restore_snapshot is {asked!r}; the oldest backup is of {backups[0]['time'][:19]}.")
    return found[-1]


def fetch_manifest(
    settings: Settings, status: Status, restic: Restic, chosen: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Any], list[files.Entry]]:
    """Summary and entries of a backup. Raises BackupError."""
    status.phase("manifest", chosen["time"])
    restic.restore(chosen["manifest"], folder, [str(settings.data / "stage" / "manifest")])
    return manifest.read(Path(f"{folder}{settings.data / 'stage' / 'manifest'}"))


def _begun(settings: Settings) -> str:
    """The backup whose restore was interrupted here, or nothing."""
    return str(journal.read(settings).get("snapshot", ""))


def _known(settings: Settings, repository: str) -> None:
    """Have the timer go on: this host has what was stored of it."""
    remembered = settings.data / "repository.json"
    if not remembered.exists():
        write_whole(remembered, json.dumps({"id": repository, "repository": restic_name(settings)}) + "\n")


def _done(settings: Settings, snapshot: str) -> None:
    """Remember that its files are back: whoever repeats the restore takes nothing of what they become."""
    before = _restored(settings)
    epoch = before.get("epoch") if before.get("snapshot") == snapshot else None
    told = {"snapshot": snapshot, "epoch": epoch, "at": stamp(), "files": True}
    write_whole(settings.data / "restored.json", json.dumps(told) + "\n")


def versions(settings: Settings, summary: Mapping[str, Any], database: Mapping[str, Any] | None) -> None:
    """Raises BackupError where the backup's database is newer than what is installed."""
    if not database or not settings.database:
        return
    unknown = sorted(set(database["migrations"]) - set(Panel(settings.database).migrations()))
    if unknown:
        made_by = summary["release"]["name"] or summary["release"]["version"]
        raise BackupError(
            f"the backup was made by Streamfleet {made_by}, whose database"
            f" is newer than what is installed here: it has {', '.join(unknown[:3])}. Install that version, or"
            " a later one, first. Nothing was changed."
        )


@contextlib.contextmanager
def now(settings: Settings, roots: Sequence[str]) -> Iterator[Iterator[files.Entry]]:
    """What lies on the disk, at these paths and below."""
    hashes = files.Hashes(settings.data / "hashes.sqlite3")
    try:
        yield files.walk(roots, hashes)
    finally:
        hashes.close()


def lenient(settings: Settings) -> list[str]:
    """Roots in which tenants work on meanwhile: those of no part whose units are stopped."""
    stopped = {path for part in settings.parts if part.units for path in part.paths}
    return [root for root in settings.roots if not any(manifest.under(path, [root]) for path in stopped)]


def _has_gone_on(settings: Settings, snapshot: str) -> bool:
    """Whether this backup's files were all put back here, and services have worked with them since."""
    if journal.exists(settings):
        return False
    told = _restored(settings)
    return bool(told.get("snapshot") == snapshot and told.get("files"))


def _restored(settings: Settings) -> dict[str, Any]:
    """What was put back here last: ``{"snapshot", "epoch", "at", "files"}``, or nothing."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((settings.data / "restored.json").read_text())
        return found if isinstance(found, dict) else {}
    return {}


def _verify(settings: Settings, entries: Sequence[files.Entry], stay: Collection[str]) -> dict[str, Any]:
    """Ask the disk anew: ``{"compared", "equal", "differing", "paths", "moved"}``.

    ``moved``: how many of them differ where tenants work on. Each was compared when it was put there, so that somebody
    has changed it since. ``stay``: paths of those that were left as they are.
    """
    here = [entry for entry in entries if manifest.under(entry.path, settings.roots)]
    # What was changing when it was stored, and is there, is whatever it has become.
    with now(settings, settings.roots) as found:
        wrong = manifest.differing((entry for entry in here if entry.path not in stay), found)
    theirs = lenient(settings)
    moved = sum(1 for path in wrong if manifest.under(path, theirs))
    return {
        "compared": len(here),
        "equal": len(here) - len(wrong),
        "differing": len(wrong),
        "paths": wrong[:10],
        "moved": moved,
    }


def fetch_database(restic: Restic, snapshot: str, database: Mapping[str, Any], folder: Path) -> Path:
    """The dump, compared with what the manifest says of it. Raises BackupError."""
    restic.restore(snapshot, folder, [str(database["path"])])
    dumped = Path(f"{folder}{database['path']}")
    digest = hashlib.sha256()
    try:
        with dumped.open("rb") as stream:
            while piece := stream.read(files.PIECE):
                digest.update(piece)
    except OSError as error:
        raise BackupError(
            f"the database of the backup cannot be read ({error.strerror}). Choose another backup."
        ) from None
    if digest.hexdigest() != database["sha256"]:
        raise BackupError("the database of the backup is not what its manifest says. Choose another backup.")
    return dumped


def _database(
    settings: Settings, snapshot: str, database: Mapping[str, Any], again: bool, folder: Path
) -> dict[str, Any]:
    """How the database here is: ``{"database", "tables", "reason"}``.

    ``database``: restored, same, other, empty, unreadable or elsewhere; ``tables``: of those that differ, rows
    [here, backup]; ``reason``: why it cannot be read, or why it counts as another one though its rows are equal.
    """
    if not settings.database:
        return {"database": "elsewhere", "tables": {}}
    panel = Panel(settings.database)
    (folder / "here").mkdir(mode=0o700)
    try:
        if panel.absent():
            return {"database": "empty", "tables": {}}
        dumped = panel.dump(folder / "here")
        here = objects(dumped)
    except NoTables:
        return {"database": "empty", "tables": {}}
    except BackupError as error:
        return {"database": "unreadable", "tables": {}, "reason": str(error)}
    there = database["objects"]
    if here == there:
        if "database" in journal.read(settings):
            # Loaded, and killed before the nodes were to take it for another one: generations and uids of the backup
            # must not be gone on with.
            reason = "a restore was killed after it had begun to load the database; it is loaded anew"
            return {"database": "other", "tables": {}, "reason": reason}
        return {"database": "same", "tables": {}}
    if not again and _is_restored(settings, snapshot, dumped):
        return {"database": "restored", "tables": {}}
    tables = {
        name: [here.get(name, {"count": 0})["count"], there.get(name, {"count": 0})["count"]]
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    }
    return {"database": "other", "tables": tables}


def room_of_database(settings: Settings, dumped: Path, folder: Path, keep: bool) -> dict[str, int]:
    """Folder → bytes that are needed there while a dump is loaded; where a server keeps its files is not known.

    ``folder``: with what was dumped of the one that is here, of which another dump is kept (``keep``).
    """
    if not settings.database:
        return {}
    at, size = Panel(settings.database).where, dumped.stat().st_size
    # It is dumped once more, and compared.
    needed = {str(settings.data): size}
    if at.kind == "sqlite":
        # The new one beside the old one, and the copy that the second dump is made of.
        return needed | {str(Path(at.name).parent): 2 * size}
    if keep:
        needed[str(settings.data)] += sum(each.stat().st_size for each in (folder / "here").glob("panel.*"))
    # The client's script.
    return needed | {tempfile.gettempdir(): size}


def _is_restored(settings: Settings, snapshot: str, dumped: Path) -> bool:
    """Whether the database here is the one that was made of this backup, by its epoch, whatever has come into it."""
    told = _restored(settings)
    epoch = told.get("epoch")
    return bool(told.get("snapshot") == snapshot and epoch and is_installation(dumped, str(epoch)))


@contextlib.contextmanager
def _stopped(settings: Settings, units: Units, snapshot: str, work: plan.Plan, database: bool) -> Iterator[None]:
    """Stop what must not run meanwhile; it runs again afterwards, also after a run that was killed here."""
    touched = [*work.work, *work.owners]
    parts = [part for part in settings.parts if any(manifest.under(entry.path, part.paths) for entry in touched)]
    wanted = [name for part in parts for name in part.units]
    if database and settings.database:
        wanted += settings.database.units
    names = list(dict.fromkeys(wanted))
    stopped = list(dict.fromkeys([*journal.read(settings).get("units", ()), *units.active(names)]))
    journal.note(settings, snapshot=snapshot, units=stopped)
    journal.hold(settings, names)
    units.act("stop", units.known(names))
    try:
        yield
    except BackupError as error:
        # Half of a database or of its keys is no panel: it stays stopped, and the next run starts it.
        raise BackupError(f"{error} Stopped until the restore has ended: {', '.join(stopped) or 'nothing'}.") from None
    journal.free(settings)
    units.act("start", stopped)
    reload = list(dict.fromkeys(name for part in parts for name in part.reload))
    units.act("reload", units.active(reload))
    journal.close(settings)


def put(
    settings: Settings, status: Status, restic: Restic, snapshot: str, work: plan.Plan
) -> tuple[list[str], list[str]]:
    """Fetch and put back, root by root: what is wrong with files that cannot be had, and warnings. Raises BackupError.

    Of programs that are stopped meanwhile nothing may be missing; for a lost recording, or for a tenant who moves his
    folders about, nobody has to wait.
    """
    status.phase("files", f"{len(work.work)} to put back")
    faults: list[str] = []
    warnings: list[str] = []
    for root in settings.roots:
        due = [entry for entry in work.work if manifest.under(entry.path, [root])]
        owners = [entry for entry in work.owners if manifest.under(entry.path, [root])]
        if not due and not owners:
            continue
        way = _Way(root in lenient(settings))
        try:
            fault = _put_root(status, restic, snapshot, root, due, owners, way)
        except OSError as error:
            raise BackupError(f"{root} cannot be put back: {error}") from None
        if fault and any(part.units for part in settings.parts if root in part.paths):
            raise BackupError(fault)
        faults += [fault] if fault else []
        warnings += way.told(root)
    os.sync()
    return faults, warnings


class _Way:
    """Puts things into a root; what is in their way is remembered where others work on, and an error elsewhere."""

    def __init__(self, is_lenient: bool) -> None:
        self._is_lenient = is_lenient
        self._met: dict[str, str] = {}

    def over(self, act: Callable[[files.Entry], Any], entry: files.Entry) -> Any:
        """What ``act`` returns; None where something was in its way. Raises BackupError."""
        try:
            return act(entry)
        except InTheWay as error:
            if not self._is_lenient:
                raise
            self._met[entry.path] = str(error)
            return None

    def told(self, root: str) -> list[str]:
        """One warning, or none."""
        if not self._met:
            return []
        first = next(iter(self._met.values()))
        return [f"{len(self._met)} in {root} could not be put back; the first: {first}"]


def _put_root(
    status: Status,
    restic: Restic,
    snapshot: str,
    root: str,
    due: Sequence[files.Entry],
    owners: Sequence[files.Entry],
    way: _Way,
) -> str:
    """One root; what is wrong with it, or nothing. What an interrupted run has fetched is not fetched again."""
    first = (*due, *owners)[0]
    place = Place(root, first.path != root or first.kind == "directory", SCRATCH)
    place.prepare(first)
    fault, lost = "", []
    left = [entry for entry in due if way.over(place.put, entry) is False]
    if left:
        try:
            _fetch(restic, snapshot, place, left, status)
        except BackupError as error:
            # What has come whole is put back nevertheless.
            fault = str(error)
        lost = [entry.path for entry in left if way.over(place.put, entry) is False]
    for entry in owners:
        way.over(place.owner, entry)
    for entry in due:
        # Files that came into it have changed nothing of a folder but its time.
        if entry.kind == "directory":
            way.over(place.put, entry)
    if not lost:
        shutil.rmtree(place.scratch, ignore_errors=True)
        return ""
    return (
        f"{len(lost)} files of {root} could not be fetched, among them {', '.join(lost[:5])}:"
        f" {fault or 'they are not what the manifest says, so the repository is damaged'}. All others were put back."
    )


def _fetch(restic: Restic, snapshot: str, place: Place, left: Sequence[files.Entry], status: Status) -> None:
    size = max(1, sum(entry.size for entry in left))
    before = shutil.disk_usage(place.scratch).free

    def watch() -> None:
        come = max(0, before - shutil.disk_usage(place.scratch).free)
        status.progress(
            min(99.0, 100 * come / size), f"{place.root}: about {come // 1_000_000} of {size // 1_000_000} MB"
        )

    wanted = [entry.path for entry in left] if len(left) <= MOST_INCLUDES else [place.root]
    restic.restore(snapshot, place.scratch, wanted, watch)


def _load(
    settings: Settings, dumped: Path, snapshot: str, database: Mapping[str, Any], folder: Path, keep: bool
) -> list[str]:
    """Put the database back, see that every row is there, and bring it to the installed version.

    What is kept of those that were here: files, also of a run that was killed.
    """
    if not settings.database:
        return []
    panel = Panel(settings.database)
    kept = list(journal.read(settings).get("database", {}).get("kept", ()))
    kept += [panel.keep(settings.data, stamp().replace(":", ""))] if keep else []
    # Before the first row: rows alone do not tell whether the nodes have heard of it.
    journal.note(settings, database={"kept": kept})
    panel.load(dumped)
    (folder / "loaded").mkdir(mode=0o700)
    found = objects(panel.dump(folder / "loaded"))
    if found != database["objects"]:
        wrong = [name for name in database["objects"] if found.get(name) != database["objects"][name]]
        raise BackupError(
            f"the database is not what was stored, in {', '.join(wrong[:5]) or 'tables that it did not have'}."
        )
    panel.manage("migrate", "--noinput")
    epoch = json.loads(panel.manage("restored").strip().splitlines()[-1])["epoch"]
    # From here on it is the panel's own again: whoever repeats the restore takes nothing of what comes away.
    write_whole(
        settings.data / "restored.json", json.dumps({"snapshot": snapshot, "epoch": epoch, "at": stamp()}) + "\n"
    )
    return kept


@contextlib.contextmanager
def scratch(settings: Settings) -> Iterator[Path]:
    """A folder of root's own for what is fetched."""
    folder = settings.data / "restore"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
