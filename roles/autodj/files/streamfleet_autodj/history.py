"""What a station has played: one line a track or a title, oldest first, in files that are capped in size."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MOST_BYTES = 4_000_000
FILES = 4


def add(folder: Path, now: float, entry: Mapping[str, Any]) -> None:
    """Add a line of ``entry`` at ``now`` (seconds of the epoch). Raises OSError."""
    line = {"time": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), **entry}
    history = folder / "history.jsonl"
    # The AutoDJ and the DJs' way in are two processes.
    with (folder / "history.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if history.exists() and history.stat().st_size > MOST_BYTES:
            for number in range(FILES - 1, 0, -1):
                older = history.with_name(f"history.{number}.jsonl")
                newer = history.with_name(f"history.{number - 1}.jsonl") if number > 1 else history
                if newer.exists():
                    newer.replace(older)
        with history.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
