"""Log-ins for media by SFTP and FTP over TLS, in the files that ProFTPD reads at each log-in. Pure, without Ansible.

Typed encoders: whatever would mean something else to ProFTPD than a name, a hash or a number is refused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .libraries import library_of

FOLDER = "/etc/streamfleet/file-transfer"
READERS = "streamfleet-transfer-ro"
PROTOCOLS = ("sftp", "ftps")

#: A customer's user name, a dot, and the log-in's own name, which has none: so no two pairs make one log-in.
LOGIN = re.compile(r"[a-z0-9](?:[a-z0-9._@+-]{0,62}[a-z0-9])?\.[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
#: What crypt(5) makes: yescrypt, SHA-512, bcrypt.
HASH = re.compile(r"\$(?:y|6|2b)\$[A-Za-z0-9./$=,-]{20,200}")

#: Number that begins a table of limits, and one record: name, kind, per session, hard, bytes (in, out, both), files.
_MAGIC = 0x07626
_RECORD = struct.Struct("<81siBi3d3I")
_GROUP, _HARD = 30, 1
MB = 1024 * 1024
#: Files and directories that a customer may have, unless the node says otherwise: nobody uses up all inodes.
MOST_ENTRIES = 200_000


class MediaUserError(ValueError):
    """A log-in that cannot be written down. Names the log-in and the field, never the hash."""


@dataclass(frozen=True)
class MediaUser:
    """One log-in. ``disk_quota_mb`` is the customer's, of all log-ins together; None for unlimited."""

    login: str
    uid: int
    password: str
    read_only: bool
    protocols: tuple[str, ...]
    disk_quota_mb: int | None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> MediaUser:
        """The log-in as a node document has it. Raises MediaUserError."""
        if not isinstance(data, Mapping):
            raise MediaUserError(f"a log-in of the node document is of type {type(data).__name__}, not a mapping")
        login, uid, password = data.get("login"), data.get("uid"), data.get("password")
        if not isinstance(login, str) or not LOGIN.fullmatch(login):
            raise MediaUserError(f"log-in {login!r}: is not <customer>.<name>")
        if not isinstance(uid, int) or not 200000 <= uid <= 299999:
            raise MediaUserError(f"log-in {login}: uid {uid!r} is not of the tenants' range 200000 to 299999")
        if not isinstance(password, str) or not HASH.fullmatch(password):
            raise MediaUserError(f"log-in {login}: password is not a hash of crypt(5)")
        protocols = data.get("protocols")
        if not isinstance(protocols, list) or not set(protocols) <= set(PROTOCOLS):
            raise MediaUserError(f"log-in {login}: protocols must be some of {', '.join(PROTOCOLS)}")
        quota = data.get("disk_quota_mb")
        if quota is not None and (not isinstance(quota, int) or quota < 0):
            raise MediaUserError(f"log-in {login}: disk_quota_mb {quota!r} is not a number of megabytes")
        return cls(login, uid, password, bool(data.get("read_only")), tuple(protocols), quota)


def all_of(data: Iterable[Mapping[str, Any]]) -> tuple[list[MediaUser], list[str]]:
    """The log-ins of a node document, sorted, and what is wrong with each of those that cannot be written down.

    One that is faulty holds up nobody else. It is left out, so that nobody comes in by what it was before.
    """
    users: dict[str, MediaUser] = {}
    faults: list[str] = []
    twice: set[str] = set()
    for item in data:
        try:
            user = MediaUser.of(item)
        except MediaUserError as error:
            faults.append(str(error))
            continue
        if user.login in users:
            twice.add(user.login)
        users[user.login] = user
    faults += [f"log-in {login}: is in the document twice" for login in sorted(twice)]
    return [users[login] for login in sorted(users.keys() - twice)], faults


def passwd(users: Iterable[MediaUser], protocol: str) -> str:
    """The log-ins of one protocol, as passwd(5)."""
    return "".join(
        f"{user.login}:{user.password}:{user.uid}:{user.uid}::{library_of(user.uid)}:/usr/sbin/nologin\n"
        for user in users
        if protocol in user.protocols
    )


def groups(users: Iterable[MediaUser], readers_gid: int) -> str:
    """The customers' groups, by which quotas count, and the group of those who may only read, as group(5)."""
    users = list(users)
    lines = [f"sf{uid}:x:{uid}:\n" for uid in sorted({user.uid for user in users})]
    readers = ",".join(user.login for user in users if user.read_only)
    return "".join([*lines, f"{READERS}:x:{readers_gid}:{readers}\n"])


def limits(users: Iterable[MediaUser], most_entries: int = MOST_ENTRIES) -> bytes:
    """The customers' limits, as ProFTPD's mod_quotatab_file reads them. Its zero is unlimited, so one byte is none."""
    by_uid = {user.uid: user.disk_quota_mb for user in users}
    records = [
        _RECORD.pack(
            f"sf{uid}".encode(),
            _GROUP,
            0,
            _HARD,
            0.0 if quota is None else max(quota * MB, 1),
            0,
            0,
            most_entries,
            0,
            0,
        )
        for uid, quota in sorted(by_uid.items())
    ]
    return struct.pack("<I", _MAGIC) + b"".join(records)


def changed(before: str, after: str) -> set[str]:
    """Log-ins of the passwd text ``before`` that are not the same in ``after``."""
    kept = set(after.splitlines())
    return {line.partition(":")[0] for line in before.splitlines() if line and line not in kept}


def members(text: str) -> set[str]:
    """The log-ins that may only read, of a text that ``groups`` made."""
    last = text.splitlines()[-1:] or [""]
    return {name for name in last[0].rpartition(":")[2].split(",") if name}
