"""Where the libraries are, and how they come to be elsewhere: one mount over the place where all look for them."""

from __future__ import annotations

import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from .. import durable
from ..libraries import LIBRARIES
from ..node_apply.host import Host
from .errors import MoveError
from .places import ALSO, RUN, UNIT, UNIT_FILE, VIEW

TEXT = """\
# Managed by Streamfleet (streamfleet_common_media_path, move_media.yml).
[Unit]
Description=Media libraries of customers

[Mount]
What={folder}
Where={place}
Type=none
Options=bind,nodev,nosuid

[Install]
WantedBy=local-fs.target
"""
#: Options of a mount that take something away.
STRICT = ("ro", "nosuid", "nodev", "noexec", "nosymfollow")
_FOLDER = re.compile(r"(?:/[A-Za-z0-9_][A-Za-z0-9._-]*){2,}")
#: What is there for the machine itself, or is gone when it restarts.
_NOT_IN = (
    "/boot",
    "/dev",
    "/etc",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/tmp",  # noqa: S108
    "/usr",
    "/var/lib/streamfleet",
    "/var/tmp",  # noqa: S108
)
_PASSING = ("tmpfs", "ramfs", "devtmpfs", "proc", "sysfs")


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo (proc_pid_mountinfo(5))."""

    id: int
    parent: int
    device: str
    root: str
    point: str
    options: tuple[str, ...]
    kind: str


def mounts(host: Host, process: str = "self") -> list[Mount]:
    """What that process sees mounted, the newest last; nothing where it has ended."""
    try:
        lines = host.path(f"/proc/{process}/mountinfo").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, _sign, after = line.partition(" - ")
        fields = before.split()
        root, point = (re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text) for text in fields[3:5])
        kind = (after.split() or [""])[0]
        options = tuple(fields[5].split(","))
        found.append(Mount(int(fields[0]), int(fields[1]), fields[2], root, point, options, kind))
    return found


def identity(path: Path) -> tuple[int, int] | None:
    """Device and number of a folder; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def same(host: Host, folder: str) -> bool:
    """Whether the libraries are in that folder, as they are seen."""
    there = identity(host.path(folder))
    return there is not None and there == identity(host.path(LIBRARIES))


def noted(host: Host) -> str:
    """The folder that the libraries are in by what was set up; ``LIBRARIES`` where that is nothing."""
    try:
        text = host.path(UNIT_FILE).read_text()
    except FileNotFoundError:
        return LIBRARIES
    found = re.search(r"^What=(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else LIBRARIES


def holds_libraries(host: Host) -> bool:
    """Whether there is any library, empty ones included: converge has made them, and does not look for them again."""
    place = host.path(LIBRARIES)
    return place.is_dir() and any(place.iterdir())


def check_folder(host: Host, folder: str, here: str, name: str = "move_media_to") -> None:
    """Raise MoveError unless libraries may be put there. ``here``: the folder that they are in; ``name``: the variable.

    Owners, links and access control lists are tried out, in a folder that is removed again; a parent is not made.
    """
    wrong = _name_is_wrong(folder, here)
    if wrong:
        raise MoveError(f"{name}={folder}: {wrong}")
    place = host.path(folder)
    parent = place.parent
    try:
        status = parent.lstat()
    except OSError:
        raise MoveError(f"{name}={folder}: there is no {Path(folder).parent}. Mount the disk, or make it") from None
    if parent.resolve() != host.root.resolve() / Path(folder).parent.relative_to("/") or place.is_symlink():
        raise MoveError(f"{name}={folder}: a part of it is a link. Give the folder that it leads to")
    if host.own and (status.st_uid != 0 or status.st_mode & 0o022):
        raise MoveError(
            f"{name}={folder}: others than root may write to {Path(folder).parent}, and could put something else in"
            f" its place. Give it to root: chown root: and chmod go-w"
        )
    kind = next((one.kind for one in reversed(mounts(host)) if _covers(one.point, str(Path(folder).parent))), "")
    if kind in _PASSING:
        raise MoveError(f"{name}={folder}: that is memory ({kind}), which is gone at a restart. Give a disk")
    _try_out(host, place if place.is_dir() else parent, f"{name}={folder}")


def _name_is_wrong(folder: str, here: str) -> str:
    if not _FOLDER.fullmatch(folder):
        return (
            "this must be an absolute path of at least two parts, of letters, digits, '.', '_' and '-', without a slash"
            " at its end, such as /srv/media/libraries"
        )
    if folder == LIBRARIES:
        return f"that is where the libraries of {here} are mounted. Give another folder of the disk that is meant"
    if _covers(here, folder) or _covers(folder, here):
        return f"one of both would be inside the other: the libraries are in {here}. Give a folder beside it"
    bad = next((path for path in _NOT_IN if _covers(path, folder)), None)
    return f"{bad} is not for data. Give a folder of a disk, such as /srv/media/libraries" if bad else ""


def _covers(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def _try_out(host: Host, parent: Path, asked: str) -> None:
    """Raise MoveError where the file system does not keep what libraries need."""
    trial = parent / ".streamfleet-trial"
    shutil.rmtree(trial, ignore_errors=True)
    try:
        trial.mkdir(mode=0o700)
        (trial / "one").touch(mode=0o640)
        (trial / "two").hardlink_to(trial / "one")
        (trial / "three").symlink_to("one")
        os.utime(trial / "one", ns=(1_000_000_001, 1_000_000_001))
        status = (trial / "one").stat()
        kept = [stat.S_IMODE(status.st_mode) == 0o640, status.st_nlink == 2, status.st_mtime_ns == 1_000_000_001]
        os.setxattr(trial / "one", "user.streamfleet", b"1")
        if host.own:
            os.chown(trial / "one", 299999, 299999)
            kept.append((trial / "one").stat().st_uid == 299999)
        if not all(kept):
            raise MoveError(
                f"{asked}: the file system there does not keep modes, owners, links and times to the"
                " nanosecond. Use ext4, XFS or another of Linux's own"
            )
    except OSError as error:
        raise MoveError(
            f"{asked}: the file system there does not take what libraries need, files of other owners, links"
            f" and extended attributes ({error.strerror}). Use ext4, XFS or another of Linux's own, mounted for writing"
        ) from None
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def run(host: Host, argv: list[str], failing: str, timeout: float = 120.0) -> str:
    """Output of a program. Raises MoveError, which begins with ``failing``, where it fails."""
    done = host.run(argv, "", timeout)
    if done.code != 0:
        raise MoveError(f"{failing}: {argv[0]} says: {done.last_words}")
    return done.out


def old_view(host: Host, old: str) -> str:
    """Where the files of before can be reached, whatever covers them; it is mounted there, in a folder of root's alone.

    Of a folder that is mounted that is the folder itself.
    """
    if old != LIBRARIES:
        return old
    private = host.path(RUN)
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    private.chmod(0o700)
    if not any(one.point == VIEW for one in mounts(host)):
        host.path(VIEW).mkdir(mode=0o700, exist_ok=True)
        run(host, ["mount", "--bind", str(Path(LIBRARIES).parent), VIEW], "the libraries of before cannot be reached")
        # What is mounted over the libraries must not come here, too.
        run(host, ["mount", "--make-private", VIEW], "the libraries of before cannot be kept apart")
    return f"{VIEW}/{Path(LIBRARIES).name}"


def close_view(host: Host) -> None:
    """Give the view up."""
    if any(one.point == VIEW for one in mounts(host)):
        run(host, ["umount", "--lazy", VIEW], "what showed the libraries of before cannot be unmounted")


def write_unit(host: Host, folder: str) -> bool:
    """Have the libraries be mounted from ``folder`` at boot; ``LIBRARIES`` itself needs no mount. Whether it is news.

    ``enable`` makes it effective.
    """
    path = host.path(UNIT_FILE)
    if folder == LIBRARIES:
        if not path.exists():
            return False
        run(host, ["systemctl", "disable", "--quiet", UNIT], f"{UNIT} cannot be disabled")
        path.unlink()
    else:
        text = TEXT.format(folder=folder, place=LIBRARIES)
        if path.exists() and path.read_text() == text:
            return False
        durable.write(path, text.encode(), 0o644)
    run(host, ["systemctl", "daemon-reload"], "systemd does not read its units")
    return True


def enable(host: Host) -> None:
    """Have it mounted at boot."""
    run(host, ["systemctl", "enable", "--quiet", UNIT], f"{UNIT} cannot be enabled")


def cover(host: Host, folder: str) -> None:
    """Mount ``folder`` over the libraries, for all that run, each as strictly as what it saw there before."""
    if not same(host, folder):
        command = ["mount", "--options", "bind,nodev,nosuid", folder, LIBRARIES]
        run(host, command, f"{folder} cannot be mounted at {LIBRARIES}")
    strictly(host)


def uncover(host: Host, folder: str) -> None:
    """Take ``folder`` away from there again. What is open stays open."""
    if same(host, folder):
        run(host, ["umount", "--lazy", LIBRARIES], f"{folder} cannot be unmounted from {LIBRARIES}")


def strictly(host: Host) -> None:
    """Give what came to units by the mount the options of what it covers: who could only read can only read."""
    own = _namespace(host, "self")
    seen: set[str] = set()
    for process in ("self", *_processes(host)):
        name = _namespace(host, process)
        if name is None or name in seen:
            continue
        seen.add(name)
        for point, options in too_free(mounts(host, process), mounts(host)):
            way = [] if name == own else ["nsenter", f"--mount=/proc/{process}/ns/mnt"]
            command = [*way, "mount", "--options", ",".join(("remount", "bind", *options)), point]
            done = host.run(command, "", 30.0)
            if done.code != 0 and _namespace(host, process) == name:
                # mount's last line is about dmesg.
                said = done.err.strip().splitlines()
                raise MoveError(
                    f"the libraries cannot be made {', '.join(options)} for process {process} at {point}:"
                    f" {said[0] if said else done.last_words}. Look at `journalctl -k`; nothing is switched"
                )


def _shut(one: Mount, theirs: list[Mount]) -> bool:
    """Whether something else is mounted over the place of a mount, or over a folder above it."""
    by_id = {mount.id: mount for mount in theirs}
    way = [one]
    while (parent := by_id.get(way[-1].parent)) is not None and parent not in way:
        way.append(parent)
    return any(
        (other.parent == mount.id and other.point == mount.point)
        or (other.parent == mount.parent and mount.point.startswith(other.point.rstrip("/") + "/"))
        for mount in way
        for other in theirs
        if other not in way
    )


def too_free(theirs: list[Mount], ours: list[Mount]) -> list[tuple[str, tuple[str, ...]]]:
    """Of the mounts that a process sees, those of the libraries that have not all strict options of what they cover.

    Each as its place and the options that it should have. What nobody there gets to is left out: a mount comes to units
    also where its place is shut to them, as by InaccessiblePaths of a folder above it, and cannot be changed there.
    """
    new = next((one for one in reversed(ours) if one.point == LIBRARIES), None)
    if new is None:
        return []
    by_id = {one.id: one for one in theirs}
    found = []
    for one in theirs:
        if one.point not in (LIBRARIES, ALSO) or (one.device, one.root) != (new.device, new.root):
            continue
        if _shut(one, theirs):
            continue
        below = by_id.get(one.parent)
        wanted = set(below.options if below else ()) | {"nodev", "nosuid"}
        options = tuple(name for name in STRICT if name in wanted or name in one.options)
        if set(options) - set(one.options):
            found.append((one.point, options))
    return found


def blind(host: Host, old: tuple[int, int]) -> list[str]:
    """Commands of processes that see the libraries of before where the new ones should be."""
    found = []
    for process in _processes(host):
        if identity(host.path(f"/proc/{process}/root{LIBRARIES}")) == old:
            try:
                found.append(f"{host.path(f'/proc/{process}/comm').read_text().strip()} ({process})")
            except OSError:
                continue
    return found


def _processes(host: Host) -> list[str]:
    return sorted((one.name for one in host.path("/proc").iterdir() if one.name.isdigit()), key=int)


def _namespace(host: Host, process: str) -> str | None:
    try:
        return str(host.path(f"/proc/{process}/ns/mnt").readlink())
    except OSError:
        return None
