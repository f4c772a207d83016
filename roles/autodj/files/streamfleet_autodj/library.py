"""The media library of a customer: what can be played, and what is known of it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: What Liquidsoap of Debian decodes.
SUFFIXES = (".mp3", ".mp2", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".flac", ".wav", ".aif", ".aiff")

Index = dict[str, dict[str, Any]]


def files_of(root: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """Every playable path below ``root``, relative to it, sorted. Links and hidden names are not followed."""
    return sorted(_walk(os.fspath(root), "", suffixes))


def _walk(folder: str, inside: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = f"{inside}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{path}/", suffixes)
        elif entry.name.lower().endswith(suffixes) and entry.is_file(follow_symlinks=False):
            yield path


def stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of change (ns) of a file that can be read and is not empty; else None."""
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or not status.st_size or not os.access(path, os.R_OK):
        return None
    return status.st_size, status.st_mtime_ns


def read_index(path: Path) -> Index:
    """What was measured. A file that is missing or damaged is an empty index."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {name: entry for name, entry in data.items() if isinstance(entry, dict)}


def known(index: Mapping[str, Mapping[str, Any]], path: str, now: tuple[int, int] | None) -> Mapping[str, Any] | None:
    """The index's entry of a file if it is still of this size and time."""
    entry = index.get(path)
    if entry is None or now is None or (entry.get("size"), entry.get("mtime_ns")) != now:
        return None
    return entry


def replace(path: Path, content: bytes) -> None:
    """Write atomically. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def tell(path: Path, told: Mapping[str, Any], nothing: Mapping[str, Any]) -> None:
    """Write what the worker fetches, see the role's feeds, where it says something new. ``nothing``: what no file says.

    Raises OSError.
    """
    try:
        before = json.loads(path.read_bytes())
    except (OSError, ValueError):
        before = nothing
    if told != before:
        replace(path, json.dumps(told).encode())
