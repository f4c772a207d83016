"""One customer, or one service, out of a backup: rows through the panel, files by their paths; all others stay."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import files, loss, manifest, plan, restore, rows
from .backup import dispute, sorted_out
from .database import Panel
from .errors import BackupError
from .restic import Restic
from .settings import Settings, read_environment
from .status import Status

KEYS = "STREAMFLEET_PANEL_FIELD_KEYS"
#: What the panel says of each object that would change; of the others, only how many there are.
SHOWN = 200


def panel(settings: Settings, status: Status, request: restore.Request, restic: Restic | None = None) -> dict[str, Any]:
    """Have the panel make them what the backup says, or say what it would do. Raises BackupError.

    ``{"snapshot", "time", "release", "done", "username", "uid", "summary", "results", "files": {node: [path]}}``.
    """
    if settings.database is None:
        raise BackupError("this host has no panel, which is where customers are. Run it for the panel's host.")
    restic = restic or Restic(settings)
    status.phase("repository")
    backups, disputed = sorted_out(restic)
    chosen = restore.choose(backups, request.snapshot, disputed=disputed)
    with restore.scratch(settings) as folder:
        summary, _entries = restore.fetch_manifest(settings, status, restic, chosen, folder)
        database = summary["database"]
        if not database:
            raise BackupError(f"the backup of {chosen['time'][:19]} holds no panel's database. Choose another one.")
        restore.versions(settings, summary, database)
        status.phase("rows")
        dumped = restore.fetch_database(restic, chosen["id"], database, folder)
        secrets = str(settings.database.secrets)
        restic.restore(chosen["id"], folder, [secrets])
        staged = Path(f"{folder}{secrets}")
        keys = read_environment(staged).get(KEYS, "") if staged.exists() else ""
        order = {
            "username": request.username,
            "slug": request.slug,
            "node": request.node,
            "keys": [key for key in keys.split(",") if key],
            "tables": rows.of_customer(dumped, request.username, request.slug),
        }
        status.phase("apply" if request.confirm else "plan")
        command = ["restore_customer", *([] if request.confirm else ["--dry-run"])]
        told = json.loads(Panel(settings.database).manage(*command, stdin=json.dumps(order)).strip().splitlines()[-1])
    changing = [result for result in told["results"] if result["action"] != "unchanged"]
    return {
        "snapshot": chosen["id"],
        "time": chosen["time"],
        "release": summary["release"],
        "done": request.confirm,
        **{name: told[name] for name in ("username", "uid", "summary", "files", "changed")},
        "results": [{name: result[name] for name in ("kind", "key", "action", "changes")} for result in changing][
            :SHOWN
        ],
        "warnings": [f"{dispute(disputed)}."] if disputed else [],
    }


def paths(settings: Settings, status: Status, request: restore.Request, restic: Restic | None = None) -> dict[str, Any]:
    """Put back what lies at or below ``only`` and ``missing``, or say what it would do. Raises BackupError.

    Nothing is stopped.
    """
    restic = restic or Restic(settings)
    asked = (*request.only, *request.missing)
    roots = restore.lenient(settings)
    for path in asked:
        if not manifest.under(path, roots) or path in roots or ".." in path.split("/"):
            raise BackupError(
                f"{path} is in none of the folders that are restored by parts ({', '.join(roots) or 'none'})."
            )
    status.phase("repository")
    backups, disputed = sorted_out(restic)
    chosen = restore.choose(backups, request.snapshot, disputed=disputed)
    doubts = [f"{dispute(disputed)}."] if disputed else []
    tops = _tops(asked, roots)
    with restore.scratch(settings) as folder:
        summary, entries = restore.fetch_manifest(settings, status, restic, chosen, folder)
        status.phase("compare")
        wanted, way = _wanted(entries, asked)
        with restore.now(settings, tops) as here:
            theirs = (entry for entry in here if manifest.under(entry.path, asked))
            work = plan.make(wanted, settings.roots, theirs, request.missing)
        work.missing += way
        told = {"snapshot": chosen["id"], "time": chosen["time"], "release": summary["release"], **work.told()}
        if not request.confirm:
            return {**told, "done": False, "warnings": doubts}
        loss.refuse_unmounted(settings, "Nothing was changed.")
        plan.room(work, settings.roots)
        plan.owners_known(work)
        faults, warnings = restore.put(settings, status, restic, chosen["id"], work)
        if faults:
            raise BackupError(f"{' '.join(faults)} Run it again, with the same backup.")
        status.phase("verify")
        wanted += way
        with restore.now(settings, tops) as here:
            wrong = manifest.differing((entry for entry in wanted if entry.path not in work.stay), here)
    if wrong:
        warnings.append(
            f"{len(wrong)} of {len(wanted)} are not as the manifest says, since somebody has changed them or moved"
            f" their folders meanwhile, among them {', '.join(wrong[:3])}"
        )
    return {
        **told,
        "done": True,
        "compared": len(wanted),
        "equal": len(wanted) - len(wrong),
        "differing": len(wrong),
        "paths": wrong[:10],
        "warnings": doubts + warnings,
    }


def _wanted(entries: Sequence[files.Entry], asked: Sequence[str]) -> tuple[list[files.Entry], list[files.Entry]]:
    """Entries at or below these paths, and folders on the way there that are missing."""
    above = {str(parent) for path in asked for parent in Path(path).parents}
    found: list[files.Entry] = []
    way: list[files.Entry] = []
    for entry in entries:
        if manifest.under(entry.path, asked):
            found.append(entry)
        elif entry.kind == "directory" and entry.path in above and not os.path.lexists(entry.path):
            way.append(entry)
    return found, way


def _tops(asked: Sequence[str], roots: Sequence[str]) -> list[str]:
    """The first folders below the roots: tenants make links in them, not beside them."""
    found = set()
    for path in asked:
        root = next(root for root in roots if manifest.under(path, [root]))
        found.add(f"{root}/{path[len(root) + 1 :].split('/')[0]}")
    return sorted(found)
