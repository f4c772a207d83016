"""What the panel's own command line is asked, with the panel's settings and as the panel's user."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from .errors import CommandFailed

PROGRAM = "/usr/local/bin/streamfleet-panel"


def ask(command: str, order: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run ``streamfleet-panel COMMAND``, which reads ``order`` and prints JSON.

    Secrets go by standard input: a command line can be read by others. Raises CommandFailed with its own words.
    """
    text = None if order is None else json.dumps(order)
    try:
        done = subprocess.run(
            [PROGRAM, command], input=text, stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    except FileNotFoundError:
        raise CommandFailed(f"{PROGRAM} is not there; run install.yml for the panel's host") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"streamfleet-panel {command} took more than 60 seconds; is the database busy?") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"streamfleet-panel {command} failed and says nothing"]
        # Of a traceback the last line says what it was.
        raise CommandFailed(lines[-1].removeprefix("CommandError: "))
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
