"""Icecast for the shared behaviour suite: Debian's, the real program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.doubles.panel import station

SETTING = {"settings": {"mounts": [{"name": "/stream", "format": "mp3"}, {"name": "/low", "format": "mp3"}]}}
UNIT = "streamfleet-icecast@{slug}.service"
LEFT = ("*icecast*",)


def service(slug: str, number: int, **changes: Any) -> dict[str, Any]:
    return station(slug, 201000 + number, 8100 + number, **changes)


def variables(_folder: Path) -> dict[str, Any]:
    return {"streamfleet_icecast_uninstall_data": True}


def newer(_folder: Path) -> dict[str, Any]:
    return {"streamfleet_icecast_memory_max": "300M"}
