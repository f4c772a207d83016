"""What a host knows of where the panel is, and which of its units do not start; both outlast a restart.

leaving: the panel is to go from here, and is here still. coming: it is to come, and is not here. gone, here: it went,
it came. released: it went, and nothing of it is left. A mark is written when what it says is true.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .. import durable
from ..node_apply.host import Host
from .places import HELD, MARK, TransferError, made

Mark = dict[str, Any]
STATES = ("leaving", "coming", "gone", "here", "released")


def read(host: Host, path: str = MARK) -> Mark:
    """The mark; empty where the panel never came or went. Raises TransferError for a file that makes no sense."""
    try:
        found: Mark = json.loads(host.path(path).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TransferError(f"{path} cannot be read ({error}); look at the disk") from None
    if not isinstance(found, dict) or found.get("state") not in STATES:
        raise TransferError(f"{path} has no state that is known; look at the disk")
    return found


def write(host: Host, mark: Mark) -> None:
    """Replace the mark, on the disk before this returns; an empty one is none."""
    place = host.path(MARK)
    if not mark:
        place.unlink(missing_ok=True)
        durable.sync_directory(place.parent)
        return
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    durable.write_json(place, mark, 0o644)


def begun(mark: Mark, state: str, other: str, run: str) -> Mark:
    """The mark of a run that begins; ``was`` is what counts again where it comes to nothing."""
    was = mark.get("was", {}) if mark.get("state") == state else mark
    return {"state": state, "from" if state == "coming" else "to": other, "run": run, "was": was}


def hold(host: Host, units: Iterable[str]) -> None:
    """Have these units not start, nor at boot."""
    folder = made(host, HELD)
    for unit in units:
        (folder / unit).touch(mode=0o600)
    durable.sync_directory(folder)


def free(host: Host, units: Iterable[str]) -> None:
    """Let them start."""
    folder = host.path(HELD)
    for unit in units:
        (folder / unit).unlink(missing_ok=True)
    if folder.is_dir():
        durable.sync_directory(folder)


def held(host: Host) -> list[str]:
    """Those that do not start."""
    folder = host.path(HELD)
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
