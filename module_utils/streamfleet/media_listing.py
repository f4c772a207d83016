"""What a customer's media library holds, as the node sees it. The walk is bounded, whatever a library holds."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .client import route
from .errors import BadOption, Error
from .http import Client
from .media_folder import PLAYABLE

#: Most files that are listed, and most entries of a library that are looked at.
MOST_LISTED = 10_000
MOST_ENTRIES = 1_000_000

#: Run on the node as the customer's own user: arguments are the library, a folder of it, how many files to list, how
#: many entries to look at, and the suffixes of what can be played. Nothing that anybody wrote is part of it.
#: What it keeps is bounded: the files to list, so many names of folders that are still to be looked into, and paths of
#: at most so many bytes.
PROGRAM = """
import itertools, json, os, sys
library, folder, listed, most = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
suffixes = tuple(sys.argv[5:])
most_folders, longest = 50000, 2000
root = os.path.normpath(os.path.join(library, folder))
inside = os.path.normpath(os.path.join(os.path.realpath(library), folder))
if not os.path.isdir(root) or os.path.realpath(root) != inside:
    sys.exit(3)
shown = lambda path: os.fsencode(path).decode("utf-8", "replace")

def first(items, number):
    items.sort()
    del items[number:]

files, count, size, ignored, seen, complete = [], 0, 0, 0, 0, True
waiting, stack = 1, [(os.path.dirname(root), [os.path.basename(root)])]
while stack:
    above, names = stack[-1]
    if not names:
        stack.pop()
        continue
    place = os.path.join(above, names.pop())
    waiting -= 1
    if seen > most:
        complete = False
        break
    if len(os.fsencode(place)) - len(os.fsencode(library)) > longest:
        ignored += 1
        continue
    below, found, room, lack = [], [], most_folders - waiting, listed - len(files)
    try:
        with os.scandir(place) as entries:
            for entry in itertools.islice(entries, most - seen + 1):
                seen += 1
                try:
                    if entry.name.startswith("."):
                        ignored += not entry.is_dir(follow_symlinks=False)
                    elif entry.is_dir(follow_symlinks=False):
                        below.append(entry.name)
                        if len(below) > 2 * room:
                            first(below, room)
                            complete = False
                    elif entry.is_file(follow_symlinks=False) and entry.name.lower().endswith(suffixes):
                        state = entry.stat(follow_symlinks=False)
                        count, size = count + 1, size + state.st_size
                        if lack:
                            found.append((entry.name, state.st_size, int(state.st_mtime)))
                        if len(found) > 2 * lack:
                            first(found, lack)
                    else:
                        ignored += 1
                except FileNotFoundError:
                    pass
                except OSError:
                    ignored += 1
    except FileNotFoundError:
        pass
    except OSError:
        ignored += 1
    first(found, lack)
    files += ([shown(os.path.relpath(os.path.join(place, name), library)), *rest] for name, *rest in found)
    complete = complete and len(below) <= room
    first(below, room)
    stack.append((place, below[::-1]))
    waiting += len(below)
complete = complete and seen <= most
print(json.dumps({"files": files, "count": count, "bytes": size, "ignored": ignored, "complete": complete}))
"""


@dataclass(frozen=True)
class Listing:
    """What was found. ``complete``: all entries were looked at; ``files`` are the first of ``count``."""

    files: list[dict[str, Any]]
    count: int
    bytes: int
    ignored: int
    complete: bool


NOTHING = Listing([], 0, 0, 0, True)


def command(library: str, folder: str, limit: int, user: str, most: int = MOST_ENTRIES) -> str:
    """The shell command that lists; its output is for ``listing_of``."""
    argv = ["sudo", "-n", "-u", user, "--", "/usr/bin/python3", "-I", "-c", PROGRAM]
    return shlex.join([*argv, library, folder, str(limit), str(most), *PLAYABLE])


def listing_of(code: int, output: str, error: str, folder: str, node: str) -> Listing:
    """The listing out of what the command has said. Raises errors.Error."""
    if code == 3:
        raise BadOption(f"folder: {folder!r} is no folder of this library.")
    if "unknown user" in error:
        raise Error(f"{node} does not know the customer's system user: converge it, and look again.")
    if "a password is required" in error or "not allowed to execute" in error:
        raise Error(
            f"on {node} this user may not use sudo without a password. Connect as one who may,"
            " such as streamfleet-converge."
        )
    if code:
        lines = error.strip().splitlines()
        raise Error(f"{node}: the library cannot be listed: {lines[-1] if lines else f'exit code {code}'}")
    data = json.loads(output)
    files = [
        {"path": path, "bytes": size, "modified": f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"}
        for path, size, moment in data["files"]
    ]
    return Listing(files, data["count"], data["bytes"], data["ignored"], data["complete"])


def quota_of(client: Client, customer: str, node: str) -> int | None:
    """Megabytes that the customer may store on the node, as the panel says; None for unlimited, 0 without a library."""
    libraries = client.request("GET", f"{route('customer', customer)}/libraries").data["items"]
    return next((found["disk_quota_mb"] for found in libraries if found["node"] == node), 0)
