"""How far a change of names has come: one file on the panel's host, written before each step, so that a run that was
killed can be finished or taken back by the next one, and two runs do not work at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from .. import durable
from .errors import DomainError

#: A run writes before each of its steps; one that has not for so long is taken for dead.
LEASE = timedelta(minutes=20)
NAME = "journal.json"
NAMES = "names.json"
UNFINISHED = ("changing", "returning", "stuck")


@dataclass(frozen=True)
class Holder:
    """A run. ``where``: its controller, process and that process's start; empty where that is not known."""

    id: str
    where: str = ""


@dataclass
class Journal:
    """``folder``: root's alone. Every method raises OSError; what cannot be done is a DomainError."""

    folder: Path

    def read(self) -> dict[str, Any] | None:
        """The last change, finished or not; None where there never was one."""
        try:
            found: dict[str, Any] = json.loads((self.folder / NAME).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DomainError(f"{self.folder / NAME} cannot be read ({error}); look at the disk") from None
        return found

    def unfinished(self) -> dict[str, Any] | None:
        """The change that is under way, or was left."""
        found = self.read()
        return found if found is not None and found["state"] in UNFINISHED else None

    def begin(
        self, holder: Holder, change: Mapping[str, Any], *, take_over: bool, now: datetime, write: bool = True
    ) -> dict[str, Any]:
        """Begin ``change``, or go on with it where it was left. Returns the journal, with ``resumed``.

        ``change``: ``from``, ``to``, ``until`` and ``hosts``, which goes into the journal; of a change that is
        unfinished the latter two count as they were. Raises DomainError where another is unfinished, or its run may be
        alive.
        """
        with self._locked(write):
            self._alone()
            there = self.unfinished()
            if there is None:
                entry = {**change, "state": "changing", "step": "begun", "began": _text(now)}
            else:
                if (there["from"], there["to"]) != (change["from"], change["to"]):
                    raise DomainError(f"{_said(there)}. {_ways(there)}")
                _dead(there, holder, take_over, now)
                entry = {**there, "state": "changing"}
            entry |= {"run": holder.id, "where": holder.where, "written": _text(now)}
            if write:
                self._write(entry)
        return {**entry, "resumed": there is not None}

    def _alone(self) -> None:
        """Raise DomainError while an upgrade works here, whose way back leads over the same settings."""
        other = self.folder.parent / "upgrade" / NAME
        if other.exists():
            raise DomainError(
                f"An upgrade is under way, or was killed ({other}). Wait for its end, or have it finished or undone by "
                "upgrade.yml"
            )

    def take_back(self, holder: Holder, *, take_over: bool, now: datetime, write: bool = True) -> dict[str, Any]:
        """Go on with the change that was left, backwards. Raises DomainError where there is none."""
        with self._locked(write):
            self._alone()
            there = self.unfinished()
            if there is None:
                last = self.read()
                said = f"The last one, {_what(last)}, is {last['state']}. " if last else ""
                raise DomainError(
                    f"domain_change_undo: no change of names is unfinished. {said}To go back from one that is "
                    "finished, change the names the other way: domain_change_from is what they are, domain_change_to "
                    "what they were"
                )
            _dead(there, holder, take_over, now)
            entry = {**there, "state": "returning", "run": holder.id, "where": holder.where, "written": _text(now)}
            if write:
                self._write(entry)
        return {**entry, "resumed": True}

    def step(self, run: str, name: str, now: datetime, state: str | None = None) -> None:
        """Note that the step begins. ``state``: what the change is from here on; ``finished`` and ``returned`` end it.

        Raises DomainError where the change is another run's by now.
        """
        with self._locked(True):
            there = self.unfinished()
            if there is None or there["run"] != run:
                said = _said(there) if there else "it has ended it"
                raise DomainError(f"another run has taken this change over: {said}. This one stops here")
            self._write({**there, "step": name, "state": state or there["state"], "written": _text(now)})

    def names(self) -> dict[str, Any]:
        """What this host is called by the last change: kind → ``host``, ``since``, ``former``, ``kept``."""
        try:
            found: dict[str, Any] = json.loads((self.folder / NAMES).read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DomainError(f"{self.folder / NAMES} cannot be read ({error}); look at the disk") from None
        return found

    def record(self, names: Mapping[str, Mapping[str, Any]], now: datetime, *, write: bool = True) -> bool:
        """Note what this host is called: kind → ``host``, ``old`` (empty: as before), ``kept``. Whether that is news.

        ``kept``: the former names that are served, ``{"host", "until"}`` each.
        """
        with self._locked(write):
            known = self.names()
            noted = dict(known)
            for kind, told in names.items():
                before = known.get(kind, {})
                former = [told["old"]] if told["old"] else []
                former += [name for name in before.get("former", []) if name not in (*former, told["host"])]
                since = before["since"] if before.get("host") == told["host"] else _text(now)
                noted[kind] = {"host": told["host"], "since": since, "former": former, "kept": list(told["kept"])}
            if noted != known and write:
                self._write(noted, NAMES)
        return noted != known

    @contextlib.contextmanager
    def _locked(self, write: bool) -> Iterator[None]:
        if not write:
            yield
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, entry: Mapping[str, Any], name: str = NAME) -> None:
        durable.write_json(self.folder / name, dict(entry), 0o600)


def _dead(there: Mapping[str, Any], holder: Holder, take_over: bool, now: datetime) -> None:
    """Raise DomainError where the run that has the change may be alive."""
    quiet = now - datetime.fromisoformat(there["written"])
    if there["state"] == "stuck" or take_over or there["run"] == holder.id or quiet > LEASE:
        return
    raise DomainError(
        f"{_said(there)}, and its run wrote {int(quiet.total_seconds())} seconds ago that it is at the step "
        f"{there['step']!r}. Wait for it. If you know that it was killed, add -e domain_change_take_over=true"
    )


def _what(there: Mapping[str, Any]) -> str:
    return f"from {there['from']} to {there['to']}" if there["to"] else f"by which {there['from']} is given up"


def _said(there: Mapping[str, Any]) -> str:
    return f"A change of names, {_what(there)}, begun at {there['began']}, is unfinished"


def _ways(there: Mapping[str, Any]) -> str:
    same = f"domain_change_from={there['from']} domain_change_to={there['to']}"
    finish = same if there["to"] else f"domain_change_release={there['from']}"
    return f"Finish it: domain_change.yml -e '{finish}'. Or take it back: domain_change.yml -e domain_change_undo=true"


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
