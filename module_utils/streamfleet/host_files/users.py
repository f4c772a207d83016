"""System users and their groups, made by Debian's own programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..node_apply.host import Host
from .errors import HostError
from .wanted import User

TIMEOUT = 60.0


@dataclass(frozen=True)
class Entry:
    """A line of /etc/passwd."""

    uid: int
    comment: str
    home: str
    shell: str


@dataclass
class Accounts:
    """The host's users, and its groups with their members.

    With ``foretold`` (check mode) one who is not there is taken for one whom an earlier step would have made.
    """

    users: dict[str, Entry] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=dict)
    foretold: bool = False

    @classmethod
    def of(cls, host: Host, foretold: bool = False) -> Accounts:
        """Read them. Service users are local, so no directory service is asked."""
        found = cls(foretold=foretold)
        for name, _password, uid, _gid, comment, home, shell in _lines(host, "/etc/passwd", 7):
            found.users[name] = Entry(int(uid), comment, home, shell)
        for name, _password, gid, members in _lines(host, "/etc/group", 4):
            found.groups[name] = int(gid)
            found.members[name] = set(members.split(",")) - {""}
        return found

    def uid(self, name: str) -> int | None:
        """The number of user ``name``; None for one that is still to come. Raises HostError if there is none."""
        if name in self.users:
            return self.users[name].uid
        return self._missing(name, "user")

    def gid(self, name: str) -> int | None:
        """The number of group ``name``, likewise."""
        if name in self.groups:
            return self.groups[name]
        return self._missing(name, "group")

    def _missing(self, name: str, what: str) -> int | None:
        if not self.foretold:
            raise HostError(f"{what} {name} does not exist on this host: install the package that makes it first")
        return None


def ensure(host: Host, wanted: Iterable[User], accounts: Accounts, check: bool) -> list[str]:
    """Make or correct users; returns the names of those that changed. Updates ``accounts``. Raises HostError."""
    changed = []
    for user in wanted:
        command = _command(user, accounts)
        if not command:
            continue
        changed.append(user.name)
        if check:
            continue
        done = host.run(command, "", TIMEOUT)
        if done.code != 0:
            raise HostError(f"user {user.name} cannot be made: {done.last_words}")
        fresh = Accounts.of(host)
        accounts.users, accounts.groups, accounts.members = fresh.users, fresh.groups, fresh.members
    return changed


def _command(user: User, accounts: Accounts) -> list[str]:
    """The program that brings ``user`` to what is wanted; empty if it is so already."""
    entry = accounts.users.get(user.name)
    if entry is None:
        own = ["--gid", user.name] if user.name in accounts.groups else ["--user-group"]
        home = "--create-home" if user.create_home else "--no-create-home"
        more = ["--groups", ",".join(user.groups)] if user.groups else []
        about = ["--comment", user.comment, "--home-dir", user.home, "--shell", user.shell]
        return ["useradd", "--system", *own, home, "--password", user.password, *about, *more, "--", user.name]
    changes = []
    if entry.comment != user.comment:
        changes += ["--comment", user.comment]
    if entry.home != user.home:
        changes += ["--home", user.home]
    if entry.shell != user.shell:
        changes += ["--shell", user.shell]
    missing = [group for group in user.groups if user.name not in accounts.members.get(group, set())]
    if missing:
        changes += ["--append", "--groups", ",".join(missing)]
    return ["usermod", *changes, "--", user.name] if changes else []


def _lines(host: Host, path: str, fields: int) -> list[list[str]]:
    lines = host.path(path).read_text(errors="surrogateescape").splitlines()
    return [parts for parts in (line.split(":") for line in lines) if len(parts) == fields and parts[2].isdigit()]
