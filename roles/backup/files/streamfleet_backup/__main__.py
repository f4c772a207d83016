"""Command line: ``streamfleet-backup backup | restore | begin | wait | status | list | unlock | prune``.

All but messages is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from . import backup, customer, pruning, restore
from .errors import BackupError
from .lock import held
from .restic import Restic
from .settings import RUN, Settings, load
from .status import Status, read, write_whole

UNITS = {"backup": "streamfleet-backup.service", "restore": "streamfleet-restore.service"}
#: States of a unit whose program works.
BUSY = ("activating", "deactivating")
POLL_SECONDS = 0.5
#: What may be asked of a restore, and what it is without (restore.Request; whose backup, and where it is).
ORDER: dict[str, Any] = {
    "snapshot": "latest",
    "confirm": False,
    "again": False,
    "host": "",
    "repository": "",
    "repository_password": "",
    "username": "",
    "slug": "",
    "node": "",
    "only": [],
    "missing": [],
}
#: Those that say whose backup it is, and where.
WHOSE = ("host", "repository", "repository_password")
#: Written by begin backup: the unit is the timer's, too, and is told who wants it.
BY_HAND = "backup.by-hand"
#: In it, where what has gone is meant to be gone.
ACCEPTED = "accept missing"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 1 where the job failed or could not be begun."""
    asked = _parser().parse_args(arguments)
    try:
        return int(asked.act(asked))
    except BackupError as error:
        print(f"streamfleet-backup: {error}", file=sys.stderr)
        return 1


def _backup(_asked: argparse.Namespace) -> int:
    settings = load()
    asked = settings.run / BY_HAND

    def work(status: Status) -> dict[str, Any]:
        by_hand = asked.exists()
        accepted = by_hand and asked.read_text() == ACCEPTED
        asked.unlink(missing_ok=True)
        return backup.run(settings, status, by_hand=by_hand, accept_missing=accepted)

    return _job(settings, "backup", work)


def _restore(_asked: argparse.Namespace) -> int:
    order = _order()
    settings = _settings_of(order)
    known = {name: tuple(value) if isinstance(value, list) else value for name, value in order.items()}
    asked: dict[str, Any] = {name: known[name] for name in ORDER if name not in WHOSE}
    request = restore.Request(**asked)
    if request.username or request.slug:
        return _job(settings, "restore", lambda status: customer.panel(settings, status, request))
    if request.only or request.missing:
        return _job(settings, "restore", lambda status: customer.paths(settings, status, request))
    return _job(settings, "restore", lambda status: restore.run(settings, status, request))


def _job(settings: Settings, job: str, work: Any) -> int:
    with held(settings.run, job):
        status = Status(settings.run, job)
        try:
            result = work(status)
        except BackupError as error:
            status.end("failed", str(error))
            return 1
        except BaseException as error:
            status.end("failed", f"ended by {error!r}")
            raise
        status.end("succeeded", f"{job} has ended", **result)
    return 0


def _begin(asked: argparse.Namespace) -> int:
    """Start a job in the background; print its id, and whether it ran already."""
    unit = UNITS[asked.job]
    for job, other in UNITS.items():
        # Who asks for a backup that runs waits for it; two restores may mean two things.
        if _state(other)["ActiveState"] in BUSY and (job, asked.job) != ("backup", "backup"):
            told = read(RUN)
            raise BackupError(
                f"a {job} works on this host since {told.get('begun')}. Run this again when it has ended."
            )
    if asked.accept_missing and _state(unit)["ActiveState"] in BUSY:
        raise BackupError(
            "a backup works on this host already, to which it was not said. Run this again when it has ended."
        )
    if asked.job == "restore":
        order = {name: getattr(asked, name, default) for name, default in ORDER.items()}
        if asked.order:
            order |= _read_order(sys.stdin.read())
        RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
        _settings_of(order)
        write_whole(RUN / "restore.json", json.dumps(order) + "\n")
    before = _state(unit)
    running = before["ActiveState"] in BUSY
    if not running:
        if asked.job == "backup":
            RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_whole(RUN / BY_HAND, ACCEPTED if asked.accept_missing else "")
        done = subprocess.run(
            ["systemctl", "start", "--no-block", unit], stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            for name in (BY_HAND, "restore.json"):
                (RUN / name).unlink(missing_ok=True)
            raise BackupError(f"systemctl start {unit} failed: {' '.join(done.stderr.split())}")
    deadline = time.monotonic() + 30
    while (now := _state(unit))["InvocationID"] in ("", before["InvocationID"]) and not running:
        if time.monotonic() > deadline:
            raise BackupError(f"{unit} does not start. See journalctl -u {unit}.")
        time.sleep(POLL_SECONDS)
    print(json.dumps({"id": now["InvocationID"], "running": running}))
    return 0


def _read_order(text: str) -> dict[str, Any]:
    """What restore.yml asks for. Raises BackupError, without what was read: it may hold a password."""
    try:
        order = json.loads(text)
    except ValueError:
        order = None
    if not isinstance(order, dict) or not all(_fits(name, value) for name, value in order.items()):
        raise BackupError(
            f"the order must be a JSON object of {', '.join(ORDER)}; confirm and again true or false, only and missing"
            " lists of paths."
        )
    return order


def _fits(name: str, value: Any) -> bool:
    known = ORDER.get(name)
    if isinstance(known, list):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return known is not None and isinstance(value, bool if isinstance(known, bool) else str)


def _wait(asked: argparse.Namespace) -> int:
    """Wait until the job has ended, at most so many seconds; print what it is at."""
    deadline = time.monotonic() + asked.seconds
    while (told := _told(asked.job, asked.id))["state"] == "running" and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    print(json.dumps(told))
    return 0


def _told(job: str, identity: str) -> dict[str, Any]:
    """What a job has told; that it failed, where it has ended without a word."""
    # In this order: what ends meanwhile has told before it ended.
    unit = _state(UNITS[job])
    alive = unit["InvocationID"] == identity and unit["ActiveState"] in BUSY
    told = read(RUN)
    if told.get("id") != identity:
        told = {"job": job, "id": identity, "state": "running", "phase": "begin", "percent": 0, "message": ""}
    if told["state"] == "running" and not alive:
        why = f"it was ended from outside ({unit['Result']})"
        return {
            **told,
            "state": "failed",
            "message": f"{why}; see journalctl -u {UNITS[job]}. Run it again: it goes on.",
        }
    return told


def _status(_asked: argparse.Namespace) -> int:
    """What the last job told."""
    print(json.dumps(read(RUN)))
    return 0


def _list(asked: argparse.Namespace) -> int:
    """Complete backups, the oldest first."""
    settings = _settings_of({"host": asked.host, "repository": asked.repository})
    backups, disputed = backup.sorted_out(Restic(settings))
    print(json.dumps(backups))
    if disputed:
        print(f"streamfleet-backup: {backup.dispute(disputed)}.", file=sys.stderr)
    return 0


def _unlock(asked: argparse.Namespace) -> int:
    """Remove locks of the repository that nobody has any more, where nothing works on this host."""
    settings = load()
    with held(settings.run, "unlock"):
        Restic(settings).unlock(everybodys=asked.all)
    return 0


def _prune(asked: argparse.Namespace) -> int:
    """Forget what is old, with its manifests, in any repository; print what has gone."""
    keep = {period: getattr(asked, f"keep_{period}") for period in backup.PERIODS}
    policy = pruning.Policy(keep, timedelta(days=asked.keep_within), tuple(asked.accept), asked.accept_unseen)
    settings = pruning.settings_of(asked.host, asked.repository, asked.state)
    print(json.dumps(pruning.run(settings, policy, asked.dry_run), indent=2))
    return 0


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 36500:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 36500")
    return number


def _order() -> dict[str, Any]:
    try:
        order = json.loads((RUN / "restore.json").read_text())
    except (OSError, ValueError) as error:
        raise BackupError(f"nobody has said what to restore ({error}). Use restore.yml.") from None
    finally:
        # It holds a repository's password, and so may its address.
        (RUN / "restore.json").unlink(missing_ok=True)
    return dict(order)


def _settings_of(order: dict[str, Any]) -> Settings:
    """Settings with the host or repository that is asked for in place of this one's."""
    settings = load()
    if order.get("host"):
        settings = dataclasses.replace(settings, host=order["host"])
    names = {"repository": "RESTIC_REPOSITORY", "repository_password": "RESTIC_PASSWORD"}
    given = {names[name]: order[name] for name in names if order.get(name)}
    if given:
        settings = dataclasses.replace(settings, environment={**settings.environment, **given})
    return settings


def _state(unit: str) -> dict[str, str]:
    names = ("ActiveState", "InvocationID", "Result")
    command = ["systemctl", "show", *(f"--property={name}" for name in names), unit]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return {name: found.get(name, "") for name in names}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="streamfleet-backup", description="Backups of this host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, act: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(act=act)
        return made

    command("backup", _backup, "make one now (what the timer's unit does)")
    command("restore", _restore, "do what begin restore has written down (what its unit does)")
    command("status", _status, "what the last job has told")
    unlock = command("unlock", _unlock, "remove locks of the repository that were left by programs that have died")
    unlock.add_argument("--all", action="store_true", help="also those of other hosts: nobody must be at work there")
    begin = command("begin", _begin, "start a job in the background")
    begin.add_argument("job", choices=sorted(UNITS))
    begin.add_argument("--snapshot", default="latest")
    begin.add_argument("--confirm", action="store_true")
    begin.add_argument("--again", action="store_true")
    begin.add_argument("--accept-missing", action="store_true", help="of a backup: what has gone is meant to be gone")
    begin.add_argument("--order", action="store_true", help="read these from standard input, as JSON")
    wait = command("wait", _wait, "wait for a job")
    wait.add_argument("job", choices=sorted(UNITS))
    wait.add_argument("id")
    wait.add_argument("--seconds", type=float, default=20)
    prune = command(
        "prune",
        _prune,
        "forget what is old, each backup with its manifest, where hosts may only add; also on a machine that is none of"
        " the fleet. The repository's password is read from the environment, as restic reads it",
    )
    for period, count in (("daily", 7), ("weekly", 4), ("monthly", 12)):
        prune.add_argument(f"--keep-{period}", type=_count, default=count, metavar="N", help=f"{count} when left out")
    prune.add_argument(
        "--keep-within", type=_count, default=30, metavar="DAYS", help="all that are no older stay; 30 when left out"
    )
    prune.add_argument(
        "--accept", nargs="+", default=[], metavar="ID", help="snapshots whose time is right, though it seems not to be"
    )
    prune.add_argument(
        "--accept-unseen",
        action="store_true",
        help="believe the times of what no pruning has seen: on a first run, or after more than --keep-within",
    )
    prune.add_argument(
        "--state",
        default="",
        metavar="FOLDER",
        help="where it remembers which backups there were, in place of the usual",
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")
    for each in (begin, prune, command("list", _list, "complete backups of this host")):
        each.add_argument("--host", default="")
        each.add_argument("--repository", default="")
    return parser


if __name__ == "__main__":
    sys.exit(main())
