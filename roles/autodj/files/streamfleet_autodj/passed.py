"""What is told of files of a library that are not played."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import library

FILE = "passed_over.json"
#: Files that are told at most, and bytes that they may take: what is fetched of a service is less than 32 KiB.
MOST, MOST_BYTES = 50, 24 << 10
LONGEST_REASON = 200


def summary(reasons: Mapping[str, str | None]) -> dict[str, Any]:
    """How many files have a reason, and the first of them with it, by path; None is none."""
    found = [(path, reason) for path, reason in reasons.items() if reason is not None]
    items: list[dict[str, str]] = []
    room = MOST_BYTES
    for path, reason in found[:MOST]:
        item = {"path": path.encode("utf-8", "replace").decode(), "reason": reason[:LONGEST_REASON]}
        room -= len(json.dumps(item)) + 2
        if room < 0:
            break
        items.append(item)
    return {"count": len(found), "items": items}


def tell(data: Path, reasons: Mapping[str, str | None]) -> None:
    """Have the worker fetch it from the service's folder. Raises OSError."""
    library.tell(data / FILE, summary(reasons), summary({}))
