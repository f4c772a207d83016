"""One playbook at a time that changes what hosts are: a note on the panel's host of who works, since when and how long.

Ansible's tasks are processes of their own, so no file stays open from one to the next, as it does for a converge: the
note counts until its time is over, or its run is known to be dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from .since_boot import Moment


class Held(RuntimeError):
    """Another run has the lock. The message says who, which playbook and since when; ``process``: the run's."""

    def __init__(self, message: str, process: str) -> None:
        super().__init__(message)
        self.process = process


@dataclass(frozen=True)
class Run:
    """A run of Ansible. ``process`` tells it apart; ``who`` and ``what`` are for people."""

    process: str
    who: str
    what: str


def take(
    path: Path,
    run: Run,
    hold: timedelta,
    *,
    take_over: bool,
    now: datetime,
    moment: Moment | None = None,
    write: bool = True,
) -> dict[str, str]:
    """Have the lock for ``hold`` from now on, or longer where the run has it longer already. Returns the note.

    ``moment``: now, as the host has lived it. Where it is given, the time that is left does not change with the clock.
    Raises Held where another run has it, unless it is dead for certain (``take_over``); OSError.
    """
    with _opened(path, write) as descriptor:
        there = _read(path, descriptor)
        left = _left(there, now, moment) if there else timedelta()
        if there and there["process"] != run.process and not take_over and left > timedelta():
            raise Held(_said(there, now + left), there["process"])
        since = now
        if there and there["process"] == run.process:
            since, hold = _time(there["since"]), max(hold, left)
        note = {"process": run.process, "who": run.who, "what": run.what, "since": _text(since)}
        note["until"] = _text(now + hold)
        if moment and moment.boot:
            note |= {"boot": moment.boot, "ends": f"{moment.seconds + hold.total_seconds():.3f}"}
        if descriptor is not None:
            _write(descriptor, json.dumps(note))
    return note


def release(path: Path, run: Run) -> bool:
    """Give the lock back where the run has it. Whether it had it. Raises OSError."""
    if not path.exists():
        return False
    with _opened(path, True) as descriptor:
        there = _read(path, descriptor)
        held = there is not None and there["process"] == run.process
        if held and descriptor is not None:
            _write(descriptor, "")
    return held


@contextlib.contextmanager
def _opened(path: Path, write: bool) -> Iterator[int | None]:
    """The file, while nobody else reads it to write it; None where nothing is to be written."""
    if not write:
        yield None
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(path: Path, descriptor: int | None) -> dict[str, str] | None:
    """The note; None where there is none, or only a part of one, whose writer was killed."""
    try:
        text = os.pread(descriptor, 65536, 0).decode() if descriptor is not None else path.read_text()
        found = json.loads(text)
        note = {name: str(found[name]) for name in ("process", "who", "what", "since", "until")}
        note |= {name: str(found.get(name, default)) for name, default in (("boot", ""), ("ends", "0"))}
        return note if _time(note["since"]) and _time(note["until"]) and float(note["ends"]) >= 0 else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _left(there: dict[str, str], now: datetime, moment: Moment | None) -> timedelta:
    """For how long the run is waited for."""
    over = moment.after(there["boot"], float(there["ends"])) if moment else None
    return _time(there["until"]) - now if over is None else timedelta(seconds=-over)


def _said(there: dict[str, str], end: datetime) -> str:
    since, until = (text.replace("T", " ").replace("+00:00", " UTC") for text in (there["since"], _text(end)))
    return (
        f"{there['who']} works on this fleet with {there['what']} since {since}. Wait for its end. If you know that it "
        f"was killed, add -e streamfleet_lock_take_over=true; at {until} it is taken for dead"
    )


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return found


def _text(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
