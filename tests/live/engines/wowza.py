"""Wowza for the shared behaviour suite: a double (tests/doubles/wowza), as an operator brings the installer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.doubles.panel import wowza_channel
from tests.doubles.wowza import LICENCE, pack

SETTING = {"settings": {"segment_seconds": 3}}
UNIT = "streamfleet-wowza.service"
LEFT = ("*wowza*",)
#: The usual one is nginx_rtmp's on a node that has both.
RTMP_PORT = 1945


def service(slug: str, number: int, **changes: Any) -> dict[str, Any]:
    return wowza_channel(slug, 204000 + number, **changes)


def variables(folder: Path) -> dict[str, Any]:
    return {
        **_brought(folder, "4.9.0"),
        "streamfleet_wowza_licence_key": LICENCE,
        "streamfleet_wowza_accept_eula": True,
        "streamfleet_wowza_heap": "256M",
        "streamfleet_wowza_port": RTMP_PORT,
        "streamfleet_wowza_uninstall_data": True,
    }


def newer(folder: Path) -> dict[str, Any]:
    return _brought(folder, "4.9.1")


def _brought(folder: Path, version: str) -> dict[str, Any]:
    installer = folder / f"WowzaStreamingEngine-{version}-linux-x64-installer.run"
    return {"streamfleet_wowza_source": str(installer), "streamfleet_wowza_checksum": pack(installer, version)}
