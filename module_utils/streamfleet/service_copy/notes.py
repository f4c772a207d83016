"""What a node notes of a transfer, under /var/lib/streamfleet/transfer/<number>: it outlives runs and restarts.

``made``: folders that the transfer has made here, and ``gave``: those that it has given away. Nothing else is removed
for it. ``had``: how many files each had at most. ``replaced``: what a copy back has replaced or removed here, by pass
and folder, until the transfer is at its end; with ``fewer``, or ``torn``, which is that it could not be put back, until
somebody removes it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import durable
from ..node_apply.host import Host
from .places import BASE, NOTES, CopyError, Measure, folders_of, lost, measured, number_of, total


class Notes:
    """The folder of one transfer on this node. Methods raise CopyError, and OSError."""

    def __init__(self, host: Host, transfer: str) -> None:
        self.host = host
        self.number = number_of(transfer)

    @property
    def folder(self) -> Path:
        """Root's alone."""
        return self.host.path(f"{NOTES}/{self.number}")

    @property
    def replaced(self) -> Path:
        """What a copy back has replaced or removed."""
        return self.folder / "replaced"

    def make(self) -> Path:
        """Have the folder."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.folder

    def read(self, name: str, default: Any) -> Any:
        """What is noted as ``name``."""
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except FileNotFoundError:
            return default
        except ValueError:
            raise CopyError(f"{self.folder}/{name}.json cannot be read: nothing was changed") from None

    def note(self, name: str, value: Any) -> None:
        """Note it, on disk before this returns."""
        self.make()
        durable.write(self.folder / f"{name}.json", json.dumps(value).encode(), 0o600)

    def add(self, name: str, folders: Iterable[str]) -> None:
        """Note folders beside those that are noted as ``name``."""
        known = self.read(name, [])
        new = [folder for folder in folders if folder not in known]
        if new:
            self.note(name, [*known, *new])

    def claim(self, folders: Iterable[str]) -> None:
        """Note the folders as made by this transfer, before anything is written into them.

        Raises CopyError where one has files already, which are somebody's.
        """
        made = self.read("made", [])
        for folder, there in measured(self.host, (folder for folder in folders if folder not in made)).items():
            if there.files:
                raise CopyError(
                    f"{BASE}/{folder} is on this node already, with {there.files} files that no copy has brought:"
                    " they would be overwritten. If nobody needs them, move them away; nothing is off the air for it"
                )
        self.add("made", folders)

    def compared(self, given: dict[str, int], *, fewer: bool) -> dict[str, int]:
        """By folder how many files are here, of those that the other node has. Raises CopyError where too many lack."""
        here = {folder: one.files for folder, one in measured(self.host, given).items()}
        gone = lost(given, here)
        if gone and not fewer:
            raise CopyError(
                f"This node lacks what the other one has: {'; '.join(gone)}. The files there would be lost. If that is"
                " meant, add -e transfer_fewer=yes"
            )
        return here

    def removed(self, services: Iterable[str], uids: Iterable[int]) -> Measure:
        """Remove folders of services that this transfer has made here, and libraries that it has made or given away.

        What it says nothing of stays. ``services``: slugs.
        """
        made = set(self.read("made", []))
        folders = [folder for folder in folders_of(services, []) if folder in made]
        known = made | set(self.read("gave", []))
        folders += [folder for folder in folders_of([], uids) if folder in known]
        counts = measured(self.host, folders)
        for folder in counts:
            shutil.rmtree(self.host.path(f"{BASE}/{folder}"))
        return total(counts)

    def brought(self) -> list[str]:
        """Folders that this transfer has made here and that have files, by their whole paths."""
        counts = measured(self.host, self.read("made", []))
        return [str(self.host.path(f"{BASE}/{folder}")) for folder, one in counts.items() if one.files]

    def end(self, *, brought: bool = False) -> tuple[bool, str]:
        """Forget the transfer, with what it has replaced, but for what was replaced by fewer files: somebody said yes.

        So does what could not be put back stay, and with ``brought`` what is known of the folders that were made here.
        Whether anything was known of it, and the folder with what was replaced; empty where none stays.
        """
        if not self.folder.is_dir():
            return False, ""
        stays = set()
        if self.replaced.is_dir() and (self.read("fewer", False) or self.read("torn", False)):
            stays = {"fewer.json", "torn.json", self.replaced.name}
        if brought and self.read("made", []):
            stays.add("made.json")
        if not stays:
            shutil.rmtree(self.folder)
            return True, ""
        for place in self.folder.iterdir():
            if place.name in stays:
                continue
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink()
        return True, str(self.replaced) if self.replaced.name in stays else ""
