"""Icecast-KH for the shared behaviour suite: a double (tests/doubles/icecast_kh), or the real program.

``STREAMFLEET_LIVE_ICECAST_KH`` is the path of an archive with a build of it, as docs/icecast_kh.md says.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from tests.doubles.icecast_kh import pack, repack
from tests.doubles.panel import kh_station

SETTING = {"settings": {"mounts": [{"name": "/stream", "format": "mp3"}, {"name": "/low", "format": "mp3"}]}}
UNIT = "streamfleet-icecast_kh@{slug}.service"
LEFT = ("*icecast*",)
#: Foretold on a fresh node; but in the same run Icecast's role has brought them by then.
BROUGHT = {"icecast_kh : Install the libraries of Icecast-KH"}
REAL = os.environ.get("STREAMFLEET_LIVE_ICECAST_KH")


def service(slug: str, number: int, **changes: Any) -> dict[str, Any]:
    return kh_station(slug, 206000 + number, 8600 + number, **changes)


def variables(folder: Path) -> dict[str, Any]:
    if REAL:
        checksum = hashlib.sha256(Path(REAL).read_bytes()).hexdigest()
        made = {"streamfleet_icecast_kh_source": REAL, "streamfleet_icecast_kh_checksum": checksum}
    else:
        made = _brought(folder / "icecast-kh.tar.gz", pack(folder / "icecast-kh.tar.gz"))
    return {**made, "streamfleet_icecast_kh_uninstall_data": True}


def newer(folder: Path) -> dict[str, Any]:
    """Another build of the same: the archive with one more file."""
    archive = folder / "icecast-kh-newer.tar.gz"
    return _brought(archive, repack(Path(REAL) if REAL else folder / "icecast-kh.tar.gz", archive))


def _brought(archive: Path, checksum: str) -> dict[str, Any]:
    return {"streamfleet_icecast_kh_source": str(archive), "streamfleet_icecast_kh_checksum": checksum}
