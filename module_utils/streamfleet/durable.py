"""Files that are the old ones or the new ones, whole, whenever the power goes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

#: What a new file beside its place ends in, until it takes the place.
SUFFIX = ".streamfleet-new"


@contextlib.contextmanager
def replacing(path: Path, mode: int, owner: tuple[int, int] | None = None) -> Iterator[BinaryIO]:
    """A stream for what takes the place of ``path`` when the block ends, and is on the disk then.

    ``mode``: its bits. ``owner``: numbers of user and group, -1 for this process's. Nobody else reads it before it has
    both. Raises OSError; whatever is raised leaves the file of before, and nothing beside it.
    """
    new = path.with_name(f".{path.name}{SUFFIX}")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            # In this order: a change of owner takes bits away.
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replace ``path``, as ``replacing`` does. Raises OSError."""
    with replacing(path, mode, owner) as stream:
        stream.write(content)


def write_json(path: Path, data: Any, mode: int) -> None:
    """Replace ``path`` by JSON for people to read, too: sorted, a key a line. Raises OSError."""
    write(path, f"{json.dumps(data, indent=1, sort_keys=True)}\n".encode(), mode)


def sync_directory(path: Path) -> None:
    """Have the directory's entries written to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
