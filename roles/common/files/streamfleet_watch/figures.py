"""Figures of this host, as node_exporter's textfile collector reads them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

#: File systems that we write to.
PLACES = ("/", "/var/log", "/var/lib/streamfleet", "/run/streamfleet/hls")
TLS, HLS, LIVE = "etc/streamfleet/tls", "run/streamfleet/hls", "run/streamfleet-rtmp/live"
BACKUP_SETTINGS, BACKUP_LAST = "etc/streamfleet/backup/settings.json", "var/lib/streamfleet-backup/last.json"
SERVICES = "var/lib/streamfleet/services"
#: An AutoDJ on which silence is heard says so every five seconds.
SAID_WITHIN = 30.0
REHEARSAL = "var/lib/streamfleet-backup/rehearsal.json"
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

#: Name, help and type of each, in the order in which they are written.
FAMILIES = {
    "streamfleet_host_watch_timestamp_seconds": ("When these figures were written.", "gauge"),
    "streamfleet_host_disk_used_ratio": ("Part of a file system that is used, as df counts it.", "gauge"),
    "streamfleet_host_disk_read_only": ("1: the file system can only be read.", "gauge"),
    "streamfleet_host_certificate_not_after_timestamp_seconds": ("When the certificate of a name ends.", "gauge"),
    "streamfleet_host_certificate_not_before_timestamp_seconds": ("When it began.", "gauge"),
    "streamfleet_host_backup_configured": ("1: the host is to be backed up.", "gauge"),
    "streamfleet_host_backup_timestamp_seconds": ("When the last whole backup was made.", "gauge"),
    "streamfleet_host_rehearsal_configured": ("1: restores of its backups are to be tried.", "gauge"),
    "streamfleet_host_rehearsal_timestamp_seconds": ("When the restore of a backup of it was last tried.", "gauge"),
    "streamfleet_host_rehearsal_succeeded": ("1: that restore was whole; 0: it was not.", "gauge"),
    "streamfleet_host_hls_age_seconds": ("Since when a channel that an encoder sends to has no new segment.", "gauge"),
    "streamfleet_host_silent_seconds": ("Since when nothing but silence is heard on a station with AutoDJ.", "gauge"),
    "streamfleet_host_hung_restarts_total": ("Restarts of what was hung, since the watchdog has started.", "counter"),
    "streamfleet_host_hung_left": ("1: it answers nothing, and the watchdog leaves it as it is.", "gauge"),
}


class Figures:
    """Made anew at each round; certificates are read when their file has changed. ``root``: tests have others."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._certificates: dict[Path, tuple[int, list[float]]] = {}

    def text(self, restarts: Mapping[tuple[str, str], int], left: Iterable[tuple[str, str]] = ()) -> str:
        """The whole file. ``restarts``: unit and service → how often it was restarted. ``left``: what was not."""
        now = time.time()
        samples: dict[str, list[tuple[dict[str, str], float]]] = {name: [] for name in FAMILIES}
        samples["streamfleet_host_watch_timestamp_seconds"].append(({}, now))
        for place, used, read_only in self._disks():
            samples["streamfleet_host_disk_used_ratio"].append(({"mountpoint": place}, used))
            if read_only is not None:
                samples["streamfleet_host_disk_read_only"].append(({"mountpoint": place}, read_only))
        for name, begins, ends in self._names():
            samples["streamfleet_host_certificate_not_before_timestamp_seconds"].append(({"host": name}, begins))
            samples["streamfleet_host_certificate_not_after_timestamp_seconds"].append(({"host": name}, ends))
        if (self._root / BACKUP_SETTINGS).is_file():
            samples["streamfleet_host_backup_configured"].append(({}, 1))
            with contextlib.suppress(OSError):
                made = (self._root / BACKUP_LAST).stat().st_mtime
                samples["streamfleet_host_backup_timestamp_seconds"].append(({}, made))
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                asked = json.loads((self._root / BACKUP_SETTINGS).read_text())["rehearsed"]
                samples["streamfleet_host_rehearsal_configured"].append(({}, int(asked is True)))
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            tried, succeeded = self._rehearsal()
            samples["streamfleet_host_rehearsal_timestamp_seconds"].append(({}, tried))
            samples["streamfleet_host_rehearsal_succeeded"].append(({}, succeeded))
        for slug, age in self._segments(now):
            samples["streamfleet_host_hls_age_seconds"].append(({"media_service": slug}, age))
        for slug, seconds in self._silences(now):
            samples["streamfleet_host_silent_seconds"].append(({"media_service": slug}, seconds))
        for (unit, service), count in sorted(restarts.items()):
            labels = {"unit": unit, "media_service": service}
            samples["streamfleet_host_hung_restarts_total"].append((labels, count))
        for unit, service in sorted(left):
            labels = {"unit": unit, "media_service": service}
            samples["streamfleet_host_hung_left"].append((labels, 1))
        return "".join(_family(name, samples[name]) for name in FAMILIES)

    def _rehearsal(self) -> tuple[float, int]:
        """When playbooks/restore_rehearsal.yml last tried a backup of this host, and whether it came back whole."""
        told = json.loads((self._root / REHEARSAL).read_text())
        return datetime.fromisoformat(told["ended"]).timestamp(), int(told["succeeded"] is True)

    def _disks(self) -> Iterable[tuple[str, float, int | None]]:
        seen = set()
        read_only = self._read_only()
        for place in PLACES:
            with contextlib.suppress(OSError):
                path = self._root / place.lstrip("/")
                device = path.stat().st_dev
                space = os.statvfs(path)
                used = space.f_blocks - space.f_bfree
                if device not in seen and used + space.f_bavail:
                    seen.add(device)
                    yield place, used / (used + space.f_bavail), read_only.get(f"{os.major(device)}:{os.minor(device)}")

    def _read_only(self) -> dict[str, int]:
        """Device → 1 where its file system can only be read. By the file system's own options: to this unit much is."""
        found = {}
        with contextlib.suppress(OSError):
            for line in (self._root / "proc/self/mountinfo").read_text().splitlines():
                fields = line.split()
                found[fields[2]] = int("ro" in fields[-1].split(","))
        return found

    def _names(self) -> Iterable[tuple[str, float, float]]:
        """Of the host's own names. Tenants' names have no alert of ours: a tenant's DNS may have been lost."""
        for path in sorted((self._root / TLS).glob("*/fullchain.pem")):
            with contextlib.suppress(OSError, ValueError):
                if not (path.parent / "tenant").exists():
                    begins, ends = self._dates(path)
                    yield path.parent.name, begins, ends

    def _dates(self, path: Path) -> list[float]:
        """Begin and end. Raises OSError, ValueError."""
        changed = path.stat().st_mtime_ns
        known = self._certificates.get(path)
        if known is None or known[0] != changed:
            argv = ["openssl", "x509", "-noout", "-dates", "-in", str(path)]
            environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
            told = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20, env=environment).stdout
            dates = re.findall(r"^not(?:Before|After)=(.+)$", told, re.MULTILINE)
            known = self._certificates[path] = changed, [_moment(date) for date in dates]
        if len(known[1]) != 2:
            raise ValueError(path)
        return known[1]

    def _segments(self, now: float) -> Iterable[tuple[str, float]]:
        """Channels that have an encoder, and how old their list is."""
        for lease in sorted((self._root / LIVE).glob("*")):
            if _SLUG.fullmatch(lease.name):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    since = float(json.loads(lease.read_text())["since"]) / 1000
                    newest = since
                    with contextlib.suppress(FileNotFoundError):
                        newest = max(since, (self._root / HLS / lease.name / "index.m3u8").stat().st_mtime)
                    yield lease.name, max(0.0, now - newest)

    def _silences(self, now: float) -> Iterable[tuple[str, float]]:
        """Stations whose AutoDJ hears silence, and for how long."""
        for path in sorted((self._root / SERVICES).glob("*/autodj/silent")):
            with contextlib.suppress(OSError, ValueError):
                since = _said(path, now)
                if since is not None:
                    yield path.parent.parent.name, max(0.0, now - since)


def _said(path: Path, now: float) -> float | None:
    """Seconds of the epoch that a tenant's program says; None if it was not said just now. Raises OSError, ValueError.

    The folder is a tenant's own, so what is there may be a link, a pipe or anything.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or abs(now - found.st_mtime) > SAID_WITHIN:
            return None
        return float(int(os.read(handle, 16)))
    finally:
        os.close(handle)


def _moment(text: str) -> float:
    """As openssl writes it: ``Nov 28 01:02:03 2026 GMT``."""
    return datetime.strptime(" ".join(text.split()), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC).timestamp()


def _family(name: str, samples: list[tuple[dict[str, str], float]]) -> str:
    told, kind = FAMILIES[name]
    lines = [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{'{' + inside + '}' if inside else ''} {value:.3f}")
    return "\n".join(lines) + "\n" if samples else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write(path: Path, text: str) -> None:
    """Whole or not at all, for everybody to read. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)
