"""What shall be there, as plain records made from the module's options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import HostError

_MODE = re.compile(r"[0-7]{4}")


@dataclass(frozen=True)
class User:
    """A system user with a group of its own. ``groups``: further groups that it is a member of."""

    name: str
    comment: str
    home: str
    shell: str
    create_home: bool
    password: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Directory:
    """A directory. Its parent is there, or stands before it in the list."""

    path: str
    owner: str
    group: str
    mode: int


@dataclass(frozen=True)
class File:
    """A file, with one of three sources.

    ``content`` is its whole text, in which each marker of ``fill`` stands for the text of that file of the host.
    ``generate`` is the text of a file that is made once and then left alone. ``edits`` are (pattern, replacement) for
    a file that a package brings, and that keeps its owner and mode.
    """

    path: str
    owner: str
    group: str
    mode: int
    content: str | None
    fill: tuple[tuple[str, str], ...]
    generate: str | None
    edits: tuple[tuple[str, str], ...]
    validate: tuple[str, ...]
    show: bool


@dataclass(frozen=True)
class Link:
    """A symbolic link at ``path`` to ``to``."""

    path: str
    to: str


@dataclass(frozen=True)
class Aside:
    """What is at ``path`` is moved ``to`` another; what is there already stays, and what is at ``path`` then goes."""

    path: str
    to: str


@dataclass(frozen=True)
class Leftovers:
    """Files of ``directory`` whose name matches the shell ``pattern``, except ``keep``: they are removed."""

    directory: str
    pattern: str
    keep: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """All of it, in the order in which it is made."""

    users: tuple[User, ...]
    directories: tuple[Directory, ...]
    aside: tuple[Aside, ...]
    absent: tuple[str, ...]
    files: tuple[File, ...]
    links: tuple[Link, ...]
    leftovers: tuple[Leftovers, ...]

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Wanted:
        """From the module's options. Raises HostError that names option, value and fix."""
        return cls(
            users=tuple(_user(item) for item in options["users"]),
            directories=tuple(_directory(item) for item in options["directories"]),
            files=tuple(_file(item) for item in options["files"]),
            links=tuple(Link(_path("links", item["path"]), item["to"]) for item in options["links"]),
            aside=tuple(Aside(_path("aside", item["path"]), _path("aside", item["to"])) for item in options["aside"]),
            absent=tuple(_path("absent", path) for path in options["absent"]),
            leftovers=tuple(
                Leftovers(_path("leftovers", item["directory"]), item["pattern"], tuple(item["keep"]))
                for item in options["leftovers"]
            ),
        )


def _user(item: Mapping[str, Any]) -> User:
    return User(
        name=item["name"],
        comment=item["comment"],
        home=_path("users", item["home"]),
        shell=_path("users", item["shell"]),
        create_home=item["create_home"],
        password="*" if item["keys_only"] else "!",
        groups=tuple(item["groups"]),
    )


def _directory(item: Mapping[str, Any]) -> Directory:
    return Directory(_path("directories", item["path"]), item["owner"], item["group"], _mode(item))


def _file(item: Mapping[str, Any]) -> File:
    path = _path("files", item["path"])
    sources = [name for name in ("content", "generate", "edits") if item[name] is not None]
    if len(sources) != 1:
        given = " and ".join(sources) or "none of them"
        raise HostError(f"files: {path} has {given}; give exactly one of content, generate and edits")
    edits = []
    for edit in item["edits"] or []:
        try:
            re.compile(edit["regexp"])
        except re.error as error:
            raise HostError(f"files: {path}: regexp {edit['regexp']!r} is not a pattern: {error}") from None
        edits.append((edit["regexp"], edit["replace"]))
    validate = tuple(item["validate"])
    if validate and "%s" not in validate:
        raise HostError(f"files: {path}: validate {' '.join(validate)!r} lacks %s, the file to be checked, as a word")
    return File(
        path=path,
        owner=item["owner"],
        group=item["group"],
        mode=_mode(item),
        content=item["content"],
        fill=tuple(sorted(item["fill"].items())),
        generate=item["generate"],
        edits=tuple(edits),
        validate=validate,
        show=item["show"],
    )


def _path(option: str, path: str) -> str:
    if not path.startswith("/") or not path.isprintable() or "/../" in f"{path}/":
        raise HostError(f"{option}: {path!r} is not an absolute path; give one from / on, without ..")
    return path.rstrip("/") or "/"


def _mode(item: Mapping[str, Any]) -> int:
    if not _MODE.fullmatch(item["mode"]):
        raise HostError(
            f"{item['path']}: mode {item['mode']!r} is not an octal number of four digits such as '0644', in quotes"
        )
    return int(item["mode"], 8)
