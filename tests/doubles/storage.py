"""A double of mount, umount, systemctl, systemd-run and rsync over a directory tree, for a node's media libraries.

A bind mount over the libraries is a link there, and what it covers stands beside it; mountinfo is written as the
kernel would. It refuses what the real ones refuse: a folder that is not there, to unmount what is not mounted, a unit
without a file. rsync is one that copies trees, or fails as it was told to.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streamfleet.libraries import LIBRARIES
from streamfleet.media_move.places import RUN, UNIT_FILE, VIEW
from streamfleet.node_apply.host import Finished, Host

HIDDEN = "/var/lib/streamfleet/.covered"
SECOND = "streamfleet-file-transfer.service"


class Killed(BaseException):
    """The run was killed at a checkpoint."""


class StorageDouble:
    """The programs, and the tree ``root`` that they work on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[list[str]] = []
        self.active = {SECOND}
        self.enabled: set[str] = set()
        #: Codes that the next calls of rsync end with, and what each does before it copies.
        self.codes: list[int] = []
        self.before: list[Callable[[], None]] = []
        self.log: list[str] = []
        self._killed = False
        for folder in (
            "etc/systemd/system",
            LIBRARIES,
            "proc/self",
            "run/streamfleet",
            "srv/disk",
            "var/lib/streamfleet/node",
        ):
            (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        self._mounted: list[tuple[str, str]] = []
        self._write()

    def host(self, killed_at: str = "") -> Host:
        """A host over the tree; ``killed_at``: the checkpoint at which the run dies."""
        time = [0.0]

        def sleep(seconds: float) -> None:
            time[0] += seconds

        def checkpoint(name: str) -> None:
            if name == killed_at:
                # From here on nothing of this run does anything, as after kill -9.
                self._killed = True
                raise Killed(name)

        self._killed = False
        return Host(self.root, self.run, own=False, sleep=sleep, clock=lambda: time[0], checkpoint=checkpoint)

    def path(self, absolute: str) -> Path:
        """Below the root."""
        return self.root / absolute.lstrip("/")

    def put(self, name: str, text: str = "x", folder: str = LIBRARIES) -> None:
        """Write a file, below the libraries as they are seen."""
        path = self.path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def files(self, folder: str = LIBRARIES) -> dict[str, str]:
        """Every file there, and what is in it."""
        root = self.path(folder).resolve()
        return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}

    def reboot(self) -> None:
        """Mounts are gone, but for what is mounted at boot; so is /run."""
        while any(point == LIBRARIES for point, _folder in self._mounted):
            self._umount(LIBRARIES)
        if any(point == VIEW for point, _folder in self._mounted):
            self._umount(VIEW)
        shutil.rmtree(self.path(RUN), ignore_errors=True)
        self.active = {SECOND}
        unit = self.path(UNIT_FILE)
        if unit.exists() and unit.name in self.enabled:
            what = next(line for line in unit.read_text().splitlines() if line.startswith("What="))
            self._mount(what.removeprefix("What="), LIBRARIES)

    def run(self, argv: Sequence[str], stdin: str, timeout: float) -> Finished:
        """What the program would do."""
        del stdin, timeout
        if self._killed:
            raise Killed
        words = list(argv)
        self.calls.append(words)
        program: Callable[[list[str]], Finished] = getattr(self, f"_run_{words[0].replace('-', '_')}")
        return program(words[1:])

    def _run_mount(self, words: list[str]) -> Finished:
        options, places = [word for word in words if word.startswith("-")], [word for word in words if word[0] == "/"]
        if "--make-private" in options:
            known = any(point == places[0] for point, _folder in self._mounted)
            return Finished(0) if known else Finished(32, err="mount: not mounted")
        if len(places) == 1:
            return Finished(0)
        folder, point = places
        if not self.path(folder).is_dir() or not self.path(point).is_dir():
            return Finished(32, err=f"mount: {point}: special device {folder} does not exist.")
        self._mount(folder, point)
        return Finished(0)

    def _mount(self, folder: str, point: str) -> None:
        place = self.path(point)
        if point == LIBRARIES:
            place.rename(self.path(f"{HIDDEN}{sum(at == LIBRARIES for at, _folder in self._mounted)}"))
            place.symlink_to(self.path(folder).resolve())
        self._mounted.append((point, folder))
        self._show_view()
        self._write()

    def _run_umount(self, words: list[str]) -> Finished:
        point = words[-1]
        if all(at != point for at, _folder in self._mounted):
            return Finished(32, err=f"umount: {point}: not mounted.")
        self._umount(point)
        return Finished(0)

    def _umount(self, point: str) -> None:
        last = max(number for number, (at, _folder) in enumerate(self._mounted) if at == point)
        self._mounted.pop(last)
        if point == LIBRARIES:
            self.path(point).unlink()
            self.path(f"{HIDDEN}{sum(at == LIBRARIES for at, _folder in self._mounted)}").rename(self.path(point))
        if point == VIEW:
            for link in self.path(VIEW).iterdir():
                link.unlink()
        self._show_view()
        self._write()

    def _show_view(self) -> None:
        """In the view there is what no mount covers."""
        if any(at == VIEW for at, _folder in self._mounted):
            link = self.path(f"{VIEW}/{Path(LIBRARIES).name}")
            link.unlink(missing_ok=True)
            hidden = self.path(f"{HIDDEN}0")
            link.symlink_to(hidden if hidden.exists() else self.path(LIBRARIES))

    def _write(self) -> None:
        lines = ["20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"]
        for number, (point, folder) in enumerate(self._mounted, 21):
            parent = next((21 + at for at in range(number - 22, -1, -1) if self._mounted[at][0] == point), 20)
            lines.append(
                f"{number} {parent} 8:2 {folder} {point} rw,nosuid,nodev,relatime shared:{number} - ext4 /dev/sdb1 rw"
            )
        self.path("/proc/self/mountinfo").write_text("\n".join(lines) + "\n")
        link = self.path("/proc/self/ns")
        link.mkdir(exist_ok=True)
        (link / "mnt").unlink(missing_ok=True)
        (link / "mnt").symlink_to("mnt:[1]")

    def _run_systemctl(self, words: list[str]) -> Finished:
        verb, units = words[0], [word for word in words[1:] if not word.startswith("-")]
        if verb == "is-active":
            return Finished(0 if set(units) <= self.active else 3)
        if verb == "start":
            self.log.append("start")
            self.active |= set(units)
        elif verb == "stop":
            self.log.append("stop" if SECOND in units else "")
            self.active -= set(units)
        elif verb == "enable":
            if not self.path(UNIT_FILE).exists():
                return Finished(1, err="Failed to enable unit: Unit file does not exist.")
            self.enabled |= set(units)
        elif verb == "disable":
            self.enabled -= set(units)
        elif verb not in ("daemon-reload", "reset-failed"):
            raise AssertionError(words)
        return Finished(0)

    def _run_systemd_run(self, words: list[str]) -> Finished:
        if any(word.startswith("--on-active") for word in words):
            return Finished(0)
        # The script's $0 is the folder in which it says how the copy ended.
        place = Path(words[words.index("-c") + 2])
        done = self._rsync(words[words.index("rsync") + 1 :])
        if "--property=Type=oneshot" in words:
            # It is waited for, and there it is the beginning of files' names.
            for name, text in {"out": done.out, "err": done.err, "code": f"{done.code}\n"}.items():
                place.with_name(f"{place.name}.{name}").write_text(text)
            return Finished(1 if done.code else 0)
        (place / "errors").write_text(done.err)
        if done.code >= 0:
            (place / "ended").write_text(str(done.code))
        return Finished(0)

    def _rsync(self, words: list[str]) -> Finished:
        source, target = (Path(word) for word in words[-2:])
        assert "--delete" in words
        self.log.append("rsync")
        if self.before:
            self.before.pop(0)()
        code = self.codes.pop(0) if self.codes else 0
        if code not in (0, 24):
            return Finished(code, err="rsync: [receiver] write failed: Input/output error (5)")
        for path in target.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(source.resolve(), target.resolve(), dirs_exist_ok=True, symlinks=True)
        return Finished(code)

    def journal(self) -> dict[str, Any] | None:
        """What is noted of the move."""
        path = self.path("/var/lib/streamfleet/media_move/journal.json")
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return found
