"""Which of a host's packages were brought by roles: these go when they are uninstalled, others are the operator's."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from . import durable

#: Names of the packages that were not there when a role asked for them first.
NOTE = "var/lib/streamfleet/packages.json"
#: A host that has this and no note was installed by a version that kept none, and took all of them for its own.
PLATFORM = "etc/systemd/system/streamfleet-instances.target"


class PackagesError(Exception):
    """The packages, or what is noted of them, cannot be read."""


def present() -> set[str]:
    """Packages that dpkg knows of here: also those that were removed, and whose settings were kept."""
    try:
        done = subprocess.run(
            ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise PackagesError(f"dpkg-query does not tell which packages there are: {error}") from None
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    return {name for name, __, status in lines if status not in ("", "not-installed")}


def note(names: Iterable[str], there: set[str], write: bool, root: Path = Path("/")) -> bool:
    """Note which of ``names`` are not ``there``, before they are installed. Whether that was not noted yet."""
    asked = _plain(names)
    noted = _read(root)
    before = set() if noted is None and (root / PLATFORM).exists() else there
    ours = (noted or set()) | (asked - before)
    if ours == noted:
        return False
    if write:
        _write(root, ours)
    return True


def own(names: Iterable[str], root: Path = Path("/")) -> list[str]:
    """Which of ``names`` were brought by roles. They may be gone already: a run that was killed has more to do."""
    noted = _read(root)
    if noted is None:
        noted = _plain(names) if (root / PLATFORM).exists() else set()
    return sorted(_plain(names) & noted)


def keep(names: Iterable[str], there: set[str], write: bool, root: Path = Path("/")) -> bool:
    """Forget all but those of ``names`` that are ``there`` still: their data stays. Whether that changes the note."""
    noted = _read(root)
    if noted is None:
        return False
    kept = noted & _plain(names) & there
    if kept == noted and kept:
        return False
    if write and kept:
        _write(root, kept)
    elif write:
        (root / NOTE).unlink()
    return True


def _plain(names: Iterable[str]) -> set[str]:
    """Names without a version, a release or an architecture."""
    return {re.split("[=/:]", name, maxsplit=1)[0] for name in names}


def _read(root: Path) -> set[str] | None:
    path = root / NOTE
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PackagesError(f"{path} cannot be read ({error}). Put it back from a backup") from None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise PackagesError(f"{path} is not a list of names. Put it back from a backup")
    return set(found)


def _write(root: Path, names: set[str]) -> None:
    """The file appears whole, and is on the disk before any package is."""
    path = root / NOTE
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    durable.write(path, f"{json.dumps(sorted(names), indent=1)}\n".encode(), 0o644)
