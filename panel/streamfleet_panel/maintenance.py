"""Read-only for as long as an upgrade works: a file says so, asked at every request and at every turn of a loop.

The file is JSON, written by root: ``{"reason": str, "admit": [id of a token, …], "hold": ["worker", "jobs"]}``. Writes
of the tokens that ``admit`` names go through (those of the upgrade's own probe), all others are answered 503 with the
code ``maintenance``. ``hold`` names the processes that begin nothing. A file that cannot be read admits nobody and
holds all: what made it may have been killed in the middle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from streamfleet_panel.apply.problems import RETRY_AFTER, ApiError

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_TOKEN = re.compile(r"Bearer sft_([a-z0-9]{8})_")
_HELD = frozenset({"worker", "jobs"})


@dataclass(frozen=True)
class Maintenance:
    """What the file says."""

    reason: str = "An upgrade is under way"
    admit: frozenset[str] = frozenset()
    hold: frozenset[str] = _HELD

    def admits(self, request: HttpRequest) -> bool:
        """Whether this request may go on. Whose token it is, not whether it is valid: that is checked where always."""
        if request.method in SAFE:
            return True
        bearer = _TOKEN.match(request.headers.get("Authorization", ""))
        return bool(bearer) and request.path.startswith("/api/") and bearer[1] in self.admit  # type: ignore[index]


def current() -> Maintenance | None:
    """What is under way, or None."""
    try:
        data = json.loads(Path(settings.MAINTENANCE_FILE).read_text())
        return Maintenance(str(data["reason"]), frozenset(data["admit"]), frozenset(data["hold"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Maintenance()


def holds(process: str) -> bool:
    """Whether ``worker`` or ``jobs`` shall begin nothing."""
    found = current()
    return found is not None and process in found.hold


class ReadOnly:
    """Answer writes with 503 while an upgrade works."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        found = current()
        if found is None or found.admits(request):
            return self.get_response(request)
        if request.path.startswith("/api/"):
            from streamfleet_panel.api.core import refusal

            words = f"{found.reason}: nothing can be changed until it has ended. Nothing was changed; try again"
            return refusal(ApiError("maintenance", words))
        answer = render(request, "portal/maintenance.html", status=503)
        answer["Retry-After"] = str(RETRY_AFTER["maintenance"])
        return answer
