"""nginx_rtmp for the shared behaviour suite: Debian's, the real program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.doubles.panel import rtmp_channel

SETTING = {"limits": {"max_bitrate_kbps": 4000}}
UNIT = "streamfleet-rtmp.service"
LEFT = ("*nginx_rtmp*", "*streamfleet*rtmp*")


def service(slug: str, number: int, **changes: Any) -> dict[str, Any]:
    return rtmp_channel(slug, 202000 + number, **changes)


def variables(_folder: Path) -> dict[str, Any]:
    return {}


def newer(_folder: Path) -> dict[str, Any]:
    return {"streamfleet_nginx_rtmp_hls_max_mib_per_service": 300}
