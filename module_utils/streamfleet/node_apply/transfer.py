"""Log-ins for media by SFTP and FTP over TLS: written down for the whole node; sessions of those that are gone end.

Nobody is told to reload: each session reads the files when somebody logs in.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import durable, media_users
from ..libraries import library_of
from ..media_users import MediaUser
from . import files, users
from .errors import ServiceError
from .files import Directory, Found, Target
from .host import Host

UNIT = "streamfleet-file-transfer.service"
#: In this order: a log-in is there when its limit and its group are.
_FILES = ("limits", "groups", "users-ftps", "users-sftp")


@dataclass
class Transfer:
    """What is to be done."""

    logins: set[str] = field(default_factory=set)
    writes: list[tuple[Target, Found]] = field(default_factory=list)
    directories: list[Directory] = field(default_factory=list)
    new_uids: list[int] = field(default_factory=list)
    # Log-ins whose sessions end, and the processes of sessions that nobody may have any more.
    ended: set[str] = field(default_factory=set)
    pids: list[int] = field(default_factory=list)
    problem: str = ""
    # Log-ins that are refused, each with the reason. The others are as wanted.
    faults: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.writes or self.directories or self.new_uids or self.ended or self.pids)


def plan(host: Host, payload: Any, accounts: users.Accounts) -> Transfer:
    """Compare with the node.

    Nothing is to be done where the role file_transfer is not installed, nor where ``payload`` is None: a document that
    says nothing of log-ins takes none away. Only a list does.
    """
    if payload is None or not host.path(media_users.FOLDER).is_dir() or media_users.READERS not in accounts.groups:
        return Transfer()
    if not isinstance(payload, list):
        return Transfer(
            problem=f"log-ins for media are as they were: media_users is {type(payload).__name__}, not a list"
        )
    found, faults = media_users.all_of(payload)
    wanted = []
    for user in found:
        try:
            accounts.require(user.uid)
        except ServiceError as error:
            faults.append(f"log-in {user.login}: {error}")
        else:
            wanted.append(user)
    return _compare(host, wanted, faults, accounts)


def _compare(host: Host, wanted: list[MediaUser], faults: list[str], accounts: users.Accounts) -> Transfer:
    transfer = Transfer({user.login for user in wanted}, faults=faults)
    contents = {
        "limits": media_users.limits(wanted, _most_entries(host)),
        "groups": media_users.groups(wanted, accounts.groups[media_users.READERS]).encode(),
        **{f"users-{name}": media_users.passwd(wanted, name).encode() for name in media_users.PROTOCOLS},
    }
    for name in _FILES:
        target = Target(f"{media_users.FOLDER}/{name}", contents[name], 0o600, kind="key")
        found = files.look(host, target.path)
        if not files.same(host, target, found):
            transfer.writes.append((target, found))
        if found.content is not None and name.startswith("users-"):
            transfer.ended |= media_users.changed(found.content.decode(), contents[name].decode())
        if found.content is not None and name == "groups":
            before, after = media_users.members(found.content.decode()), media_users.members(contents[name].decode())
            transfer.ended |= before ^ after
    for uid in sorted({user.uid for user in wanted}):
        if accounts.require(uid):
            transfer.new_uids.append(uid)
        directory = Directory(library_of(uid), uid)
        if not files.is_made(host, directory):
            transfer.directories.append(directory)
    transfer.ended |= _pending(host)
    transfer.pids = sorted(pid for pid, login in _sessions(host).items() if login not in transfer.logins)
    return transfer


def execute(host: Host, transfer: Transfer) -> str:
    """Do what is planned; returns what went wrong, or nothing."""
    if not transfer.changes:
        return ""
    problem = users.create(host, transfer.new_uids)
    if problem:
        return f"log-ins for media are as they were: {problem}"
    pending = host.path(_PENDING)
    try:
        for directory in transfer.directories:
            files.make_directory(host, directory)
        if transfer.ended:
            # A run that is killed here leaves the next one knowing whose sessions end.
            durable.write(pending, json.dumps(sorted(transfer.ended)).encode(), 0o600)
        for target, _found in transfer.writes:
            files.stage(host, target, sync=True)
            files.commit(host, target)
        files.sync_directories(host, {target.path for target, _found in transfer.writes})
        host.checkpoint("transfer")
        for pid, login in _sessions(host).items():
            if login in transfer.ended or login not in transfer.logins:
                _end(host, pid, login)
        pending.unlink(missing_ok=True)
    except OSError as error:
        return f"log-ins for media cannot be written: {error.filename or media_users.FOLDER}: {error.strerror}"
    return ""


def _most_entries(host: Host) -> int:
    """Files and directories that a customer may have on this node, as the role file_transfer says."""
    try:
        return int(host.path(f"{media_users.FOLDER}/max-entries").read_text())
    except (FileNotFoundError, ValueError):
        return media_users.MOST_ENTRIES


_PENDING = "/var/lib/streamfleet/node/media-sessions.json"


def _pending(host: Host) -> set[str]:
    try:
        return {str(login) for login in json.loads(host.path(_PENDING).read_text())}
    except (FileNotFoundError, ValueError):
        return set()


def _end(host: Host, pid: int, login: str) -> None:
    """End a session, if the process is that session still."""
    host.signal(pid, signal.SIGTERM, lambda: _login(host.path(f"/proc/{pid}")) == login)


def _sessions(host: Host) -> dict[int, str]:
    """Process id → log-in of every session."""
    logins = {int(folder.name): _login(folder) for folder in host.path("/proc").glob("[0-9]*")}
    return {pid: login for pid, login in logins.items() if login is not None}


def _login(folder: Path) -> str | None:
    """Whose session a process is. ProFTPD says it in the process's title: ``proftpd: <log-in> - …``."""
    try:
        words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").split(b" ", 3)
        if len(words) < 3 or words[0] != b"proftpd:" or words[2] != b"-":
            return None
        if f"/{UNIT}\n" not in (folder / "cgroup").read_text():
            return None
    except (FileNotFoundError, ProcessLookupError):
        return None
    return words[1].decode("ascii", "replace")
