"""One backup: dump, hash, store, compare, write the manifest, check, forget what is old."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import files, journal, loss, manifest, rows, upgrading
from .database import Panel, ended, objects
from .errors import BackupError, NoRepository
from .restic import Restic, escaped, megabytes, without_password
from .settings import SCRATCH, Settings, release_of
from .status import Status, stamp, write_whole

DATA_TAG, MANIFEST_TAG = "streamfleet", "streamfleet-manifest"
#: A backup that was interrupted may be gone on with for so long.
UNFINISHED = timedelta(days=2)
#: Clocks of two hosts may differ by so much.
CLOCKS = timedelta(minutes=10)
#: Backups of one period have this in common.
PERIODS = {"daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m"}


def run(
    settings: Settings,
    status: Status,
    restic: Restic | None = None,
    by_hand: bool = True,
    accept_missing: bool = False,
) -> dict[str, Any]:
    """Make one; what was written: ``{"snapshot", "manifest", "files", "bytes", …, "warnings"}``. Raises BackupError.

    ``by_hand``: somebody has asked for it; the timer has not. ``accept_missing``: what the backup before had and this
    one has not is meant to be gone.
    """
    restic = restic or Restic(settings)
    whole(settings)
    if not accept_missing:
        loss.refuse_unmounted(settings, f"Nothing was stored. {loss.ACCEPT}")
    status.phase("repository", restic_name(settings))
    begun, warnings = stamp(), []
    known = open_repository(settings, restic, by_hand)
    late = clock(restic)
    warnings += late
    with stage(settings) as folder:
        summary: dict[str, Any] = {"host": settings.host, "release": release_of(settings), "begun": begun}
        summary["database"] = dump(settings, status, folder)
        entries, counted = hashed(settings, status)
        kept_roots = loss.remembered(settings, manifest.by_root(entries, settings.roots))
        missing, fewer = loss.compare(settings, kept_roots)
        if missing and not accept_missing:
            raise BackupError(
                f"what the backup before had is not here: {'; '.join(missing)}. See whether its disk is mounted, or"
                f" have it back by restore.yml. {loss.ACCEPT} Nothing was stored."
            )
        warnings += [*missing, *fewer]
        status.phase("store", f"{len(entries)} files and folders, {counted.hashed_bytes} bytes of them new")
        roots = [*settings.roots, str(folder / "database")]
        there = [path for path in roots if Path(path).exists() or Path(path).is_symlink()]
        if not there:
            raise BackupError(
                f"there is nothing to store: none of {', '.join(roots)} is on this host. Run install.yml."
            )
        snapshot, gone = restic.backup(there, [DATA_TAG], left_out(settings.roots, counted.long), status.progress)
        if counted.left_out:
            warnings.append(
                f"{counted.left_out} were left out, since they lie more than {files.DEEPEST} folders deep or have a"
                f" path of more than {files.LONGEST} bytes, the first in {counted.first}"
            )
        status.phase("compare")
        # What has changed since it was hashed may have been stored as it was before, in between or after.
        now = [entry for entry in (files.changed_since(each) for each in entries) if entry is not None]
        strict = [path for part in settings.parts if part.units for path in part.paths]
        kept, moved = manifest.stored(now, restic.listing(snapshot), settings.roots, strict)
        if moved:
            warnings.append(
                f"{len(moved)} files were moved about while they were stored, among them {'; '.join(moved[:3])}"
            )
        changing = [entry.path for entry in kept if entry.kind == "file" and entry.sha256 is None]
        summary |= {
            "data": snapshot,
            "ended": stamp(),
            "gone": len(gone) + len(entries) - len(kept),
            "skipped": counted.skipped,
            "changing": changing[:100],
            "roots": manifest.by_root(kept, settings.roots),
        }
        # Before there is a manifest: what does not hold has none, and so is no backup.
        status.phase("check")
        restic.check(settings.check_data)
        (folder / "manifest").mkdir(mode=0o700)
        manifest.write(folder / "manifest", summary, kept)
        listed, _gone = restic.backup([str(folder / "manifest")], [MANIFEST_TAG, f"data:{snapshot}"])
    result = {
        "snapshot": snapshot,
        "manifest": listed,
        "repository": restic_name(settings),
        "files": sum(root["files"] for root in summary["roots"].values()),
        "bytes": sum(root["bytes"] for root in summary["roots"].values()),
        "rows": sum(table["count"] for table in (summary["database"] or {"objects": {}})["objects"].values()),
        "changing": len(changing),
        "begun": begun,
        "ended": stamp(),
        "warnings": warnings,
    }
    held, disputed = sorted_out(restic)
    if disputed:
        warnings.append(f"{dispute(disputed)}{'. Until then nothing is forgotten' if settings.prune else ''}.")
    if settings.prune and not late and not disputed:
        status.phase("prune")
        # By their ids: restic's own policy would count those that do not hold, and forget a good one in favour of such.
        gone = outdated(held, settings.keep)
        forget(restic, gone)
        result["forgotten"] = len(gone)
    write_whole(settings.data / "last.json", json.dumps({**result, "repository_id": known, "roots": kept_roots}) + "\n")
    return result


def left_out(roots: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Patterns of what restic passes over: what is assembled there, what is too deep, and ``paths``."""
    deeper = "/*" * (files.DEEPEST + 1)
    return [
        *(f"{root}/{SCRATCH}" for root in roots),
        *(f"{escaped(root)}{deeper}" for root in roots),
        *(escaped(path) for path in paths),
    ]


def whole(settings: Settings) -> None:
    """Raises BackupError where a restore has begun and not ended: half a host would be stored as its newest."""
    if not journal.exists(settings):
        return
    snapshot = str(journal.read(settings).get("snapshot", "a backup"))[:8]
    told = "run streamfleet-panel restored, " if "database" in journal.read(settings) else ""
    raise BackupError(
        f"the restore of {snapshot} has begun on this host and has not ended. Run restore.yml again: it goes on. If"
        f" what is here shall count as it is, {told}remove {settings.data / journal.FILE} and"
        f" {settings.data / journal.HELD}, and start what is stopped."
        " Nothing was stored."
    )


def open_repository(settings: Settings, restic: Restic, by_hand: bool = True) -> str:
    """Its id; made where there was none ever. Raises BackupError where it is another one than before, or has gone.

    A host that has never stored anything here, though backups of its name are here, was made anew. What it has would
    become the newest backup, so somebody has to restore first, or to say that this is meant.
    """
    remembered = settings.data / "repository.json"
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        before = json.loads(remembered.read_text())
    except (OSError, ValueError):
        before = {}
    where = restic_name(settings)
    expected = before.get("id") if before.get("repository") == where else None
    try:
        found = str(restic.config()["id"])
    except NoRepository as error:
        if expected:
            raise BackupError(
                f"{error} It was there before. If it shall begin anew, remove {remembered} and run it again."
            ) from None
        restic.init()
        found = str(restic.config()["id"])
    if expected and expected != found:
        raise BackupError(
            f"repository {where} is another one than before ({found[:8]}, not {expected[:8]}). Likely another disk is"
            f" mounted there. If that is meant, remove {remembered} and run it again."
        )
    if not by_hand and not remembered.exists() and any(sorted_out(restic)):
        raise BackupError(
            f"repository {where} holds backups of {settings.host}, and this host has made none of them: it was made"
            " anew. Run restore.yml to have its data back, or backup.yml if this shall count. Nothing was stored."
        )
    restic.unlock()
    write_whole(remembered, json.dumps({"id": found, "repository": where}) + "\n")
    return found


def clock(restic: Restic) -> list[str]:
    """A warning where the newest backup is of the future: a clock that is wrong must not say what is old."""
    found = restic.snapshots(DATA_TAG)
    if found and moment(found[-1]) > datetime.now(UTC) + CLOCKS:
        return [
            f"the newest backup is of {found[-1]['time']}, which is later than this host's clock. Set the clock; until"
            " then nothing is forgotten."
        ]
    return []


def dump(settings: Settings, status: Status, folder: Path) -> dict[str, Any] | None:
    """Dump the panel's database; what is known of it, None on hosts without a panel."""
    if settings.database is None:
        return None
    if not settings.database.secrets.is_file():
        raise BackupError(
            f"{settings.database.secrets} is not there, without which nobody reads the credentials in the panel's"
            " database. Have it back by restore.yml. Nothing was stored."
        )
    (folder / "database").mkdir(mode=0o700)
    panel = Panel(settings.database)
    while True:
        upgrading.wait(settings, status)
        status.phase("database")
        before = upgrading.trace(settings)
        path = panel.dump(folder / "database")
        if upgrading.trace(settings) == before:
            break
    if not ended(path):
        raise BackupError("the dump of the panel's database is not complete. Nothing was stored.")
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(files.PIECE):
            digest.update(piece)
    return {
        "kind": path.suffix[1:],
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": digest.hexdigest(),
        "objects": objects(path),
        "migrations": _migrations(path) or panel.migrations(),
    }


def _migrations(dump: Path) -> list[str]:
    """The panel's migrations that a dump has had: what is installed beside it may be older or newer."""
    return sorted(str(row["name"]) for _table, row in rows.read(dump, {"django_migrations"}) if row["app"] == "panel")


def hashed(settings: Settings, status: Status) -> tuple[list[files.Entry], files.Counted]:
    """All that lies on the disk, with hashes."""
    status.phase("hash")
    counted = files.Counted()
    entries: list[files.Entry] = []

    def tell() -> None:
        status.progress(0, f"{len(entries)} files and folders, {megabytes(counted.hashed_bytes)} read")

    hashes = files.Hashes(settings.data / "hashes.sqlite3")
    try:
        for entry in files.walk(settings.roots, hashes, lambda _count: tell(), counted):
            entries.append(entry)
            if len(entries) % 200 == 0:
                tell()
        hashes.forget_unseen()
    finally:
        # What was hashed by a run that is interrupted is known to the next one.
        hashes.close()
    return entries, counted


@contextlib.contextmanager
def stage(settings: Settings) -> Iterator[Path]:
    """A folder of root's own; what an interrupted run left in it is removed."""
    folder = settings.data / "stage"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def complete(restic: Restic) -> list[dict[str, Any]]:
    """Backups with a manifest, the oldest first: ``{"id", "time", "manifest"}``."""
    return sorted_out(restic)[0]


def sorted_out(restic: Restic) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Complete backups, and those that more than one manifest names: ``{"id", "time", "manifests": [{"id", "time"}]}``.

    A backup writes one manifest. Whoever may add can add another, with any time, so no time says which one is right.
    """
    listed: dict[str, dict[str, dict[str, Any]]] = {}
    for snapshot in restic.snapshots(MANIFEST_TAG):
        for tag in snapshot.get("tags") or ():
            if tag.startswith("data:"):
                listed.setdefault(tag.removeprefix("data:"), {})[snapshot["id"]] = snapshot
    whole, disputed = [], []
    for snapshot in restic.snapshots(DATA_TAG):
        # Older versions of restic tell the first eight digits of an id when they have made it.
        named = listed.get(snapshot["id"], {}) | listed.get(snapshot["id"][:8], {})
        told = {"id": snapshot["id"], "time": snapshot["time"]}
        if len(named) == 1:
            whole.append({**told, "manifest": next(iter(named))})
        elif named:
            manifests = [{"id": item["id"], "time": item["time"]} for item in named.values()]
            disputed.append({**told, "manifests": manifests})
    return whole, disputed


def dispute(disputed: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with them, and what to do."""
    each = [f"{_named(item)} has {' and '.join(map(_named, item['manifests'][:5]))}" for item in disputed[:3]]
    return (
        f"{len(disputed)} backups have more than one manifest, so they count neither as whole nor as old: "
        f"{'; '.join(each)}. A host that was taken over may add manifests with any time. See by the clock of the"
        " repository's server which came first (its files in the folder snapshots), and remove the others with a key"
        " that may remove: restic forget ID"
    )


def _named(snapshot: Mapping[str, Any]) -> str:
    return f"{snapshot['id'][:8]} of {str(snapshot['time'])[:19]}"


def forget(restic: Restic, gone: Sequence[str], unfinished_for: timedelta = UNFINISHED) -> None:
    """Forget backups by their ids with their manifests, and halves without the other; prune. Raises BackupError.

    ``unfinished_for``: how old one without a manifest is left alone, for somebody may work on it.
    """
    whole = {item["id"] for found in sorted_out(restic) for item in found}
    limit = datetime.now(UTC) - unfinished_for
    unfinished = [item["id"] for item in restic.snapshots(DATA_TAG) if item["id"] not in whole and moment(item) < limit]
    if unfinished:
        restic.forget(*unfinished)
    if gone:
        restic.forget(*gone)
    left = {name for item in restic.snapshots(DATA_TAG) for name in (item["id"], item["id"][:8])}
    alone = [
        item["id"]
        for item in restic.snapshots(MANIFEST_TAG)
        if not any(tag.removeprefix("data:") in left for tag in item.get("tags") or ())
    ]
    if alone:
        restic.forget(*alone)
    restic.prune()


def outdated(backups: Sequence[Mapping[str, Any]], keep: Mapping[str, int]) -> list[str]:
    """Ids of those that no period keeps; a period (daily, weekly, monthly) keeps the newest of each of its last ones.

    ``backups``: the oldest first. Where nothing says what to keep, all are kept.
    """
    if not any(keep.values()):
        return []
    kept: set[str] = set()
    for period, count in keep.items():
        newest: dict[str, str] = {}
        for item in reversed(backups):
            newest.setdefault(moment(item).strftime(PERIODS[period]), item["id"])
        kept.update(list(newest.values())[:count])
    return [item["id"] for item in backups if item["id"] not in kept]


def moment(snapshot: Mapping[str, Any]) -> datetime:
    """When a snapshot was made."""
    # Nanoseconds are more than Python 3.11 reads.
    return datetime.fromisoformat(re.sub(r"\.[0-9]+", "", str(snapshot["time"])))


def restic_name(settings: Settings) -> str:
    """The repository as it may be shown."""
    return without_password(settings.repository)
