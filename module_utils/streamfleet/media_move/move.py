"""The move, step by step. Each step may be begun again, whatever the last one has left."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..libraries import LIBRARIES
from ..node_apply import lock
from ..node_apply.errors import ApplyError
from ..node_apply.host import Host
from . import compare, copying, storage
from .errors import MoveError
from .journal import Journal
from .places import COPY, FOLDER, GUARD, UNIT, WRITERS

#: Free bytes that have to be left when all is copied.
SPARE = 256 * 2**20
#: Passes while all goes on: what the second leaves is what was changed during the second.
PASSES = 2
#: How often a pass that something has ended is begun anew at once.
MOST_BEGUN = PASSES + 3
#: Seconds for which nobody may write, at most; after three times as long the node lets them by itself.
QUIET = 300.0


@dataclass(frozen=True)
class Plan:
    """What is to be done. ``counts``: of the libraries as they are."""

    source: str
    target: str
    counts: compare.Counts
    free: int
    lines: list[str] = field(default_factory=list)
    done: bool = False


@dataclass
class Move:
    """On ``host``. What cannot be done is a MoveError; methods raise OSError, too."""

    host: Host
    check: bool = False

    @property
    def journal(self) -> Journal:
        """Where the move is noted."""
        return Journal(self.host.path(FOLDER))

    def looked(self) -> dict[str, Any]:
        """Where the libraries are, and the move that is not ended."""
        return {"changed": False, "path": storage.noted(self.host), "journal": self.journal.read()}

    def planned(self, target: str) -> Plan:
        """What a move would do. Raises MoveError where it cannot be done, and changes nothing."""
        there, here = self.journal.read(), storage.noted(self.host)
        done = [_other(there)] if there is not None and (there["to"], there["phase"]) == (target, "switched") else []
        if there is None and here == target and storage.same(self.host, target):
            done = [f"the libraries are in {target}"]
        if done:
            return Plan(here, target, compare.Counts(), 0, done, done=True)
        if there is not None and there["to"] != target:
            raise MoveError(_other(there))
        if there is None:
            self._check_place(here)
            storage.check_folder(self.host, target, here)
            if not self.host.path(LIBRARIES).is_dir():
                raise MoveError(
                    f"this host has no media libraries yet: {LIBRARIES} is not there. Write"
                    f" streamfleet_common_media_path: {target} into the inventory and run install.yml; they begin there"
                )
        if there is not None and there["phase"] not in ("copying", "switching"):
            raise MoveError(_other(there))
        counts = compare.count(self.host.path(LIBRARIES))
        place = self.host.path(target)
        copied = compare.count(place).bytes if there is not None and place.is_dir() else 0
        if there is None and place.is_dir() and any(place.iterdir()):
            raise MoveError(
                f"move_media_to={target}: there is something in it. Give an empty folder, or one that is not there"
            )
        found = os.statvfs(place if place.is_dir() else place.parent)
        free, needed = found.f_bavail * found.f_frsize, counts.bytes - copied + counts.bytes // 50 + SPARE
        if free < needed:
            raise MoveError(
                f"move_media_to={target}: {free >> 20} MB are free there, and {needed >> 20} are needed for libraries"
                f" of {counts.bytes >> 20} MB. Make room, or give a larger disk"
            )
        if found.f_favail and found.f_favail < counts.files + counts.folders:
            raise MoveError(f"move_media_to={target}: the file system there takes only {found.f_favail} more files")
        where = there["from"] if there else here
        lines = [
            f"{counts.files} files in {counts.folders} folders, {counts.bytes >> 20} MB, from {where} to {target}",
            f"{free >> 20} MB are free there",
            "players go on; uploads are held for the seconds in which what has changed since is copied",
            f"what is in {where} stays until move_media_release=true",
        ]
        if there is not None:
            lines.insert(0, f"goes on with what was begun at {there['began']}, which is {there['phase']}")
        return Plan(where, target, counts, free, lines)

    def _check_place(self, here: str) -> None:
        there = [one for one in storage.mounts(self.host) if one.point == LIBRARIES]
        if here == LIBRARIES and there:
            raise MoveError(
                f"{LIBRARIES} is a mount already, which Streamfleet has not made. Unmount it and give its folder as"
                " streamfleet_common_media_path, so that what is mounted there is known"
            )
        if here != LIBRARIES and not storage.same(self.host, here):
            raise MoveError(f"{here} should be mounted at {LIBRARIES} and is not. Run systemctl restart {UNIT}")

    def begun(self, target: str) -> dict[str, Any]:
        """Note the move, make the folder, and stop where it cannot be done."""
        plan = self.planned(target)
        if plan.done:
            return {"changed": False}
        if self.check:
            return {"changed": True}
        there = self.journal.read()
        entry = there or {"from": plan.source, "to": target, "phase": "copying", "began": _now(), "stopped": []}
        # A pass of long ago says little about what has changed since.
        entry["passes"] = min(int(entry.get("passes", 0)), 1)
        self.journal.write(entry)
        place = self.host.path(target)
        place.mkdir(mode=0o755, exist_ok=True)
        place.chmod(0o755)
        return {"changed": there is None}

    def copied(self, seconds: float) -> dict[str, Any]:
        """Copy, or copy back, while all goes on. Returns after ``seconds`` at the latest, with ``status``."""
        if self.check:
            return {"changed": True}
        entry = self._entry("copying", "switching", "returning")
        until, begun = self.host.clock() + seconds, 0
        through = {"running": False, "step": "copied", "percent": 100.0, "words": ""}
        if entry["phase"] == "switching" and storage.same(self.host, entry["to"]):
            return {"changed": True, "status": through}
        while True:
            if copying.working(self.host):
                if self.host.clock() >= until:
                    percent, words = copying.progress(self.host)
                    step = "copy back" if entry["phase"] == "returning" else "copy"
                    status = {
                        "running": True,
                        "step": f"{step}, pass {entry['passes'] + 1}",
                        "percent": percent,
                        "words": words,
                    }
                    return {"changed": True, "status": status}
                self.host.sleep(0.5)
                continue
            if copying.ended(self.host):
                entry["passes"] += 1
                self.journal.write(entry)
                copying.forget(self.host)
            if entry["passes"] >= PASSES:
                return {"changed": True, "status": through}
            if begun == MOST_BEGUN:
                raise MoveError("the copy is ended again and again before it is through. See journalctl -u " + COPY)
            copying.begin(self.host, *self._ways(entry))
            begun += 1

    def _ways(self, entry: dict[str, Any]) -> tuple[Path, Path]:
        """From where, and where to, it is copied."""
        new = self.host.path(entry["to"])
        if entry["phase"] == "returning":
            return new, self.host.path(storage.old_view(self.host, entry["from"]))
        return self.host.path(LIBRARIES), new

    def switched(self) -> dict[str, Any]:
        """Have the libraries be in the new folder. What goes wrong leaves them where they were."""
        if self.check:
            return {"changed": True}
        entry = self._entry("copying", "switching", "switched")
        if entry["phase"] == "switched":
            return {"changed": False, "verified": {}}
        target = entry["to"]
        there = storage.same(self.host, target)
        hashed = 0 if there else compare.sample(*self._ways(entry))
        entry["phase"] = "switching"
        self.journal.write(entry)
        with self._quiet(entry) as begun:
            if not there:
                entry["since"] = time.time()
                self.journal.write(entry)
            # A run that was killed may have come so far: what was written since is there alone.
            counts = compare.count(self.host.path(target)) if there else self._last_pass(entry)
            self.host.checkpoint("copied")
            self._over(entry)
            entry["phase"] = "switched"
            self.journal.write(entry)
        seconds = round(self.host.clock() - begun, 1)
        return {"changed": True, "verified": _verified(counts, hashed, seconds)}

    def _last_pass(self, entry: dict[str, Any]) -> compare.Counts:
        source, target = self._ways(entry)
        copying.last(self.host, source, target, QUIET)
        counts = compare.equal(source, target)
        self.host.sync()
        return counts

    def _over(self, entry: dict[str, Any]) -> None:
        target = entry["to"]
        old = storage.identity(self.host.path(LIBRARIES))
        fresh = not storage.same(self.host, target)
        storage.old_view(self.host, entry["from"])
        storage.write_unit(self.host, target)
        try:
            storage.cover(self.host, target)
            self.host.checkpoint("covered")
            left = storage.blind(self.host, old) if fresh and old else []
            if left:
                raise MoveError(
                    f"these processes do not see the mount: {', '.join(left[:5])}. Mounts have to reach units (findmnt"
                    " -o PROPAGATION / must say shared). All is as it was"
                )
            storage.enable(self.host)
        except MoveError:
            storage.uncover(self.host, target)
            storage.write_unit(self.host, entry["from"])
            raise

    def undone(self) -> dict[str, Any]:
        """Have the libraries be where they were, with all that has come since, and remove the copy."""
        entry = self._entry("copying", "switching", "switched", "returning")
        if self.check:
            return {"changed": True}
        target = entry["to"]
        seen = storage.same(self.host, target)
        if not seen and entry["phase"] in ("switched", "returning") and not entry.get("back"):
            raise MoveError(
                f"{target}, which has what came since, is not what is seen at {LIBRARIES}. Mount its disk, run"
                f" systemctl restart {UNIT}, and try again"
            )
        if seen:
            hashed = compare.sample(*self._ways(entry))
            with self._quiet(entry) as begun:
                counts = self._last_pass(entry)
                self.host.checkpoint("copied back")
                entry["back"] = True
                self.journal.write(entry)
                storage.write_unit(self.host, entry["from"])
                storage.uncover(self.host, target)
                self.host.checkpoint("uncovered")
            verified = _verified(counts, hashed, round(self.host.clock() - begun, 1))
        else:
            copying.stop(self.host)
            storage.write_unit(self.host, entry["from"])
            self._start(entry)
            verified = {}
        self._remove(self.host.path(target))
        storage.close_view(self.host)
        copying.forget(self.host)
        self.journal.end()
        return {"changed": True, "verified": verified}

    def turned(self) -> dict[str, Any]:
        """Note that all goes back. Whether there is something to copy back."""
        entry = self._entry("copying", "switching", "switched", "returning")
        back = storage.same(self.host, entry["to"])
        if not self.check and back and entry["phase"] != "returning":
            copying.stop(self.host)
            copying.forget(self.host)
            self.journal.write({**entry, "phase": "returning", "passes": 0})
        return {"changed": False, "back": back}

    def released(self) -> dict[str, Any]:
        """Remove the files of before."""
        entry = self._entry("switched", "releasing")
        if not storage.same(self.host, entry["to"]):
            raise MoveError(f"{entry['to']} is not what is seen at {LIBRARIES}. Run systemctl restart {UNIT} first")
        if self.check:
            return {"changed": True}
        old = self.host.path(storage.old_view(self.host, entry["from"]))
        if storage.identity(old) == storage.identity(self.host.path(LIBRARIES)):
            raise MoveError(f"{old} shows the libraries that are in use; nothing is removed")
        if entry["phase"] == "switched":
            late = compare.changed_since(old, entry["since"])
            if late:
                raise MoveError(
                    f"{old}/{late} was written after the switch, by whatever still had that folder open: copy it to"
                    f" {entry['to']}/{late} where it is wanted, and remove it there. Nothing is removed"
                )
        self.journal.write({**entry, "phase": "releasing"})
        freed = compare.count(old)
        self._empty(old)
        storage.close_view(self.host)
        self.journal.end()
        return {"changed": True, "freed": {"files": freed.files, "bytes": freed.bytes}}

    def placed(self, target: str) -> dict[str, Any]:
        """Have a host without libraries begin with ``target``, or one that has them there go on so."""
        here = storage.noted(self.host)
        changed = False
        if here != target or not storage.same(self.host, target):
            if here not in (target, LIBRARIES) or (here == LIBRARIES and storage.holds_libraries(self.host)):
                raise MoveError(
                    f"streamfleet_common_media_path is {target}, and there are libraries in {here}. Move them by"
                    f" move_media.yml -e move_media_to={target}, or give {here}"
                )
            if here != target:
                self._check_place(here)
                storage.check_folder(self.host, target, here, "streamfleet_common_media_path")
            elif not self.host.path(target).is_dir():
                raise MoveError(f"{target}, which has the libraries, is not there. Mount its disk")
            if not self.check:
                for folder in (LIBRARIES, target):
                    self.host.path(folder).mkdir(mode=0o755, exist_ok=True)
                storage.write_unit(self.host, target)
                storage.cover(self.host, target)
                storage.enable(self.host)
            changed = True
        return {"changed": changed, "path": target}

    def removed(self, data: bool) -> dict[str, Any]:
        """Take the mount away. ``data``: with all that is in its folder; else that stays there."""
        here, there = storage.noted(self.host), self.journal.read()
        if here == LIBRARIES and there is None:
            return {"changed": False}
        if not self.check:
            copying.stop(self.host)
            while here != LIBRARIES and any(one.point == LIBRARIES for one in storage.mounts(self.host)):
                storage.run(self.host, ["umount", "--lazy", LIBRARIES], f"{LIBRARIES} cannot be unmounted")
            storage.write_unit(self.host, LIBRARIES)
            storage.close_view(self.host)
            for folder in {here, *((there["from"], there["to"]) if there else ())} - {LIBRARIES} if data else ():
                self._remove(self.host.path(folder))
            self.journal.end()
        return {"changed": True}

    @contextlib.contextmanager
    def _quiet(self, entry: dict[str, Any]) -> Iterator[float]:
        """Nobody writes into libraries; gives the time at which that began. Who was stopped is started again."""
        try:
            with lock.held(self.host, "move_media.yml", 120.0):
                running = [
                    unit
                    for unit in WRITERS
                    if self.host.run(["systemctl", "is-active", "--quiet", unit], "", 30.0).code == 0
                ]
                entry["stopped"] = sorted({*entry["stopped"], *running})
                self.journal.write(entry)
                if entry["stopped"]:
                    # That of a run that was killed would let them write in the middle of this one.
                    self.host.run(["systemctl", "stop", f"{GUARD}.timer"], "", 30.0)
                    again = ["systemd-run", "--quiet", "--collect", f"--unit={GUARD}", f"--on-active={3 * QUIET:g}"]
                    command = [*again, "systemctl", "start", *entry["stopped"]]
                    storage.run(self.host, command, "uploads cannot be held safely")
                begun = self.host.clock()
                try:
                    if running:
                        storage.run(self.host, ["systemctl", "stop", *running], "uploads cannot be held")
                    yield begun
                finally:
                    self._start(entry)
        except ApplyError as error:
            raise MoveError(str(error)) from None

    def _start(self, entry: dict[str, Any]) -> None:
        if entry["stopped"]:
            failing = f"{', '.join(entry['stopped'])} cannot be started again: run systemctl start for it"
            storage.run(self.host, ["systemctl", "start", *entry["stopped"]], failing)
            self.host.run(["systemctl", "stop", f"{GUARD}.timer"], "", 30.0)
            entry["stopped"] = []
            if self.journal.read() is not None:
                self.journal.write(entry)

    def _entry(self, *phases: str) -> dict[str, Any]:
        there = self.journal.read()
        if there is None:
            raise MoveError(
                f"no move is under way, and none waits to be released; the libraries are in {storage.noted(self.host)}."
                " Begin with move_media_to"
            )
        if there["phase"] not in phases:
            raise MoveError(_other(there))
        return there

    @staticmethod
    def _empty(folder: Path) -> None:
        with os.scandir(folder) as found:
            names = [entry.name for entry in found if entry.name != compare.SKIPPED]
        for name in names:
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _remove(self, folder: Path) -> None:
        """Remove a folder of ours, but for the place of a mount."""
        if folder.is_dir() and not folder.is_symlink():
            self._empty(folder)
            with contextlib.suppress(OSError):
                folder.rmdir()


def _other(there: dict[str, Any]) -> str:
    what = f"A move of the libraries from {there['from']} to {there['to']}, begun at {there['began']}, "
    ways = {
        "copying": "is unfinished. Finish it: -e move_media_to={to}. Or take it back: -e move_media_undo=true",
        "switching": "is unfinished. Finish it: -e move_media_to={to}. Or take it back: -e move_media_undo=true",
        "switched": "is done, and the files of before are kept. Remove them: -e move_media_release=true. Or go back: -e"
        " move_media_undo=true",
        "returning": "is being taken back. Finish that: -e move_media_undo=true",
        "releasing": "is done, and the files of before are being removed. Finish that: -e move_media_release=true",
    }
    return what + ways[there["phase"]].format(**there)


def _verified(counts: compare.Counts, hashed: int, seconds: float) -> dict[str, Any]:
    return {
        "files": counts.files,
        "folders": counts.folders,
        "bytes": counts.bytes,
        "hashed": hashed,
        "held_seconds": seconds,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
