"""What is new on this node: the worker asks once for all services, and says how far it has read. Changes nothing.

Roles declare what there is, a feed a file of ``/usr/lib/streamfleet/feeds``:

- ``{"kind": "lines", "path", "older", "first_bytes"}``: JSON objects, one a line, appended. The file is rotated by
  renaming it to ``<name>.1.jsonl`` and so on, ``older`` of them. Where it is not known how far it was read, only
  ``first_bytes`` of its end are; null: everything that is there.
- ``{"kind": "state", "path"}``: one JSON object, told whole whenever its file is another one or has changed.

A path with ``{slug}`` in it is one of each service, in folders of tenants, who may put anything there. What is no flat
object of JSON as every reader takes it is passed over. Runs as root.
Standard input: ``{"cursors": {feed: {slug: cursor}}}``. Standard output:
``{"schema", "feeds": {feed: {"items": [[slug, object]], "cursors": {slug: cursor}}}, "more"}``; ``more``: there is more
than fits into one answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

SCHEMA = 1
FEEDS = Path("/usr/lib/streamfleet/feeds")
#: What one answer holds at most, and what is read of one tenant for it, so that nobody is in others' way.
MOST_LINES, MOST_BYTES = 4000, 2 * 1024 * 1024
MOST_LINES_EACH, MOST_BYTES_EACH = 500, 256 * 1024
LONGEST_LINE = 8192
LARGEST_STATE = 65536
#: Levels of objects and lists in one another; what roles write has three.
DEEPEST = 8
#: A file is known again by its inode and by so much of its beginning as was read: inodes are used again.
HEAD_BYTES = 256
LARGEST_REQUEST = 16 * 1024 * 1024


class Room:
    """What of an answer is left."""

    def __init__(self) -> None:
        self.lines = MOST_LINES
        self.bytes = MOST_BYTES
        self.more = False

    def has(self, size: int = 0) -> bool:
        """Whether something of this size fits. When not, there is more for another answer."""
        if self.lines > 0 and self.bytes > size:
            return True
        self.more = True
        return False

    def take(self, size: int) -> None:
        """Something of this size goes into the answer."""
        self.lines -= 1
        self.bytes -= size


class Feed:
    """One feed, as a role declares it. Raises KeyError, TypeError or ValueError for what is none."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        self.kind = declared["kind"]
        self.path = str(declared["path"])
        if self.kind not in ("lines", "state") or not self.path.startswith("/"):
            raise ValueError(self.path)
        self.older = int(declared.get("older", 0))
        first = declared.get("first_bytes")
        self.first_bytes = None if first is None else int(first)
        self.of_services = "{slug}" in self.path

    def slugs(self) -> list[str]:
        """Whose files there may be; one that is called nothing for a file of the node's own."""
        if not self.of_services:
            return [""]
        try:
            return sorted(entry.name for entry in os.scandir(self.path.partition("{slug}")[0]))
        except OSError:
            return []

    def open(self, slug: str, number: int = 0) -> BinaryIO | None:
        """The file, or the one that was rotated away ``number`` times; None where there is none that may be read."""
        path = Path(self.path)
        name = path.name if not number else f"{path.stem}.{number}{path.suffix}"
        try:
            if not self.of_services:
                return os.fdopen(os.open(path.with_name(name), os.O_RDONLY | os.O_CLOEXEC), "rb")
            before, _slug, inside = str(path.with_name(name)).partition("{slug}")
            return _open_of_tenant(before, [slug, *inside.strip("/").split("/")])
        except OSError:
            return None


def _open_of_tenant(root: str, parts: list[str]) -> BinaryIO:
    """A file below ``root`` in folders of a tenant's: no link is followed. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    folder = os.open(root, flags | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        file = os.open(parts[-1], flags, dir_fd=folder)
        there, owner = os.fstat(file), os.fstat(folder).st_uid
    finally:
        os.close(folder)
    if not stat.S_ISREG(there.st_mode) or there.st_nlink != 1 or there.st_uid != owner:
        os.close(file)
        raise PermissionError(root)
    return os.fdopen(file, "rb")


def _object(text: bytes) -> dict[str, Any] | None:
    """The object; None for what is none, or nested too deeply or holds a number that JSON does not have."""
    try:
        found = json.loads(text)
        if not isinstance(found, dict) or _too_deep(found):
            return None
        # Such as 1e999, which is read as infinity.
        json.dumps(found, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return found


def _too_deep(found: object) -> bool:
    """Whether it is nested deeper than anything that roles write. Level by level, as deep ones end every recursion."""
    level = [found]
    for _level in range(DEEPEST):
        inner: list[object] = []
        for value in level:
            inner += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        level = [value for value in inner if isinstance(value, (dict, list))]
        if not level:
            return False
    return True


def read_state(feed: Feed, slug: str, cursor: object, room: Room) -> tuple[list[dict[str, Any]], Any]:
    """The file's object if it is not the one that ``cursor`` stands for, and the cursor after it."""
    file = feed.open(slug)
    if file is None:
        return [], None
    with file:
        status = os.fstat(file.fileno())
        now = [status.st_ino, status.st_mtime_ns, status.st_size]
        if now == cursor or status.st_size > LARGEST_STATE:
            return [], now
        if not room.has(status.st_size):
            return [], cursor
        found = _object(file.read(LARGEST_STATE))
    if found is None:
        return [], now
    room.take(status.st_size)
    return [found], now


def read_lines(feed: Feed, slug: str, cursor: object, room: Room) -> tuple[list[dict[str, Any]], Any]:
    """New lines since ``cursor`` (see ``_place``), also of files that were rotated away; the cursor after them."""
    items: list[dict[str, Any]] = []
    lines = MOST_LINES_EACH if feed.of_services else MOST_LINES
    size = MOST_BYTES_EACH if feed.of_services else MOST_BYTES
    after: Any = None
    stopped = False
    for file, start in _since(feed, slug, cursor):
        with file:
            if stopped:
                continue
            begin = start
            for line, offset in _lines(file, start):
                size -= offset - begin
                found = _object(line)
                if size < 0 or (found is not None and (lines <= 0 or not room.has(len(line)))):
                    stopped = True
                    break
                if found is not None:
                    items.append(found)
                    room.take(len(line))
                    lines -= 1
                begin = offset
            after = [os.fstat(file.fileno()).st_ino, begin, _head(file, begin)]
    return items, after


def _head(file: BinaryIO, offset: int) -> str:
    """Stands for the beginning of a file that was read as far as ``offset``: it stays when more is appended."""
    file.seek(0)
    return hashlib.sha256(file.read(min(offset, HEAD_BYTES))).hexdigest()[:32]


def _place(cursor: object) -> tuple[int, int, str | None] | None:
    """A cursor's inode, offset and beginning, which those of earlier releases lack; None for what is no cursor."""
    if not isinstance(cursor, list) or len(cursor) not in (2, 3):
        return None
    inode, offset, head = [*cursor, None][:3]
    if any(isinstance(value, bool) or not isinstance(value, int) for value in (inode, offset)):
        return None
    if offset < 0 or not isinstance(head, (str, type(None))):
        return None
    return inode, offset, head


def _since(feed: Feed, slug: str, cursor: object) -> list[tuple[BinaryIO, int]]:
    """The files that may have something after ``cursor``, the oldest first, each with where to begin."""
    place = _place(cursor)
    files: list[tuple[BinaryIO, int]] = []
    seen = set()
    for number in range(feed.older + 1):
        file = feed.open(slug, number)
        if file is None:
            continue
        status = os.fstat(file.fileno())
        if status.st_ino in seen:
            # It was rotated away while this looked.
            file.close()
            continue
        seen.add(status.st_ino)
        if place is not None:
            inode, offset, head = place
            # One that is shorter, or begins otherwise, is another one to which the inode has come.
            same = status.st_ino == inode and status.st_size >= offset
            if same and (head is None or head == _head(file, offset)):
                return [*files, (file, offset)][::-1]
        files.append((file, 0))
    # Where the file that was read last has gone, all others are news.
    if place is None and feed.first_bytes is not None and files:
        for file, _start in files[1:]:
            file.close()
        newest = files[0][0]
        begin = max(0, os.fstat(newest.fileno()).st_size - feed.first_bytes)
        if begin:
            # To the beginning of a line.
            newest.seek(begin - 1)
            begin += len(newest.readline(feed.first_bytes + 1)) - 1
        return [(newest, begin)]
    return files[::-1]


def _lines(file: BinaryIO, start: int) -> Iterator[tuple[bytes, int]]:
    """Every whole line, with the offset after it; an empty one for what is too long. An unfinished one waits."""
    file.seek(start)
    offset = start
    while line := file.readline(LONGEST_LINE):
        offset += len(line)
        if line.endswith(b"\n"):
            yield line, offset
        elif len(line) == LONGEST_LINE:
            yield b"", offset
        else:
            return


READERS = {"lines": read_lines, "state": read_state}


def feeds_of(folder: Path) -> dict[str, Feed]:
    """Every feed that a role has declared. Raises ValueError for a file that is none."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = Feed(json.loads(path.read_bytes()))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} declares no feed: {type(error).__name__}") from error
    return found


def collect(feeds: Mapping[str, Feed], cursors: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to ``cursors``."""
    room = Room()
    answer: dict[str, Any] = {"schema": SCHEMA, "feeds": {}}
    # Lines first: each is told once and is lost when it has waited too long, while a state is told as it is by then.
    for name, feed in sorted(feeds.items(), key=lambda item: item[1].kind != "lines"):
        before = cursors.get(name)
        before = before if isinstance(before, dict) else {}
        items: list[list[Any]] = []
        after: dict[str, Any] = {}
        slugs = feed.slugs()
        # Begin with another one each time: where not all fits, all get their turn.
        first = random.randrange(len(slugs)) if slugs else 0  # noqa: S311
        for slug in slugs[first:] + slugs[:first]:
            try:
                found, cursor = READERS[feed.kind](feed, slug, before.get(slug), room)
            except OSError:
                # A file that cannot be read just then is in no other's way.
                found, cursor = [], before.get(slug)
            items += [[slug, item] for item in found]
            if cursor is not None:
                after[slug] = cursor
        answer["feeds"][name] = {"items": items, "cursors": after}
    answer["more"] = room.more
    return answer


def main() -> int:
    """Exit status."""
    try:
        cursors = json.loads(sys.stdin.buffer.read(LARGEST_REQUEST))["cursors"]
        answer = collect(feeds_of(FEEDS), dict(cursors))
        # Whole, before any of it is written: in one line, since sudo may say something before it.
        text = json.dumps(answer, separators=(",", ":"), allow_nan=False)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
