"""What the host itself tells: certificates, file systems, who is on the air here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

CERTIFICATES = Path("/etc/streamfleet/tls")
ROUTES = Path("/etc/streamfleet/routes")
USAGE = Path("/var/lib/streamfleet/usage")
CURRENT = Path("/opt/streamfleet/current")
HELD = Path("/var/lib/streamfleet-backup/held")
PLACES = (Path("/"), Path("/var/lib/streamfleet"), Path("/run/streamfleet/hls"))

#: Whole percent of a file system, of what others than root may use, from which on it counts as full.
FULL_PERCENT = 90
#: So long before its end a certificate should have been renewed; of short ones a sixth of their life.
_RENEWED_BEFORE = timedelta(days=14)


@dataclass(frozen=True)
class Certificate:
    """A certificate by its folder's name. ``error``: why it cannot be read; then the rest means nothing."""

    name: str
    not_before: datetime
    not_after: datetime
    error: str = ""

    def is_due(self, now: datetime) -> bool:
        """It has ended, or should have been renewed by now."""
        margin = min(_RENEWED_BEFORE, (self.not_after - self.not_before) / 6)
        return bool(self.error) or now > self.not_after - margin


def certificates(folder: Path = CERTIFICATES) -> Iterator[Certificate]:
    """Those in place, by name."""
    for path in sorted(folder.glob("*/fullchain.pem")):
        argv = ["openssl", "x509", "-noout", "-dates", "-in", str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
        told = dict(re.findall(r"^not(Before|After)=(.+)$", done.stdout, re.MULTILINE))
        if done.returncode != 0 or len(told) != 2:
            error = (done.stderr.strip().splitlines() or ["openssl says nothing"])[0]
            yield Certificate(path.parent.name, datetime.min, datetime.min, error)
        else:
            yield Certificate(path.parent.name, _moment(told["Before"]), _moment(told["After"]))


def _moment(text: str) -> datetime:
    """As openssl writes it: ``Nov 28 01:02:03 2026 GMT``."""
    return datetime.strptime(" ".join(text.split()), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)


@dataclass(frozen=True)
class Disk:
    """A file system. ``used_percent`` as df counts it."""

    path: str
    used_percent: int
    free_bytes: int

    @property
    def is_full(self) -> bool:
        """Little is left."""
        return self.used_percent >= FULL_PERCENT


def disks(places: Sequence[Path] = PLACES) -> Iterator[Disk]:
    """The file systems that we write to, each once."""
    seen = set()
    for place in places:
        if not place.is_dir() or (device := place.stat().st_dev) in seen:
            continue
        seen.add(device)
        _total, used, free = shutil.disk_usage(place)
        yield Disk(str(place), -(-used * 100 // (used + free)) if used + free else 0, free)


def on_air(routes: Path = ROUTES, usage: Path = USAGE) -> tuple[int, int]:
    """How many services are on the air on this host, and how many listen to them, as far as they were counted.

    A route is there exactly while its service is to be on the air.
    """
    slugs = [path.stem for path in routes.glob("*.json")] if routes.is_dir() else []
    listeners = 0
    for slug in slugs:
        try:
            told = json.loads((usage / slug / "usage.json").read_text())
            listeners += int(told.get("listeners") or 0)
        except (OSError, ValueError, TypeError, AttributeError):
            continue
    return len(slugs), listeners


def servers(release: Path = CURRENT) -> list[str]:
    """Units of the engines' shared servers, as their specs say (``server``)."""
    found = []
    for path in sorted(release.glob("roles/*/engine/spec.yml")):
        found += re.findall(r"^server: ([A-Za-z0-9@._-]+\.service)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found


def is_held(unit: str, folder: Path = HELD) -> bool:
    """Whether a restore that has not ended keeps a unit from starting (role backup)."""
    return (folder / unit).exists()


def release(current: Path = CURRENT) -> str:
    """Name of the release that is in use, ``<version>-<hash>``; "" where there is none."""
    return current.resolve().name if current.is_symlink() else ""
