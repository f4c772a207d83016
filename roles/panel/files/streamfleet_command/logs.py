"""``streamfleet logs``: the journal of units, or of all that belongs to a media service."""

from __future__ import annotations

import os
import re

from .control import COMPONENTS
from .errors import USAGE, CommandFailed

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]{1,200}\.(?:service|timer|path|target|mount)")


def selection(what: str | None) -> list[str]:
    """Options of journalctl for a component, a unit or a slug; without one for the panel and the worker."""
    if what is None:
        return [f"--unit={unit}" for name in ("panel", "worker") for unit in COMPONENTS[name]]
    if what in COMPONENTS:
        return [f"--unit={unit}" for unit in COMPONENTS[what]]
    if _UNIT.fullmatch(what):
        return [f"--unit={what}"]
    if _SLUG.fullmatch(what):
        # Every unit of the service: its engine's, its AutoDJ's, its DJs', its relays'.
        return [f"--unit=streamfleet-*@{what}.service"]
    raise CommandFailed(
        f"{what[:100]!r} is neither panel, worker or web, nor a unit such as streamfleet-panel.service, nor a slug "
        "such as rock-fm",
        USAGE,
    )


def run(what: str | None, *, follow: bool, lines: int) -> int:
    """Become journalctl."""
    argv = ["journalctl", *selection(what), f"--lines={lines}", *(["--follow"] if follow else ["--no-pager"])]
    os.execvp(argv[0], argv)  # noqa: S606
