"""Pruning from elsewhere than the host that is backed up: by the same policy, and so that the host cannot misuse it.

A host that was taken over may add what it likes, with any time, where it may only add. What it adds must not have good
backups pruned, so that what lies about its time ends the job, and recent backups all stay.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from .backup import (
    CLOCKS,
    DATA_TAG,
    MANIFEST_TAG,
    UNFINISHED,
    dispute,
    forget,
    moment,
    outdated,
    restic_name,
    sorted_out,
)
from .errors import BackupError
from .restic import Restic
from .settings import CACHE, CONFIG, DATA, Settings, load
from .status import write_whole

#: What restic and the servers of repositories read of the environment.
PASSED_ON = ("RESTIC_", "AWS_", "AZURE_", "B2_", "GOOGLE_", "OS_", "ST_", "RCLONE_", "SSH_AUTH_SOCK")
#: What a first run says.
FIRST = (
    "the first run of this machine for this repository: nothing is forgotten, for it cannot tell which backups a host"
    " that was taken over may have added with a false time. Look at them (restic snapshots). The next run believes"
    " those that this one has seen; --accept-unseen does so at once"
)
PASSWORDS = ("RESTIC_PASSWORD", "RESTIC_PASSWORD_FILE", "RESTIC_PASSWORD_COMMAND")


@dataclass(frozen=True)
class Policy:
    """What stays. ``keep``: period → how many. ``within``: everything that is no older.

    ``accept``: ids of those that are believed, though they seem to lie. ``unseen``: so is what no pruning has seen.
    """

    keep: Mapping[str, int]
    within: timedelta
    accept: tuple[str, ...] = ()
    unseen: bool = False


def settings_of(host: str, repository: str, state: str = "", environment: Mapping[str, str] | None = None) -> Settings:
    """For a repository that is named, with the log-in of the environment; else this host's own. Raises BackupError.

    ``state``: the folder in which it remembers what there was, in place of the usual one.
    """
    if not repository:
        try:
            there = (CONFIG / "settings.json").is_file()
        except OSError as error:
            raise BackupError(
                f"--repository is not given, and {CONFIG / 'settings.json'} cannot be read ({error.strerror}). Say"
                " which repository it is, or be root for that of this host."
            ) from None
        if not there:
            raise BackupError("--repository is not given, and this is no host that is backed up. Say which it is.")
        own = load()
        if host and host != own.host:
            raise BackupError(
                f"--host is {host!r}, and the repository of this host is that of {own.host!r}. Give --repository, too."
            )
        return own
    if not host:
        raise BackupError("--host is not given: whose backups, by its name in the inventory?")
    known = os.environ if environment is None else environment
    given = {name: value for name, value in known.items() if name.startswith(PASSED_ON)}
    if not any(given.get(name) for name in PASSWORDS):
        raise BackupError(f"the repository's password is not given. Set one of {', '.join(PASSWORDS)}.")
    given["RESTIC_REPOSITORY"] = repository
    data, cache = DATA, CACHE
    if os.geteuid() != 0:
        home = Path.home()
        data, cache = home / ".local/state/streamfleet-backup", home / ".cache/streamfleet-backup"
    if state:
        data, cache = Path(state), Path(state) / "cache"
    return Settings(host, (), None, {}, True, "", 0, given, data=data, cache=cache)


def run(settings: Settings, policy: Policy, dry_run: bool, restic: Restic | None = None) -> dict[str, Any]:
    """Forget and prune: ``{"repository", "host", "dry_run", "backups", "kept", "forgotten": [{"id", "time"}],
    "note"}``.

    The first run has nothing to compare with: it forgets nothing, and remembers what there is. Raises BackupError, with
    nothing removed, where more than one manifest names a backup, where one is of the future, or has come since the
    pruning before and says that it is older, and where that pruning was too long ago to tell.
    """
    if not any(policy.keep.values()):
        raise BackupError("--keep-daily, --keep-weekly and --keep-monthly are all 0. Say how many backups stay.")
    restic = restic or Restic(settings)
    repository = str(restic.config()["id"])
    backups, disputed = sorted_out(restic)
    if disputed:
        raise BackupError(f"{dispute(disputed)}. Nothing was removed.")
    if not backups:
        raise BackupError(
            f"repository {restic_name(settings)} holds no complete backup of {settings.host}. Compare --host with what"
            " restic snapshots says. Nothing was removed."
        )
    remembered = settings.data / f"pruned-{repository[:16]}-{settings.host}.json"
    now = datetime.now(UTC)
    snapshots = [*restic.snapshots(DATA_TAG), *restic.snapshots(MANIFEST_TAG)]
    before = _before(remembered)
    _refuse_those_that_lie(snapshots, before, policy.accept, now)
    first = not before and not policy.unseen
    if before and not policy.unseen:
        _refuse_what_nobody_has_watched(before["at"], policy.within, now)
    old = set() if first else set(outdated(backups, policy.keep))
    gone = [item for item in backups if item["id"] in old and moment(item) < now - policy.within]
    told = {
        "repository": restic_name(settings),
        "host": settings.host,
        "dry_run": dry_run,
        "backups": len(backups),
        "kept": len(backups) - len(gone),
        "forgotten": [{"id": item["id"][:8], "time": item["time"]} for item in gone],
        "note": FIRST if first else "",
    }
    if dry_run:
        return told
    if not first:
        # What a pruning has left that was killed here.
        restic.unlock()
        # A large one works for days, and nobody knows here whether it does.
        forget(restic, [item["id"] for item in gone], max(UNFINISHED, policy.within))
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only what was looked at: what has come meanwhile is judged next time.
    ids = sorted(str(item["id"]) for item in snapshots)
    write_whole(remembered, json.dumps({"at": now.isoformat(), "seen": ids}) + "\n")
    return told


def _before(remembered: Path) -> dict[str, Any]:
    """What the pruning before has seen: ``{"at", "seen": [id]}``, or nothing. Raises BackupError."""
    try:
        found = json.loads(remembered.read_text())
        return {"at": datetime.fromisoformat(found["at"]), "seen": set(found["seen"])}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(
            f"{remembered} cannot be read ({error!r}): it says which backups there were at the last pruning. Have it"
            " back, or remove it if nobody can have added any with a false time. Nothing was removed."
        ) from None


def _refuse_what_nobody_has_watched(at: datetime, within: timedelta, now: datetime) -> None:
    """Raises BackupError where what has come since the pruning before may be old enough to take a place at once."""
    if now - at + UNFINISHED > within:
        raise BackupError(
            f"the last pruning was at {at:%Y-%m-%d %H:%M} UTC, and --keep-within is {within.days} days, of which"
            f" {UNFINISHED.days} are for a backup that works. What has come since may have any time since then, and so"
            " could put out good ones that are not kept by it. Look at them (restic snapshots); if they are right, give"
            " --accept-unseen once, and from then on prune more often, or keep for longer. Nothing was removed."
        )


def _refuse_those_that_lie(
    snapshots: Sequence[Mapping[str, Any]], before: Mapping[str, Any], accept: Sequence[str], now: datetime
) -> None:
    unsure = [item for item in snapshots if not any(len(each) >= 8 and item["id"].startswith(each) for each in accept)]
    future = [item for item in unsure if moment(item) > now + CLOCKS]
    late: list[Mapping[str, Any]] = []
    if before:
        # One that was begun before that pruning may have ended after it.
        limit = before["at"] - UNFINISHED
        late = [item for item in unsure if item["id"] not in before["seen"] and moment(item) < limit]
    for found, what in (
        (future, "are of the future"),
        (
            late,
            f"have come since the last pruning ({before.get('at', now):%Y-%m-%d %H:%M} UTC), and say they are older",
        ),
    ):
        if found:
            named = ", ".join(f"{item['id'][:8]} of {str(item['time'])[:19]}" for item in found[:5])
            raise BackupError(
                f"{len(found)} snapshots {what}: {named}. A host that was taken over may add such, so that good ones"
                " are pruned in their favour. See what they are; remove those that are wrong (restic forget ID), or"
                " give --accept with their ids if they are right. Nothing was removed."
            )
