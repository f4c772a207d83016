"""A double of restic's repository, for tests of what is done with it. It copies, and refuses what restic refuses.

tests/live/test_backup.py asks the same of restic itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from streamfleet_backup.errors import BackupError, NoRepository


def _left_out(patterns: Sequence[str]) -> Callable[[str, list[str]], list[str]]:
    """As restic reads absolute patterns: part by part, of a path or of a folder above it."""
    parts = [pattern.split("/") for pattern in patterns]

    def of(folder: str, names: list[str]) -> list[str]:
        inside = folder.split("/")
        return [
            name
            for name in names
            if any(len(part) == len(inside) + 1 and all(map(fnmatchcase, [*inside, name], part)) for part in parts)
        ]

    return of


class ResticDouble:
    """Keeps snapshots as folders. ``before``: called with the name of each act; it may change things, or raise."""

    def __init__(self, folder: Path, host: str = "h1") -> None:
        self.folder = folder
        self.host = host
        self.acts: list[str] = []
        self.made: list[dict[str, Any]] = []
        self.before: Callable[[str], None] = lambda _act: None
        self.day = 1

    def _act(self, name: str) -> None:
        self.acts.append(name)
        self.before(name)

    def config(self) -> dict[str, Any]:
        if not (self.folder / "config").is_file():
            raise NoRepository("there is no repository")
        return {"id": (self.folder / "config").read_text()}

    def init(self) -> None:
        self._act("init")
        self.folder.mkdir(parents=True)
        (self.folder / "config").write_text(hashlib.sha256(os.urandom(8)).hexdigest())

    def unlock(self) -> None:
        self._act("unlock")

    def backup(
        self, paths: Sequence[str], tags: Sequence[str], excludes: Sequence[str] = (), progress: Any = None
    ) -> tuple[str, list[str]]:
        self._act("backup")
        name = hashlib.sha256(os.urandom(8)).hexdigest()
        for path in paths:
            if not os.path.lexists(path):
                raise BackupError(f"{path} cannot be read")
            target = Path(f"{self.folder / name}{path}")
            target.parent.mkdir(parents=True, exist_ok=True)
            if Path(path).is_dir():
                shutil.copytree(path, target, symlinks=True, ignore=_left_out(excludes))
            else:
                shutil.copy2(path, target, follow_symlinks=False)
        moment = f"2026-01-{self.day:02d}T02:00:00.123456789Z"
        self.day += 1
        self.made.append({"id": name, "time": moment, "tags": list(tags)})
        return name[:8], []

    def snapshots(self, *tags: str) -> list[dict[str, Any]]:
        return [item for item in self.made if set(tags) <= set(item["tags"])]

    def _of(self, snapshot: str) -> Path:
        (found,) = [item["id"] for item in self.made if item["id"].startswith(snapshot)]
        return self.folder / found

    def listing(self, snapshot: str) -> Iterator[dict[str, Any]]:
        top = self._of(snapshot)
        for path in sorted(top.rglob("*")):
            size = path.lstat().st_size if path.is_file() and not path.is_symlink() else 0
            yield {"path": "/" + str(path.relative_to(top)), "size": size}

    def restore(
        self, snapshot: str, target: Path, includes: Sequence[str], watch: Callable[[], None] = lambda: None
    ) -> None:
        self._act("restore")
        top = self._of(snapshot)
        for include in includes:
            source, to = Path(f"{top}{include}"), Path(f"{target}{include}")
            to.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir() and not source.is_symlink():
                shutil.copytree(source, to, symlinks=True, dirs_exist_ok=True)
            elif os.path.lexists(source):
                to.unlink(missing_ok=True)
                shutil.copy2(source, to, follow_symlinks=False)
        watch()

    def check(self, data: str = "") -> None:
        self._act("check")

    def forget(self, *arguments: str) -> list[str]:
        self._act("forget")
        gone = [item["id"] for item in self.made if item["id"] in arguments]
        self.made = [item for item in self.made if item["id"] not in arguments]
        return gone

    def prune(self) -> None:
        self._act("prune")
