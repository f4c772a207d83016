"""What the role has told this host: which files are stored, which database, where to."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BackupError

CONFIG = Path("/etc/streamfleet/backup")
DATA = Path("/var/lib/streamfleet-backup")
CACHE = Path("/var/cache/streamfleet-backup")
RUN = Path("/run/streamfleet-backup")
#: Folder inside a root in which files are assembled that are put back; never stored.
SCRATCH = ".streamfleet-restore"


@dataclass(frozen=True)
class Part:
    """What one role has. ``units`` are stopped while it is put back, ``reload`` are reloaded afterwards.

    ``optional``: paths that may go, without which nothing is lost.
    """

    role: str
    paths: tuple[str, ...]
    units: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Database:
    """The panel's: its environment files, the user who reaches it, what runs it, and the units that use it."""

    settings: Path
    secrets: Path
    user: str
    venv: Path
    units: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """All of it. ``keep``: period → how many; ``check_data``: share of the repository that is read again, or empty.

    ``of_host``: they are those of this host, as the role has written them, so that its key for SFTP counts.
    """

    host: str
    parts: tuple[Part, ...]
    database: Database | None
    keep: Mapping[str, int]
    prune: bool
    check_data: str
    upload_kbps: int
    environment: Mapping[str, str]
    of_host: bool = False
    data: Path = DATA
    cache: Path = CACHE
    run: Path = RUN
    release: Path = Path("/opt/streamfleet/current")
    upgrade: Path = Path("/var/lib/streamfleet/upgrade")
    mount_units: tuple[Path, ...] = (Path("/etc/systemd/system"), Path("/run/systemd/generator"))
    mountinfo: Path = Path("/proc/self/mountinfo")

    @property
    def roots(self) -> list[str]:
        """Paths that are stored, each once; none lies in another."""
        paths = sorted({path for part in self.parts for path in part.paths})
        return [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]

    @property
    def repository(self) -> str:
        """Where backups are kept, as restic writes it."""
        return self.environment["RESTIC_REPOSITORY"]


def load(config: Path = CONFIG, environment: Path | None = None) -> Settings:
    """Settings and secrets of this host. ``environment``: another file of secrets. Raises BackupError."""
    path = config / "settings.json"
    try:
        data = json.loads(path.read_text())
        parts = tuple(
            Part(item["role"], *(tuple(item.get(key) or ()) for key in ("paths", "units", "reload", "optional")))
            for item in data["parts"]
        )
        database = data["database"]
        return Settings(
            host=data["host"],
            parts=parts,
            database=Database(
                Path(database["settings"]),
                Path(database["secrets"]),
                database["user"],
                Path(database["venv"]),
                tuple(database["units"]),
            )
            if database
            else None,
            keep=data["keep"],
            prune=data["prune"],
            check_data=data["check_data"],
            upload_kbps=data["upload_kbps"],
            environment=read_environment(environment or config / "secrets.env"),
            of_host=True,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path} cannot be read ({error!r}). Run install.yml for this host.") from None


def read_environment(path: Path) -> dict[str, str]:
    """Names and values of a file as systemd and sh read it. Raises BackupError."""
    found: dict[str, str] = {}
    try:
        words = shlex.split(path.read_text(), comments=True)
    except (OSError, ValueError) as error:
        raise BackupError(f"{path} cannot be read ({error}). Run install.yml for this host.") from None
    for word in words:
        name, _equals, value = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise BackupError(f"{path}: {name!r} is no name of a variable. Run install.yml for this host.")
        found[name] = value
    return found


def release_of(settings: Settings) -> dict[str, Any]:
    """``{"version", "name"}`` of the Streamfleet on this host; empty on one that has no release of its own."""
    try:
        version = (settings.release / "VERSION").read_text().strip()
        return {"version": version, "name": settings.release.resolve().name}
    except OSError:
        return {"version": "", "name": ""}
