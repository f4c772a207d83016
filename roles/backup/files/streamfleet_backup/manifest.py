"""The list of all that a backup holds: a summary (JSON), and every file of it (JSON, one a line)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .errors import BackupError
from .files import Entry

SCHEMA = 1
SUMMARY, FILES = "manifest.json", "files.jsonl"


def write(folder: Path, summary: Mapping[str, Any], entries: Iterable[Entry]) -> None:
    """Write both files. Raises OSError."""
    with (folder / FILES).open("w") as stream:
        for entry in entries:
            stream.write(json.dumps(entry.as_dict()) + "\n")
    (folder / SUMMARY).write_text(json.dumps({"schema": SCHEMA, **summary}, indent=1) + "\n")


def read(folder: Path) -> tuple[dict[str, Any], list[Entry]]:
    """Both. Raises BackupError."""
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        if summary["schema"] != SCHEMA:
            raise BackupError(
                f"the manifest is of schema {summary['schema']}, this host knows {SCHEMA}: the backup was made by"
                " a newer one. Install that one first."
            )
        with (folder / FILES).open() as stream:
            return summary, [Entry.read(json.loads(line)) for line in stream]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(
            f"the manifest cannot be read ({error!r}): the backup is damaged. Choose another one."
        ) from None


def by_root(entries: Iterable[Entry], roots: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Root → ``{"files", "directories", "links", "bytes", "changing", "digest"}``."""
    found: dict[str, dict[str, Any]] = {}
    digests = {}
    ordered = sorted(roots)
    for root in ordered:
        found[root] = {"files": 0, "directories": 0, "links": 0, "bytes": 0, "changing": 0}
        digests[root] = hashlib.sha256()
    kinds = {"file": "files", "directory": "directories", "link": "links"}
    for entry in sorted(entries, key=lambda entry: entry.path):
        root = next(root for root in ordered if entry.path == root or entry.path.startswith(f"{root}/"))
        counts = found[root]
        counts[kinds[entry.kind]] += 1
        counts["bytes"] += entry.size
        if entry.kind == "file" and entry.sha256 is None:
            counts["changing"] += 1
        digests[root].update(json.dumps(entry.same).encode() + b"\n")
    for root, digest in digests.items():
        found[root]["digest"] = digest.hexdigest()
    return found


def stored(
    entries: Sequence[Entry], listing: Iterable[Mapping[str, Any]], roots: Iterable[str], strict: Iterable[str] = ()
) -> tuple[list[Entry], list[str]]:
    """The entries as the snapshot has them, and paths of those that were moved about meanwhile.

    Tenants move whole folders while a backup runs, and no file in them is changed by that: such a file is left out
    where it is missing, and promised nothing where another one is in its place. Below ``strict`` nobody does so: raises
    BackupError where the snapshot lacks a file, or has it in another size.
    """
    roots, strict = list(roots), list(strict)
    # Names that are no UTF-8 may look alike: then their sizes tell how many of them are there. Of most names there is
    # one, whose size stands without a list around it.
    inside: dict[str, int | list[int] | None] = {shown(entry.path): None for entry in entries}
    for node in listing:
        path = shown(str(node["path"]))
        if path in inside:
            stored_size, known = int(node.get("size") or 0), inside[path]
            if known is None:
                inside[path] = stored_size
            else:
                inside[path] = [*(known if isinstance(known, list) else [known]), stored_size]

    def take(entry: Entry, wanted: int | None = None) -> int | None:
        """Take one of that name, of the size ``wanted`` or of any; its size, None where there is none."""
        path = shown(entry.path)
        sizes = inside[path]
        if isinstance(sizes, list):
            if not sizes or (wanted is not None and wanted not in sizes):
                return None
            size = sizes[-1] if wanted is None else wanted
            sizes.remove(size)
            return size
        if sizes is None or (wanted is not None and wanted != sizes):
            return None
        inside[path] = None
        return sizes

    # First those that need a certain size; what is left is for those of any.
    exact = [_promised(entry) and take(entry, entry.size) is not None for entry in entries]
    found: list[Entry] = []
    moved: list[str] = []
    wrong: list[str] = []
    for entry, is_exact in zip(entries, exact, strict=True):
        if is_exact:
            found.append(entry)
            continue
        size = take(entry)
        if size is None:
            if entry.kind != "file" or _promised(entry):
                (wrong if under(entry.path, strict) else moved).append(f"{entry.path} is missing")
        else:
            if _promised(entry):
                (wrong if under(entry.path, strict) else moved).append(
                    f"{entry.path} has {size} bytes instead of {entry.size}"
                )
                entry = replace(entry, sha256=None)
            found.append(entry)
    if wrong:
        raise BackupError(
            f"what was stored is not what there is: {'; '.join(wrong[:5])}{' and more' if len(wrong) > 5 else ''}."
            " The backup does not count; run it again."
        )
    # What is left came while the backup ran: it is there, and nothing is promised of it.
    return found, moved


def _promised(entry: Entry) -> bool:
    return entry.kind == "file" and entry.sha256 is not None


def under(path: str, roots: Iterable[str]) -> bool:
    """Whether the path is one of the roots or below one."""
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def shown(path: str) -> str:
    """A path as restic shows it: what is no UTF-8 is replaced, by one sign, however many others would write."""
    if path.isascii():
        return path
    return re.sub("\ufffd+", "\ufffd", path.encode(errors="surrogateescape").decode(errors="replace"))


def differing(entries: Iterable[Entry], now: Iterable[Entry]) -> list[str]:
    """Paths of a manifest's entries that are not as they should be; what was changing has to be there, no more."""
    left = {entry.path: entry for entry in entries}
    wrong = []
    for there in now:
        entry = left.pop(there.path, None)
        if entry is not None and there.same != entry.same and (entry.kind != "file" or entry.sha256 is not None):
            wrong.append(entry.path)
    return sorted([*wrong, *left])
