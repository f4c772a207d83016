"""Shoutcast 2 for the shared behaviour suite: a double (tests/doubles/shoutcast2), as an operator brings the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.doubles.panel import shoutcast_station
from tests.doubles.shoutcast2 import PROGRAM, pack

SETTING = {"settings": {"song_history": 5}}
UNIT = "streamfleet-shoutcast2@{slug}.service"
LEFT = ("*shoutcast*", "*sc_serv*")


def service(slug: str, number: int, **changes: Any) -> dict[str, Any]:
    return shoutcast_station(slug, 203000 + number, 9000 + 2 * number, **changes)


def variables(folder: Path) -> dict[str, Any]:
    return {**_brought(folder / "sc_serv2.tar.gz", None), "streamfleet_shoutcast2_uninstall_data": True}


def newer(folder: Path) -> dict[str, Any]:
    return _brought(folder / "sc_serv2.6.2.tar.gz", {"sc_serv": PROGRAM.read_bytes(), "changes.txt": b"2\n"})


def _brought(archive: Path, files: dict[str, bytes] | None) -> dict[str, Any]:
    return {"streamfleet_shoutcast2_source": str(archive), "streamfleet_shoutcast2_checksum": pack(archive, files)}
