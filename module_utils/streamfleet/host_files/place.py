"""One directory, file or link: looked at without following what others may have put there, changed if it differs."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ..node_apply import files
from ..node_apply.errors import ServiceError
from ..node_apply.files import Found, Target
from ..node_apply.host import Host
from . import secrets
from .errors import HostError
from .users import Accounts
from .wanted import Directory, File, Link

#: Seconds that a program may take to check a file.
TIMEOUT = 180.0


def directory(host: Host, wanted: Directory, accounts: Accounts, check: bool) -> bool:
    """Make it, or give it owner and mode; whether that changed anything. Raises HostError, OSError."""
    uid, gid = accounts.uid(wanted.owner), accounts.gid(wanted.group)
    place = host.path(wanted.path)
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | _follow(place))
    except FileNotFoundError:
        if check:
            return True
        _make(place, wanted.path)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        made = True
    except NotADirectoryError:
        raise HostError(f"{wanted.path} is there and is not a directory: remove it") from None
    else:
        made = False
    try:
        return _own(host, descriptor, uid, gid, wanted.mode, check) or made
    finally:
        os.close(descriptor)


def link(host: Host, wanted: Link, check: bool) -> bool:
    """Make the link, or point it there; whether that changed anything. Raises HostError, OSError."""
    target = Target(wanted.path, link=wanted.to)
    with _errors():
        if files.same(host, target, files.look(host, wanted.path)):
            return False
        if not check:
            files.stage(host, target, sync=False)
            files.commit(host, target)
    return True


def file(host: Host, wanted: File, accounts: Accounts, check: bool) -> tuple[Target, Found] | None:
    """Bring the file to what is wanted.

    Returns what it is now and what was found, or None if nothing changed. Raises HostError, OSError.
    """
    uid, gid = accounts.uid(wanted.owner), accounts.gid(wanted.group)
    with _errors():
        found = files.look(host, wanted.path)
    if wanted.generate is not None and found.link is not None:
        raise HostError(f"{wanted.path} is a link to {found.link}: put the file itself there, it would be made anew")
    if wanted.generate is not None and found.content is not None:
        return _keep(host, wanted, found, uid, gid, check)
    text = _text(host, wanted, found, check)
    if (
        text is None
    ):  # Check mode: what it is made from is not there yet, so the diff can only say that there is something.
        return Target(wanted.path, b"unknown", kind="key"), found
    # What was made on the host is not shown either: it holds secrets.
    kind = "config" if wanted.show and wanted.generate is None and not wanted.fill else "key"
    if wanted.edits:
        target = Target(wanted.path, text, found.mode, found.uid, found.gid, kind)
    else:
        target = Target(wanted.path, text, wanted.mode, uid or 0, gid or 0, kind)
    if uid is not None and gid is not None and files.same(host, target, found):
        return None
    if not check:
        _write(host, wanted, target)
    return target, found


def _text(host: Host, wanted: File, found: Found, check: bool) -> bytes | None:
    if wanted.generate is not None:
        return secrets.fill(wanted.generate).encode()
    if wanted.content is not None:
        text = wanted.content
        for marker, path in wanted.fill:
            with _errors():
                filler = files.look(host, path).content
            if filler is None:
                if check:
                    return None
                raise HostError(f"{wanted.path} is made with {path}, which is not there: put it before, with generate")
            text = text.replace(marker, filler.decode().strip())
        return text.encode()
    if found.content is None:
        if check:
            return None
        raise HostError(f"{wanted.path} is to be edited, but is not there: install the package that brings it first")
    text = found.content.decode("utf-8", "surrogateescape")
    for pattern, replacement in wanted.edits:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text.encode("utf-8", "surrogateescape")


def _keep(
    host: Host, wanted: File, found: Found, uid: int | None, gid: int | None, check: bool
) -> tuple[Target, Found] | None:
    """Leave what is in the file alone: it may be a database. Owner and mode are as wanted."""
    descriptor = os.open(host.path(wanted.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not _own(host, descriptor, uid, gid, wanted.mode, check):
            return None
    finally:
        os.close(descriptor)
    return Target(wanted.path, found.content or b"", wanted.mode, uid or 0, gid or 0, "key"), found


def _write(host: Host, wanted: File, target: Target) -> None:
    with _errors():
        try:
            # What cannot be made a second time is on the disk before anything is built upon it.
            files.stage(host, target, sync=wanted.generate is not None)
            if wanted.validate:
                staged = os.fspath(files.beside(host.path(target.path)))
                done = host.run([staged if word == "%s" else word for word in wanted.validate], "", TIMEOUT)
                if done.code != 0:
                    words = (done.err.strip() or done.out.strip())[-2000:]
                    raise HostError(f"{target.path} would not be valid, so it was left as it was: {words}")
            files.commit(host, target)
        finally:
            files.unstage(host, target.path)


def _own(host: Host, descriptor: int, uid: int | None, gid: int | None, mode: int, check: bool) -> bool:
    """Set owner and mode of what is open; whether they differed. A number of None is a user who is still to come."""
    status = os.fstat(descriptor)
    owner = host.own and (status.st_uid, status.st_gid) != (uid, gid)
    differs = owner or stat.S_IMODE(status.st_mode) != mode
    if differs and not check:
        if owner and uid is not None and gid is not None:
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    return differs


def _make(place: Path, path: str) -> None:
    try:
        place.mkdir(mode=0o700)
    except FileNotFoundError:
        raise HostError(f"{path} cannot be made: {posixpath.dirname(path)} is not there; put it before") from None


def _follow(place: Path) -> int:
    """Flags for opening: a link that root made (to another disk) is followed, nobody else's."""
    with contextlib.suppress(FileNotFoundError):
        status = place.lstat()
        if stat.S_ISLNK(status.st_mode) and status.st_uid == 0:
            return 0
    return os.O_NOFOLLOW


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        raise HostError(str(error)) from None
