"""Put everything in its place, in order, and have systemd read what is new of its units."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..node_apply import diff, units
from ..node_apply.files import Found, Target
from ..node_apply.host import Host
from . import place, users
from .errors import HostError
from .users import Accounts
from .wanted import Aside, File, Leftovers, Wanted

UNITS = "/etc/systemd/system/"
#: There from before the first unit file is written until systemd has read them, so that a killed run is finished.
DUE = "/run/streamfleet-daemon-reload"


@dataclass
class _Run:
    host: Host
    check: bool
    show: bool
    was_due: bool
    paths: list[str] = field(default_factory=list)
    diffs: list[dict[str, str]] = field(default_factory=list)

    def note(self, path: str) -> None:
        self.paths.append(path)

    def before(self, path: str) -> None:
        """Say that a unit file is about to change."""
        if path.startswith(UNITS) and not self.check:
            self.host.path(DUE).touch(mode=0o600)


def apply(host: Host, wanted: Wanted, check: bool = False, show: bool = False) -> dict[str, Any]:
    """Bring the host to what is wanted; ``check`` only says what would change, ``show`` returns diffs.

    Returns ``{"changed", "users" (names), "paths" (all that changed, in order), "daemon_reload", "diff"}``.
    Raises HostError. What comes before the cause is done; the next run goes on from there.
    """
    run = _Run(host, check, show, was_due=host.path(DUE).exists())
    accounts = Accounts.of(host, foretold=check)
    people = users.ensure(host, wanted.users, accounts, check)
    for item in wanted.directories:
        _step(run, item.path, functools.partial(place.directory, host, item, accounts, check))
    # First: what is in the way could make a new file invalid.
    for other in wanted.aside:
        _step(run, other.path, functools.partial(_move, run.host, other, check))
    _remove_all(run, wanted.absent)
    for entry in wanted.files:
        _file(run, entry, accounts)
    for target in wanted.links:
        _step(run, target.path, functools.partial(place.link, host, target, check))
    _remove_all(run, [path for group in wanted.leftovers for path in _left(host, group)])
    reloaded = _daemon_reload(run)
    return {
        "changed": bool(people or run.paths or reloaded),
        "users": people,
        "paths": run.paths,
        "daemon_reload": reloaded,
        "diff": run.diffs,
    }


def _step(run: _Run, path: str, change: Callable[[], bool]) -> None:
    with _named(path):
        run.before(path)
        if change():
            run.note(path)


def _remove_all(run: _Run, paths: Iterable[str]) -> None:
    for path in paths:
        _step(run, path, functools.partial(_remove, run.host, path, run.check))


def _file(run: _Run, wanted: File, accounts: Accounts) -> None:
    with _named(wanted.path):
        run.before(wanted.path)
        changed = place.file(run.host, wanted, accounts, run.check)
    if changed:
        run.note(wanted.path)
        if run.show:
            run.diffs.append(_diff(wanted.path, *changed))


def _diff(path: str, target: Target, found: Found) -> dict[str, str]:
    return diff.of(target, path, found, ())


def _left(host: Host, group: Leftovers) -> list[str]:
    try:
        names = sorted(path.name for path in host.path(group.directory).iterdir())
    except FileNotFoundError:
        return []
    paths = [f"{group.directory}/{name}" for name in names if fnmatch.fnmatchcase(name, group.pattern)]
    return [path for path in paths if path not in group.keep]


def _move(host: Host, other: Aside, check: bool) -> bool:
    real, to = host.path(other.path), host.path(other.to)
    if os.path.lexists(to) or not os.path.lexists(real):
        return _remove(host, other.path, check)
    if not check:
        real.rename(to)
    return True


def _remove(host: Host, path: str, check: bool) -> bool:
    real = host.path(path)
    if not os.path.lexists(real):
        return False
    if not check:
        if real.is_dir() and not real.is_symlink():
            shutil.rmtree(real)
        else:
            real.unlink()
    return True


def _daemon_reload(run: _Run) -> bool:
    changed = run.was_due or any(path.startswith(UNITS) for path in run.paths)
    if run.check:
        return changed
    if changed:
        done = units.daemon_reload(run.host)
        if done.code != 0:
            raise HostError(f"systemd cannot read its units: {done.last_words}")
    run.host.path(DUE).unlink(missing_ok=True)
    return changed


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(f"{path} cannot be put there: {error.strerror or error}") from None
