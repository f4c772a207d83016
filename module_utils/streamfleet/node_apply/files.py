"""Files and links of instances: looked at, staged beside their places, put there by rename."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from dataclasses import dataclass
from pathlib import Path

from .. import durable
from ..libraries import index_of, library_of
from .errors import ServiceError
from .host import Host

#: Where an instance's own files may lie. Nothing else is ever written for a renderer.
PLACES = ("/etc/streamfleet/instances/", "/etc/streamfleet/routes/", "/etc/streamfleet/publish-keys/")
INSTANCES = PLACES[0]
#: Up to so many files each is synced by itself, which reports its errors; above, the file system is synced as a whole.
SYNC_EACH = 32


@dataclass(frozen=True)
class Target:
    """A file that shall be there; with ``link`` a symbolic link to that text."""

    path: str
    content: bytes = b""
    mode: int = 0o640
    uid: int = 0
    gid: int = 0
    kind: str = "config"
    validate: str | None = None
    mask: str | None = None
    link: str | None = None


@dataclass(frozen=True)
class Directory:
    """A directory of a tenant's own that shall be there."""

    path: str
    uid: int


@dataclass(frozen=True)
class Found:
    """What is there: ``content`` of a file, ``link`` of a link, both None if nothing is."""

    content: bytes | None = None
    link: str | None = None
    mode: int = 0
    uid: int = 0
    gid: int = 0

    @property
    def there(self) -> bool:
        """Whether there is anything."""
        return self.content is not None or self.link is not None

    def target(self, path: str) -> Target:
        """The target that would bring this back. Only for something that is there."""
        return Target(path, self.content or b"", self.mode, self.uid, self.gid, link=self.link)


def checked_path(path: str) -> str:
    """``path`` if it is absolute, without detours, and in one of the places. Raises ServiceError."""
    if posixpath.normpath(path) != path or not path.startswith(PLACES) or not path.isprintable():
        raise ServiceError(f"file {path!r} is not in a place for instances ({', '.join(PLACES)})")
    return path


def checked_directory(path: str, uid: int) -> Directory:
    """The tenant's directory at ``path``. Raises ServiceError where tenants have none."""
    if path not in (library_of(uid), index_of(uid)):
        raise ServiceError(f"directory {path!r} is not {library_of(uid)} and not {index_of(uid)}")
    return Directory(path, uid)


def is_made(host: Host, directory: Directory) -> bool:
    """Whether the directory is there and the tenant's. Raises ServiceError for what is no directory."""
    try:
        status = host.path(directory.path).lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        raise ServiceError(f"{directory.path} is not a directory: remove it")
    return not host.own or (status.st_uid, status.st_gid) == (directory.uid, directory.uid)


def make_directory(host: Host, directory: Directory) -> None:
    """Make the directory the tenant's own. Raises OSError, naming what is missing."""
    place = host.path(directory.path)
    if not place.parent.is_dir():
        raise FileNotFoundError(2, f"directory {place.parent} is missing: run install.yml for this node")
    place.mkdir(mode=0o750, exist_ok=True)
    if host.own:
        # Last: that it is the tenant's tells that it is complete.
        os.chown(place, directory.uid, directory.uid, follow_symlinks=False)


def look(host: Host, path: str) -> Found:
    """What is at ``path``. Raises ServiceError for a directory, a device and the like."""
    real = os.fspath(host.path(path))
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return Found()
    except OSError as error:
        if Path(real).is_symlink():
            return Found(link=os.fspath(Path(real).readlink()))
        raise ServiceError(f"{path} cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ServiceError(f"{path} is not a file: remove it")
        content = os.read(descriptor, status.st_size + 1)
        while len(content) < status.st_size and (more := os.read(descriptor, status.st_size)):
            content += more
        return Found(content, None, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    finally:
        os.close(descriptor)


def same(host: Host, target: Target, found: Found) -> bool:
    """Whether what is there is what shall be there."""
    if target.link is not None or found.link is not None:
        return target.link == found.link
    owned = not host.own or (found.uid, found.gid) == (target.uid, target.gid)
    return found.content == target.content and found.mode == target.mode and owned


def stage(host: Host, target: Target, sync: bool) -> None:
    """Write the new file beside its place, complete with owner and mode. Raises OSError; ``unstage`` cleans up."""
    place = host.path(target.path)
    _directory(host, target, place.parent)
    new = beside(place)
    new.unlink(missing_ok=True)
    if target.link is not None:
        new.symlink_to(target.link)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(new, flags, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(target.content)
        stream.flush()
        if host.own:
            os.fchown(descriptor, target.uid, target.gid)
        os.fchmod(descriptor, target.mode)
        if sync:
            os.fsync(descriptor)


def commit(host: Host, target: Target) -> None:
    """Put the staged file into its place. Raises OSError."""
    place = host.path(target.path)
    beside(place).replace(place)


def unstage(host: Host, path: str) -> None:
    """Remove what ``stage`` wrote, if it did."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        beside(host.path(path)).unlink()


def put_back(host: Host, path: str, found: Found) -> None:
    """Bring ``path`` to what was found there before. Raises OSError."""
    if not found.there:
        host.path(path).unlink(missing_ok=True)
        return
    target = found.target(path)
    stage(host, target, sync=True)
    commit(host, target)


def sync_directories(host: Host, paths: set[str]) -> None:
    """Have the renames in the directories of ``paths`` written to disk. Raises OSError."""
    directories = {host.path(path).parent for path in paths}
    if len(directories) > SYNC_EACH:
        host.sync()
        return
    for directory in directories:
        if directory.is_dir():
            durable.sync_directory(directory)


def beside(place: Path) -> Path:
    """Where the new version of ``place`` is staged."""
    return place.with_name(f".{place.name}{durable.SUFFIX}")


def _directory(host: Host, target: Target, parent: Path) -> None:
    """Make the directories that belong to one instance; shared ones are made when the node is installed."""
    if target.path.startswith(INSTANCES):
        parent.parent.mkdir(mode=0o755, exist_ok=True)
        parent.mkdir(mode=0o700, exist_ok=True)
        # Also of one that is there: a run that was killed may have made it and got no further.
        status = parent.stat()
        if host.own and (status.st_uid, status.st_gid) != (0, target.gid):
            os.chown(parent, 0, target.gid)
        if stat.S_IMODE(status.st_mode) != 0o750:
            parent.chmod(0o750)
    elif parent.is_dir():
        return
    elif target.path.startswith("/etc/systemd/system/"):
        parent.mkdir(mode=0o755, exist_ok=True)
    else:
        raise FileNotFoundError(2, f"directory {parent} is missing: run install.yml for this node")
