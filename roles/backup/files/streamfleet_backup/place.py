"""Puts what was fetched into its place. Tenants write in these folders: no link of theirs is ever followed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .errors import BackupError
from .files import PIECE, Entry, gid, uid

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


#: What the kernel says where somebody has moved folders, or has put a link or a folder where a file was.
_MOVED = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ENXIO,
    errno.EINVAL,
}


class InTheWay(BackupError):
    """Something else is in the place of what is to be put there, as where folders are moved meanwhile."""


class Place:
    """One root, a folder or a single file, and the scratch folder on its file system."""

    def __init__(self, root: str, is_folder: bool, scratch: str) -> None:
        self.root = root
        self.scratch = (Path(root) if is_folder else Path(root).parent) / scratch

    def prepare(self, root: Entry) -> None:
        """Make the root itself, where its parent is there, and the scratch folder. Raises BackupError."""
        try:
            if root.kind == "directory" and not os.path.lexists(self.root):
                Path(self.root).mkdir(mode=0o700)
            self.scratch.mkdir(mode=0o700, exist_ok=True)
            self.scratch.chmod(0o700)
        except OSError as error:
            raise BackupError(
                f"{self.root} cannot be put back ({error.strerror}: {error.filename}). Run install.yml for this host"
                " first."
            ) from None

    def staged(self, entry: Entry) -> Path:
        """Where restic puts it."""
        return Path(f"{self.scratch}{entry.path}")

    def put(self, entry: Entry) -> bool:
        """Put it into its place; False where it was not fetched. Raises BackupError, InTheWay among them."""
        try:
            if entry.kind == "directory":
                self._folder(entry)
                return True
            staged = self.staged(entry)
            if not os.path.lexists(staged):
                return False
            if not _is(staged, entry):
                return False
            os.chown(staged, uid(entry.owner), gid(entry.group), follow_symlinks=False)
            if entry.kind == "file":
                staged.chmod(entry.mode)
            with self._parent(entry) as (folder, name):
                os.replace(staged, name, dst_dir_fd=folder)
        except OSError as error:
            raise _fault(entry, error) from None
        return True

    def owner(self, entry: Entry) -> None:
        """Give a file whose content is as it should be its owner and mode. Raises BackupError, InTheWay among them."""
        try:
            self._owner(entry)
        except OSError as error:
            raise _fault(entry, error) from None

    def _owner(self, entry: Entry) -> None:
        with self._parent(entry) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            os.chown(name, uid(entry.owner), gid(entry.group), dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
                try:
                    os.fchmod(descriptor, entry.mode)
                finally:
                    os.close(descriptor)

    def _folder(self, entry: Entry) -> None:
        with self._parent(entry) as (parent, name):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            descriptor = os.open(name, _FOLDER, dir_fd=parent)
            try:
                os.fchown(descriptor, uid(entry.owner), gid(entry.group))
                os.fchmod(descriptor, entry.mode)
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def _parent(self, entry: Entry) -> Iterator[tuple[int, str]]:
        """The folder that it is in, opened step by step, and its name there."""
        if entry.path == self.root:
            descriptor = os.open(Path(self.root).parent, _FOLDER)
            steps: list[str] = []
        else:
            descriptor = os.open(self.root, _FOLDER)
            steps = os.path.relpath(entry.path, self.root).split("/")[:-1]
        try:
            for step in steps:
                inner = os.open(step, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor, Path(entry.path).name
        finally:
            os.close(descriptor)


def _fault(entry: Entry, error: OSError) -> BackupError:
    said = (
        f"{entry.path} cannot be put back ({error.strerror}). Move what stands in the way; then run the restore again:"
        " it goes on where it was."
    )
    return InTheWay(said) if error.errno in _MOVED else BackupError(said)


def _is(staged: Path, entry: Entry) -> bool:
    """Whether what was fetched is what the manifest says, to the last byte."""
    digest = hashlib.sha256()
    if entry.kind == "link":
        return staged.is_symlink() and hashlib.sha256(os.fsencode(staged.readlink())).hexdigest() == entry.sha256
    try:
        descriptor = os.open(staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as stream:
        if entry.sha256 is None:
            return True
        if os.fstat(stream.fileno()).st_size != entry.size:
            return False
        while piece := stream.read(PIECE):
            digest.update(piece)
        os.fsync(stream.fileno())
    return digest.hexdigest() == entry.sha256
