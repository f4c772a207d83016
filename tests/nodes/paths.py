"""Where this package keeps things."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout; its path is also the label that tells whose a container is."""

CACHE = Path(os.environ.get("STREAMFLEET_CACHE_DIR") or ROOT / ".cache")
"""Downloads and detected facts, kept between runs; safe to delete while nothing runs."""

FLEETS = Path(os.environ.get("STREAMFLEET_NODES_DIR") or ROOT / ".nodes")
"""One directory a fleet: inventory, key, known hosts, state."""

LOCKS = Path("/run/lock")
"""Machine-wide locks: podman's images and networks are machine-wide too."""


def package_cache(release: str) -> Path:
    """Directory of .deb files shared by image builds and nodes of one Debian release."""
    return CACHE / "apt" / release
