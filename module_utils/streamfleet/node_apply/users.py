"""Tenants' users: looked up in one reading of passwd and group, made by one systemd-sysusers run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .errors import ServiceError
from .host import Host

FIRST_UID = 200000
LAST_UID = 299999
TIMEOUT = 120.0


def name_of(uid: int) -> str:
    """User and group of the tenant with this uid."""
    return f"sf{uid}"


@dataclass
class Accounts:
    """The node's users and groups by name, and names by uid."""

    users: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, host: Host) -> Accounts:
        """Read them. No look-up in a directory service: tenants are local."""
        accounts = cls()
        for name, number in _entries(host, "/etc/passwd"):
            accounts.users[name] = number
            accounts.names.setdefault(number, name)
        accounts.groups.update(_entries(host, "/etc/group"))
        return accounts

    def require(self, uid: int) -> bool:
        """Whether the tenant's user is still to be made. Raises ServiceError if uid or name are someone else's."""
        if not FIRST_UID <= uid <= LAST_UID:
            raise ServiceError(f"uid {uid} is not of the tenants' range {FIRST_UID} to {LAST_UID}")
        name = name_of(uid)
        if self.users.get(name, uid) != uid or self.groups.get(name, uid) != uid:
            raise ServiceError(f"user or group {name} of this node has another number than {uid}: remove it")
        if self.names.get(uid, name) != name:
            raise ServiceError(f"uid {uid} belongs to user {self.names[uid]} of this node: remove that user")
        return name not in self.users or name not in self.groups

    def user(self, name: str) -> int:
        """The uid of ``name``, also of a tenant's user that is still to be made."""
        return self._number(self.users, name, "user")

    def group(self, name: str) -> int:
        """The gid of ``name``, likewise."""
        return self._number(self.groups, name, "group")

    def _number(self, known: dict[str, int], name: str, what: str) -> int:
        if name in known:
            return known[name]
        if name.startswith("sf") and name[2:].isdigit() and FIRST_UID <= int(name[2:]) <= LAST_UID:
            return int(name[2:])
        raise ServiceError(f"{what} {name} does not exist on this node: run install.yml for it")


def create(host: Host, uids: Iterable[int]) -> str:
    """Make the users; returns why that failed, or nothing."""
    wanted = sorted(set(uids))
    if not wanted:
        return ""
    lines = [f'u {name_of(uid)} {uid} "Streamfleet tenant" /nonexistent /usr/sbin/nologin\n' for uid in wanted]
    done = host.run(["systemd-sysusers", "-"], "".join(lines), TIMEOUT)
    return "" if done.code == 0 else f"cannot create system users: {done.last_words}"


def remove(host: Host, uid: int) -> str:
    """Remove a tenant's user and group; returns why that failed, or nothing. One that is not there is removed."""
    done = host.run(["userdel", name_of(uid)], "", TIMEOUT)
    return "" if done.code in (0, 6) else f"cannot remove user {name_of(uid)}: {done.last_words}"


def _entries(host: Host, path: str) -> list[tuple[str, int]]:
    found = []
    for line in host.path(path).read_text(errors="surrogateescape").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdigit():
            found.append((fields[0], int(fields[2])))
    return found
