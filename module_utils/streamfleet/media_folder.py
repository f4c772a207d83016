"""A folder of the controller as part of a customer's media library: what is brought, with which rsync.

rsync runs on the node as the customer's own system user, so whatever a library holds (links, odd names) it can harm
nobody else's files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .client import Panel
from .errors import BadOption, NotFound
from .http import Client

#: What an AutoDJ plays (SUFFIXES of roles/autodj; a test holds the two together).
SUFFIXES = (".mp3", ".mp2", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".flac", ".wav", ".aif", ".aiff")
#: Videos that channels on demand play (FILE of roles/web/files/streams.js; a test holds the two together).
VIDEOS = (".mp4", ".m4v", ".mov")
#: What belongs into a library.
PLAYABLE = SUFFIXES + VIDEOS
#: Where rsync keeps what it has of a file whose transfer was cut, to go on from there; hidden, so nothing plays it.
PARTIAL = ".streamfleet-partial"
LONGEST_PATH = 500

_CHANGE = re.compile(r"(?P<what>[<>ch.*][a-zA-Z+.? ]+)\t(?P<bytes>\d+)\t(?P<path>.+)")


def uid_of(client: Client, customer: str) -> int:
    """The customer's uid, which names the library and its owner on every node. Raises errors.Error."""
    found = Panel(client).get("customer", customer)
    if found is None:
        raise NotFound(f"customer: {customer!r} is not known to the panel at {client.url}.")
    return int(found["uid"])


@dataclass(frozen=True)
class Folder:
    """What a folder of the controller holds: sizes in bytes of what can be played, by path; and what is passed over."""

    media: dict[str, int]
    ignored: list[str]


@dataclass(frozen=True)
class Change:
    """One thing that rsync does: ``send`` or ``delete`` a path; ``size`` in bytes."""

    action: str
    path: str
    size: int


def scan(src: Path) -> Folder:
    """Look at the folder. Raises BadOption where it is none, or cannot be read."""
    if not src.is_dir():
        raise BadOption(f"src: {str(src)!r} is no folder on the controller. Give one that holds music or videos.")
    media: dict[str, int] = {}
    ignored: list[str] = []
    try:
        for path, playable in _walk(src, ""):
            if playable:
                media[path] = (src / path).stat().st_size
            else:
                ignored.append(path)
    except OSError as error:
        raise BadOption(f"src: {str(src)!r} cannot be read: {error}.") from None
    return Folder(media, sorted(ignored))


def _walk(folder: Path, inside: str) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{inside}{entry.name}"
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from _walk(Path(entry.path), f"{path}/")
        elif not entry.is_dir(follow_symlinks=False):
            regular = entry.is_file(follow_symlinks=False)
            yield path, regular and not entry.name.startswith(".") and entry.name.lower().endswith(PLAYABLE)


def destination(dest: str, option: str = "dest") -> str:
    """``dest`` if it is a folder of a library. Raises BadOption, naming the ``option``."""
    parts = dest.split("/")
    inside = dest == "." or not any(part in ("", ".", "..") for part in parts)
    if not inside or len(dest) > LONGEST_PATH or any(part.startswith(".") for part in parts if dest != "."):
        raise BadOption(
            f"{option}: {dest!r} is no folder of a media library. Give a relative path such as day/jazz, or . for all."
        )
    if re.search(r"[\x00-\x1f\x7f]", dest):
        raise BadOption(f"{option}: {dest!r} holds a control character.")
    return dest


def command(src: Path, target: str, user: str, shell: str, *, delete: bool, dry_run: bool) -> list[str]:
    """rsync's arguments: ``target`` is ``host:path``, ``shell`` what takes it to the host (rsync's ``-e``)."""
    return [
        "rsync",
        "--recursive",
        "--times",
        "--omit-dir-times",
        "--chmod=D0750,F0640",
        "--prune-empty-dirs",
        "--mkpath",
        "--secluded-args",
        f"--partial-dir={PARTIAL}",
        "--timeout=120",
        # One line for each change, as it is made.
        "--outbuf=L",
        "--out-format=%i\t%l\t%n",
        *(["--delete-after"] if delete else []),
        *(["--dry-run"] if dry_run else []),
        *_filters(),
        f"--rsync-path=sudo -n -u {user} -- rsync",
        f"--rsh={shell}",
        "--",
        f"{src}/",
        target,
    ]


def _filters() -> list[str]:
    """What can be played, and no more; case does not matter to an AutoDJ, so not here."""
    patterns = ["".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in suffix) for suffix in PLAYABLE]
    return ["--exclude=.*", "--include=*/", *(f"--include=*{pattern}" for pattern in patterns), "--exclude=*"]


def change_of(line: str) -> Change | None:
    """What a line of rsync's output tells; None for one of no change, or of a folder that is made for a file."""
    found = _CHANGE.fullmatch(line.rstrip("\n"))
    if not found:
        return None
    what, path, size = found["what"], found["path"], int(found["bytes"])
    if what.startswith("*deleting"):
        return Change("delete", path, 0)
    if what.startswith(("<f", ">f")):
        return Change("send", path, size)
    return None


def failure(code: int, stderr: Sequence[str], node: str, user: str) -> str:
    """Why rsync has ended with ``code``, and what to do."""
    text = "\n".join(stderr)
    last = next((line.strip() for line in reversed(stderr) if line.strip() and "rsync error" not in line), "")
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return (
            f"the disk of {node} is full. What came over is there; make room and run this again: it goes on from there."
        )
    if "unknown user" in text:
        return f"{node} has no user {user}: the customer has no media service there. Declare one, and converge."
    if "a password is required" in text or "not allowed to execute" in text:
        return (
            f"on {node} this user may not use sudo without a password. Connect as one who may,"
            " such as streamfleet-converge."
        )
    if "rsync: command not found" in text or "rsync: not found" in text:
        return f"{node} has no rsync: run install.yml for it (role autodj installs it)."
    return f"rsync ended with {code}: {last or 'it said nothing'}. Run this again: it goes on from there."
