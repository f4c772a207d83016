"""Flussonic for the shared behaviour suite: a double (tests/doubles/flussonic), as an operator brings the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.doubles.flussonic import LICENCE, pack
from tests.doubles.panel import flussonic_channel

SETTING = {"settings": {"segment_seconds": 3}}
UNIT = "flussonic.service"
LEFT = ("*flussonic*",)
#: The usual one is nginx_rtmp's on a node that has both.
RTMP_PORT = 1955


def service(slug: str, number: int, **changes: Any) -> dict[str, Any]:
    return flussonic_channel(slug, 205000 + number, **changes)


def variables(folder: Path) -> dict[str, Any]:
    return {
        **_brought(folder, "24.09"),
        "streamfleet_flussonic_licence_key": LICENCE,
        "streamfleet_flussonic_port": RTMP_PORT,
    }


def newer(folder: Path) -> dict[str, Any]:
    return _brought(folder, "24.10")


def _brought(folder: Path, version: str) -> dict[str, Any]:
    package = folder / f"flussonic_{version}_all.deb"
    return {"streamfleet_flussonic_packages": [{"source": str(package), "checksum": pack(package, version)}]}
