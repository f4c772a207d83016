"""Keys and signing requests for tenants' own names, made by root as names come, and taken away long after they went.

Of what converge has written the files' names are read, and of a new file whose name it is. Neither is believed.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import certificates, csr, domains
from .errors import TlsError
from .installer import AUTHORITY, GROUP, TLS
from .names import ACME, Names
from .shelf import Owner, Shelf, read

CLIENT = "streamfleet-acme"
#: Says of a folder of certificates that it was made here: no other is ever touched.
MARK = "tenant"
#: Seconds for which the certificate of a name that has gone is kept, for one that comes back.
GRACE = 7 * 86400.0
#: Tenants' uids, and how long the file of a name may be.
UIDS, LARGEST = range(200000, 300000), 4096


class Keys:
    """``names``: folders of the files of tenants' names. ``own``: the host's own names. ``group``: the client's."""

    def __init__(
        self, shelf: Shelf, place: certificates.Place, names: Sequence[Path], own: frozenset[str], group: int
    ) -> None:
        self._shelf, self._place, self._names, self._own, self._group = shelf, place, names, own, group

    def make(self, now: float) -> list[str]:
        """Bring requests to the names that are there; what could not be done, in sentences. Raises OSError."""
        told = self._told()
        wanted = set(told)
        asked, left = set(_listed(self._shelf.domains, ".csr")), set(_listed(self._shelf.left, ".csr"))
        folders = {path.name for path in self._place.directory.iterdir()}
        faults = [f"{name}: is a name of this host's own, and no tenant's" for name in sorted(wanted & self._own)]
        wanted -= self._own
        # Before the requests: who has one ordered looks here whose it is.
        self._say_owners({name: told[name] for name in wanted})
        for name in sorted((wanted - asked) | (wanted - folders)):
            try:
                self._come(name, left=name in left)
            except (OSError, TlsError) as error:
                # One name's fault is no other's.
                faults.append(f"{name}: no certificate can be ordered: {error}")
        for name in sorted(asked - wanted):
            self._go(name, now)
        for name in sorted(left - wanted):
            if now - self._left(name).stat().st_mtime > GRACE:
                self._forget(name)
        return faults

    def _told(self) -> dict[str, int]:
        """Names that lead to services, each with the time of its file, which is another one when its owner is."""
        found = {}
        for folder in self._names:
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as files:
                for file in files:
                    name = file.name.removesuffix(".json")
                    if name == file.name or domains.problem(name) is not None:
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        found[name] = file.stat(follow_symlinks=False).st_mtime_ns
        return found

    def _say_owners(self, told: Mapping[str, int]) -> None:
        """Have the client know whose names these are. Only what is new is read: there may be thousands."""
        known, owners = self._shelf.read_owners(), {}
        for name, at in told.items():
            before = known.get(name)
            owners[name] = before if before is not None and before.told == at else Owner(self._uid(name), at)
        if owners != known or not self._shelf.owners.exists():
            self._shelf.write_owners(owners, self._group)

    def _uid(self, name: str) -> int:
        for folder in self._names:
            try:
                uid = json.loads(read(folder / f"{name}.json", LARGEST))["uid"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if isinstance(uid, int) and uid in UIDS:
                return uid
        return 0

    def _come(self, name: str, *, left: bool) -> None:
        folder = self._place.directory / name
        if not (folder / MARK).is_file():
            if folder.exists() or folder.is_symlink():
                raise TlsError(f"{folder} is there already, and is no tenant's: remove it, or give the name up")
            # Beside, and whole: what has the mark may be taken away again, what has not is nobody's to touch.
            made = folder.with_name(f".{name}.new")
            made.mkdir(mode=0o700, exist_ok=True)
            (made / MARK).touch(mode=0o644)
            made.rename(folder)
        # For a key that is there already, too: a name that comes back has what it had.
        csr.ask(self._place, Names(name, (name,), (), ACME), self._shelf.domain_request(name), self._group)
        if left:
            self._left(name).unlink(missing_ok=True)
        print(f"{name}: a certificate may be ordered", flush=True)

    def _go(self, name: str, now: float) -> None:
        path = self._shelf.domain_request(name)
        os.utime(path, (now, now))
        path.replace(self._left(name))

    def _forget(self, name: str) -> None:
        folder = self._place.directory / name
        if name not in self._own and not folder.is_symlink() and (folder / MARK).is_file():
            shutil.rmtree(folder)
            print(f"{name}: its certificate is removed: the name has led to no service here for long", flush=True)
        self._shelf.marker(name).unlink(missing_ok=True)
        self._shelf.replaced(name).unlink(missing_ok=True)
        self._left(name).unlink()

    def _left(self, name: str) -> Path:
        return self._shelf.left / f"{name}.csr"


def _listed(folder: Path, ending: str) -> Iterator[str]:
    """Names of a folder's files with the ending, of which each may be a tenant's."""
    for path in folder.iterdir():
        name = path.name.removesuffix(ending)
        if name != path.name and domains.problem(name) is None:
            yield name


def main(shelf: Shelf) -> int:
    """Exit status. A name that cannot be helped is its own fault, and said; the unit did what it is for."""
    settings = json.loads(read(shelf.settings / "settings.json"))
    place = certificates.Place(TLS, AUTHORITY, grp.getgrnam(GROUP).gr_gid, 0, settings["key_type"])
    names = [Path(domains.FOLDER), Path(domains.PANEL_FOLDER)]
    keys = Keys(shelf, place, names, frozenset(settings["own"]), grp.getgrnam(CLIENT).gr_gid)
    # Where there is no such folder neither a service nor the panel is, and nothing is known of names.
    seen: list[int] | None = None
    # What comes while this works has woken nobody.
    while seen != (seen := changed(names)):
        for fault in keys.make(time.time()) if seen else ():
            print(fault, file=sys.stderr, flush=True)
    return 0


def changed(folders: Sequence[Path]) -> list[int]:
    """When each of the folders that there are changed last."""
    found = []
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            found.append(folder.stat().st_mtime_ns)
    return found
