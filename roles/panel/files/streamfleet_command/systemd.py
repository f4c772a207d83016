"""What systemd knows of our units."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import CommandFailed

#: Units that are ours, by name, and those of others that we run on.
PATTERNS = ("streamfleet-*", "nginx.service", "flussonic.service")

#: Where units are installed.
FOLDERS = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))


@dataclass(frozen=True)
class Unit:
    """A unit that is loaded. ``active`` and ``sub`` are systemd's words, as ``active`` and ``running``."""

    name: str
    active: str
    sub: str

    @property
    def is_instance(self) -> bool:
        """It belongs to one media service."""
        return "@" in self.name

    @property
    def has_failed(self) -> bool:
        """It has failed, or ends and is started again and again."""
        return self.active == "failed" or self.sub == "auto-restart"


def units() -> list[Unit]:
    """All loaded units of ours, by name. Listing by pattern takes hundredths of a second with a thousand instances."""
    argv = ["systemctl", "list-units", "--all", "--no-pager", "--output=json", *PATTERNS]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"systemctl list-units: {done.stderr.strip()}")
    rows = json.loads(done.stdout or "[]")
    found = [Unit(row["unit"], row["active"], row["sub"]) for row in rows if row["load"] != "not-found"]
    return sorted(found, key=lambda unit: unit.name)


def is_installed(name: str) -> bool:
    """Whether there is such a unit. Of one that is stopped systemd may know nothing until it is asked to start it."""
    return any((folder / name).is_file() for folder in FOLDERS)


def act(verb: str, names: Sequence[str]) -> None:
    """``systemctl VERB NAME …``, whose words go to the terminal. Raises CommandFailed where it fails."""
    done = subprocess.run(["systemctl", verb, *names], check=False)
    if done.returncode != 0:
        raise CommandFailed(f"systemctl {verb} {' '.join(names)} failed; journalctl -u {names[0]} -n 50 says why")
