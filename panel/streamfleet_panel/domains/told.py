"""Telling this host's web server which names of resellers' own lead to the panel: a file for each, in one folder.

The web server reads by name, per request, and orders of certificates begin with the same files; so neither is reloaded,
and this process has no right over either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

from streamfleet_panel import white_label

#: Behind the name, as that of services' own names.
ENDING = ".json"


def tell() -> int:
    """Have the folder hold what the database has; how many files that changed. Does nothing where no folder is set.

    Raises OSError, DatabaseError.
    """
    if not settings.PANEL_DOMAINS_DIR:
        return 0
    return write(Path(settings.PANEL_DOMAINS_DIR), dict(white_label.served().values_list("name", "reseller__uid")))


def write(folder: Path, owners: Mapping[str, int]) -> int:
    """Have ``folder`` hold a file for each name, which says the owner's uid; how many that changed. Raises OSError."""
    wanted = {f"{name}{ENDING}": json.dumps({"uid": uid}) + "\n" for name, uid in owners.items()}
    there = {path.name: path for path in folder.iterdir() if path.name.endswith(ENDING)}
    changed = 0
    for name, text in wanted.items():
        if name in there and _reads(there[name]) == text:
            continue
        new = folder / f".{name}.new"
        new.write_text(text)
        # Whatever the process's mask is: those who read it are others.
        new.chmod(0o644)
        new.replace(folder / name)
        changed += 1
    for name in there.keys() - wanted.keys():
        there[name].unlink(missing_ok=True)
        changed += 1
    return changed


def _reads(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
