"""The node that gets: fetches the folders by rsync, first in the background while they are in use, then while not.

Into folders that this transfer has made, all of the other side goes, and what is not there is removed. On the way back
the folders are those that were there before: what is replaced or removed in them is kept until the end of the transfer.
In both directions a folder is not touched of which the other side has nothing any more, or by far less.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..node_apply.host import Host
from ..tree_copy import FILTERS, RSYNC, once, options, properties
from . import kept
from .notes import Notes
from .places import BASE, GIVING, NOTES, CopyError, Measure, checked, lost, measured, there, total

#: Of passes that compare no contents. Those that do say nothing for as long as a side reads its files; that the other
#: node is there is seen by ssh.
TIMEOUT = "--timeout=60"
#: One connection for all folders while nobody is on the air.
SHARED = (
    *("-o", "ControlMaster=auto", "-o", "ControlPersist=20"),
    *("-o", "ControlPath={folder}/ssh"),
)
#: rsync's codes of passes that are good while others write: some files went before they were read.
GOOD = (0, 24)
#: Free bytes that have to be left when all is copied.
SPARE = 256 * 2**20
#: Passes while the services are on the air. The second compares every file by its content.
PASSES = 2
#: Seconds for the last pass and the comparison, while nobody is on the air.
LAST = 600.0
#: Seconds to wait for the lock: what a killed run has begun goes on for a moment.
PATIENCE = 30.0
_COPIED: dict[str, Any] = {
    "changed": True,
    "status": {"running": False, "step": "copied", "percent": 100.0, "words": ""},
}
_PROGRESS = re.compile(r"([0-9.,]+)\s+([0-9]{1,3})%\s+(\S+/s)")
_ADDRESS = re.compile(r"[A-Za-z0-9.:-]{1,253}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HOST_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}")
#: One folder behind the other, each written as module and place; how they went, and that it is at an end.
_SCRIPT = """\
folder="$1"; shift; code=0
while [ "$#" -gt 0 ] && [ "$1" != -- ]; do
  kept="$1"; module="$2"; place="$3"; shift 3
  ( while [ "$1" != -- ]; do shift 3; done; shift
    exec "$@" ${kept:+--backup} ${kept:+"--backup-dir=$kept"} "$module" "$place"
  ) >"$folder/progress" 2>"$folder/errors"
  code=$?
  case "$code" in 0|24) code=0;; *) break;; esac
done
echo "$code" >"$folder/ended.new"; exec mv "$folder/ended.new" "$folder/ended"
"""
#: The last pass over all folders, and a look at what it has left. In one unit: its connection ends with it.
_LAST_SCRIPT = """\
each() {
  mode="$1"; shift
  while [ "$1" != -- ]; do
    kept="$1"; module="$2"; place="$3"; shift 3
    echo "@ $place"
    ( while [ "$1" != -- ]; do shift 3; done; shift
      [ -z "$mode" ] || exec "$@" --dry-run --itemize-changes "$module" "$place"
      exec "$@" ${kept:+--backup} ${kept:+"--backup-dir=$kept"} "$module" "$place" >/dev/null
    ) || return
  done
}
each "" "$@" && each compare "$@"
"""


@dataclass(frozen=True)
class Origin:
    """Where the folders are fetched from."""

    address: str
    port: int
    user: str
    host_key: str

    def checked(self) -> Origin:
        """Itself. Raises CopyError for what no program is to be given."""
        if not _ADDRESS.fullmatch(self.address) or self.address.startswith("-"):
            raise CopyError(f"address: {self.address!r} is not an address")
        if not _USER.fullmatch(self.user):
            raise CopyError(f"user: {self.user!r} is not the name of a user")
        if not _HOST_KEY.fullmatch(self.host_key):
            raise CopyError("host_key: is not a public key; run install.yml for the node that the services leave")
        return self


@dataclass(frozen=True)
class Given:
    """What the other side has. ``files``: by folder. ``bytes``: of all together.

    ``back``: it goes into the folders that were there before; with ``fewer`` also where the other side has lost files.
    """

    files: dict[str, int]
    bytes: int = 0
    back: bool = False
    fewer: bool = False

    @property
    def folders(self) -> list[str]:
        """Those that there are. Raises CopyError for what is none."""
        return checked(self.files)


def seen_as(origin: Origin) -> list[str]:
    """The addresses that this node's packets to each of the other one's have; none where there is no way there."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        for family, _kind, _proto, _name, place in socket.getaddrinfo(
            origin.address, origin.port, type=socket.SOCK_DGRAM
        ):
            with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as link:
                link.connect(place)
                found.append(str(link.getsockname()[0]))
    return sorted(set(found))


def _moment() -> str:
    """Names what a pass replaces: rsync would write over what an earlier one has kept."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.monotonic_ns()}"


def _words(errors: str) -> str:
    """What rsync wrote, in one line: the cause comes first, and the last line is a number in words."""
    return " ".join(errors.split())[-500:]


class Getting:
    """A transfer's files, on the node that gets them. Methods raise CopyError, and OSError."""

    def __init__(self, host: Host, transfer: str) -> None:
        self.host = host
        self.notes = Notes(host, transfer)
        self.unit = f"streamfleet-transfer-{self.notes.number}.service"
        self.last = f"streamfleet-transfer-{self.notes.number}-last.service"
        #: What the last pass says, in memory: a disk that is full has to be told.
        self.said = host.path(f"{GIVING}/last-{self.notes.number}")

    @property
    def folder(self) -> Path:
        """What the transfer needs here; root's alone."""
        return self.notes.folder

    def keyed(self, origin: Origin) -> str:
        """Make a key for this transfer, and note whose host key is to be met; returns the public half."""
        origin.checked()
        self.notes.make()
        known = origin.address if origin.port == 22 else f"[{origin.address}]:{origin.port}"
        (self.folder / "known_hosts").write_text(f"{known} {origin.host_key}\n")
        # A pass of long ago says little about what has changed since.
        if self._passes() > 1:
            (self.folder / "passes").write_text("1\n")
        key = self.folder / "id_ed25519"
        if not (self.folder / "id_ed25519.pub").is_file():
            key.unlink(missing_ok=True)
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
            done = self.host.run(argv, "", 30.0)
            if done.code != 0:
                raise CopyError(f"no key can be made: {done.last_words}")
        return (self.folder / "id_ed25519.pub").read_text().strip()

    def copied(self, origin: Origin, given: Given, expected: list[str], seconds: float) -> dict[str, Any]:
        """Fetch the folders while they are in use, twice. Returns after ``seconds`` at most, with a ``status``.

        ``expected``: all folders that the services can have.
        """
        origin.checked()
        until, begun = self.host.clock() + seconds, 0
        with self._locked():
            if not given.folders and not given.bytes:
                # Services without files, such as channels that are packaged in memory.
                self._judge(given, expected)
                return _COPIED
            passes = self._passes()
            while passes < PASSES:
                if self._working():
                    if self.host.clock() >= until:
                        return {"changed": True, "status": self._status(passes)}
                    self.host.sleep(min(0.5, seconds))
                    continue
                ended = self._ended()
                if ended:
                    passes += 1
                    (self.folder / "passes").write_text(f"{passes}\n")
                    (self.folder / "ended").unlink(missing_ok=True)
                    continue
                if begun > PASSES:
                    raise CopyError("the copy is ended by something again and again: look at the journal of this node")
                self._judge(given, expected)
                self._check_room(given)
                self._begin(origin, given, content=passes > 0)
                begun += 1
            return _COPIED

    def caught_up(self, origin: Origin, given: Given, expected: list[str]) -> dict[str, Any]:
        """Fetch what has changed since, while nobody changes anything, and see that all is as it is over there."""
        origin.checked()
        self._judge(given, expected)
        begun = self.host.clock()
        with self._locked():
            self.host.run(["systemctl", "stop", self.unit, self.last], "", 60.0)
            (self.folder / "passes").unlink(missing_ok=True)
            self._last_pass(origin, given)
            counts = total(measured(self.host, given.folders))
        seconds = round(self.host.clock() - begun, 1)
        return {"changed": True, "verified": {"files": counts.files, "bytes": counts.bytes, "seconds": seconds}}

    def forgotten(self) -> bool:
        """Stop, and have no key. What is noted of the folders stays. Whether there was one."""
        self.host.run(["systemctl", "stop", self.unit, self.last], "", 60.0)
        changed = False
        shutil.rmtree(self.said, ignore_errors=True)
        for name in ("id_ed25519", "id_ed25519.pub", "known_hosts", "ssh", "passes", "ended", "progress", "errors"):
            place = self.folder / name
            if os.path.lexists(place):
                place.unlink()
                changed = True
        return changed

    def removed(self, services: Iterable[str], uids: Iterable[int]) -> Measure:
        """Remove what the transfer has brought, when nothing brings more: a run that was killed may have left rsync."""
        if not self.folder.is_dir():
            return Measure()
        with self._locked():
            return self.notes.removed(services, uids)

    def put_back(self, expected: list[str]) -> tuple[int, str]:
        """Have the folders be as they were before a copy back that will never be ended: the other node is dead.

        What that copy has brought beside stays. How many files came back, and why others did not: these are kept.
        """
        if not self.folder.is_dir():
            return 0, ""
        with self._locked():
            # One that a killed run has begun may go on.
            self.forgotten()
            here = there(self.host, checked(expected))
            back, problems = set(), {}
            for folder, put_aside in kept.versions(self.notes.replaced):
                if folder not in here:
                    problems[folder] = f"{BASE}/{folder} is no folder of theirs here"
                    continue
                place = self.host.path(f"{BASE}/{folder}")
                done = kept.put_back(self.host, self.last, self.said, put_aside, place)
                if done.code == 0:
                    back |= {(folder, name) for name in kept.names(put_aside)}
                else:
                    problems[folder] = f"{BASE}/{folder}: rsync ended with {done.code} and says: {_words(done.err)}"
            shutil.rmtree(self.said, ignore_errors=True)
            if problems or self.notes.read("torn", False):
                self.notes.note("torn", bool(problems))
            return len(back), "; ".join(problems.values())

    def ended(self, *, brought: bool = False) -> tuple[bool, str]:
        """Forget the transfer, with what it has replaced. Whether anything was known of it, and the folder that stays.

        That is of what was replaced by fewer files, or could not be put back; empty where none does. ``brought``: what
        was brought stays, and is known.
        """
        if not self.folder.is_dir():
            return False, ""
        with self._locked():
            self.forgotten()
            return self.notes.end(brought=brought)

    def _judge(self, given: Given, expected: list[str]) -> None:
        """See that nothing is overwritten that is the only copy. Raises CopyError."""
        if not given.back:
            self.notes.claim(checked(expected))
        # Also of what an earlier pass has removed already, as the other side had lost it.
        had: dict[str, int] = self.notes.read("had", {})
        here = {folder: one.files for folder, one in measured(self.host, checked(expected)).items()}
        most = {folder: max(here.get(folder, 0), had.get(folder, 0)) for folder in {**had, **here}}
        if most != had:
            self.notes.note("had", most)
        gone = lost(most, given.files)
        if gone and given.fewer and given.back:
            self.notes.note("fewer", True)
        elif gone and not given.fewer:
            raise CopyError(
                f"The other node has lost what this one still has: {'; '.join(gone)}. It is not copied over what is"
                " here, and nothing was changed. If the files are meant to be gone, add -e transfer_fewer=yes"
            )

    def _check_room(self, given: Given) -> None:
        base, expected = self.host.path(BASE), given.bytes
        have = total(measured(self.host, given.folders)).bytes
        more = max(0, expected - have) + expected // 50 + SPARE
        room = {base / name: more for name in ("media", "services")}
        if given.back:
            # Where the media are on a disk of their own, what is replaced there is copied to this one.
            room[self.notes.replaced] = max(0, have - expected) + SPARE
        for place, needed in room.items():
            found = os.statvfs(next(folder for folder in (place, *place.parents) if folder.is_dir()))
            free = found.f_bavail * found.f_frsize
            if free < needed:
                raise CopyError(
                    f"{place}: {free >> 20} MB are free on this node, and {needed >> 20} are needed. Make room; nothing"
                    " is off the air for it"
                )

    def _command(self, origin: Origin, *more: str, shared: bool = False) -> list[str]:
        shell = (
            f"ssh -F /dev/null -i {self.folder}/id_ed25519 -p {origin.port} -l {origin.user}"
            f" -o UserKnownHostsFile={self.folder}/known_hosts -o GlobalKnownHostsFile=/dev/null"
            " -o StrictHostKeyChecking=yes -o BatchMode=yes -o IdentitiesOnly=yes -o ConnectTimeout=10"
            " -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
        )
        if shared:
            shell += f" {' '.join(SHARED)}".format(folder=self.folder)
        # A file that was cut off is gone on with.
        return [*RSYNC, "--partial", *FILTERS, f"--rsh={shell}", *more]

    def _pair(self, origin: Origin, folder: str) -> tuple[str, str]:
        address = f"[{origin.address}]" if ":" in origin.address else origin.address
        return f"{address}::{folder.replace('/', '.')}/", f"{self.host.path(BASE)}/{folder}/"

    def _begin(self, origin: Origin, given: Given, *, content: bool) -> None:
        for name in ("ended", "progress", "errors"):
            (self.folder / name).unlink(missing_ok=True)
        self.host.run(["systemctl", "reset-failed", self.unit], "", 30.0)
        more = ("--info=progress2", "--no-inc-recursive", "--outbuf=L", "--checksum" if content else TIMEOUT)
        wanted = ["Nice=19", "IOSchedulingClass=idle", *self._sandbox(given)]
        how = options(self.unit, "Streamfleet fetches media services", wanted)
        words = [*self._pairs(origin, given), "--", *self._command(origin, *more)]
        script = ["/bin/sh", "-c", _SCRIPT, "sh", str(self.folder), *words]
        done = self.host.run(["systemd-run", *how, *script], "", 60.0)
        if done.code != 0:
            raise CopyError(f"the copy cannot be begun: {done.last_words}")

    def _last_pass(self, origin: Origin, given: Given) -> None:
        """Raises CopyError, also where something is not as it is over there."""
        if not given.folders:
            return
        words = [*self._pairs(origin, given), "--", *self._command(origin, TIMEOUT, shared=True)]
        script = ["/bin/sh", "-c", _LAST_SCRIPT, "sh", *words]
        self.said.mkdir(mode=0o700, parents=True, exist_ok=True)
        done = once(self.host, self.last, self._sandbox(given), self.said / "last", script, LAST)
        place, left = f"{BASE}/", ""
        for line in done.out.splitlines():
            if line.startswith("@ "):
                if left:
                    break
                place = str(Path("/") / Path(line[2:]).relative_to(self.host.root))
            else:
                left = f"{left} {line}"
        if done.code == 124:
            raise CopyError(f"what has changed since the copy takes longer than {LAST:g} seconds: run this again")
        if done.code != 0:
            raise CopyError(f"{place} cannot be fetched. rsync ended with {done.code} and says: {_words(done.err)}")
        if left:
            raise CopyError(f"{place} is not as it is over there, though it was copied: {left.strip()[:300]}")

    def _pairs(self, origin: Origin, given: Given) -> list[str]:
        """Of each folder where what is replaced is kept, or nothing; rsync's module; the place."""
        found: list[str] = []
        when = _moment()
        for folder in given.folders:
            kept = f"{self.notes.replaced}/{when}/{folder}" if given.back else ""
            found += [kept, *self._pair(origin, folder)]
        return found

    def _sandbox(self, given: Given) -> list[str]:
        """Properties of the units. On the way back all is of one mount, so that rsync can rename what it replaces."""
        base, trees = self.host.path(BASE), ("media", "media-index", "services")
        if not given.back:
            return properties([*(base / name for name in trees), self.folder, self.said], network=True)
        notes = self.host.path(NOTES)
        rest = [place for place in sorted(base.iterdir()) if place.name not in (*trees, notes.name)]
        others = [place for place in sorted(notes.iterdir()) if place != self.folder]
        return properties([base, self.said], network=True, hidden=[*rest, *others])

    def _working(self) -> bool:
        return self.host.run(["systemctl", "is-active", "--quiet", self.unit], "", 30.0).code == 0

    def _ended(self) -> bool:
        """Whether a pass has ended well; False where none has ended by itself. Raises CopyError where one failed."""
        try:
            code = int((self.folder / "ended").read_text())
        except (OSError, ValueError):
            return False
        if code in GOOD:
            return True
        said = ""
        with contextlib.suppress(OSError):
            said = _words((self.folder / "errors").read_text(errors="replace"))
        (self.folder / "ended").unlink(missing_ok=True)
        raise CopyError(f"the copy failed, and nothing is off the air for it. rsync ended with {code} and says: {said}")

    def _passes(self) -> int:
        try:
            return int((self.folder / "passes").read_text())
        except (OSError, ValueError):
            return 0

    def _status(self, passes: int) -> dict[str, Any]:
        text = ""
        with contextlib.suppress(OSError):
            text = (self.folder / "progress").read_text(errors="replace")[-400:]
        found = list(_PROGRESS.finditer(text))
        percent, words = (float(found[-1][2]), f"{found[-1][1]} bytes, {found[-1][3]}") if found else (0.0, "")
        return {"running": True, "step": f"copy, pass {passes + 1}", "percent": percent, "words": words}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Raises CopyError where another run works, and goes on doing so for ``PATIENCE`` seconds."""
        if not self.folder.is_dir():
            raise CopyError("this node has no key for the transfer: state keyed comes first")
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            until = time.monotonic() + PATIENCE
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise CopyError("another run of transfer.yml works on this node: wait for its end") from None
                    time.sleep(0.2)
            yield
        finally:
            os.close(descriptor)
