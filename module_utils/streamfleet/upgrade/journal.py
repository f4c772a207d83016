"""The note of what an upgrade has begun. It is there only while one works, or after one was killed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from .. import durable, since_boot
from ..node_apply.host import Host
from . import places
from .errors import UpgradeError

#: Seconds after its last step for which an upgrade counts as being under way.
LEASE = 1800

#: claimed: nothing was changed, but nobody else may begin.
#: begun: units are held, nothing was written. snapshot: all is saved. open: the new release runs, and is probed.
#: passed: it stays. undoing: the old one is being put back.
PHASES = ("claimed", "begun", "snapshot", "open", "passed", "undoing")


#: Seconds to wait for a step of a run that was killed, which goes on without it.
PATIENCE = 60.0


@contextlib.contextmanager
def locked(
    host: Host,
    path: str = places.LOCK,
    patience: float = PATIENCE,
    busy: str = "A step of another upgrade works on this host. Run again when it has ended.",
) -> Iterator[int]:
    """One at a time: the lock's descriptor. UpgradeError (``busy``) where another has it for ``patience`` seconds."""
    place = host.path(path)
    deadline = host.clock() + patience
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if host.clock() > deadline:
                    raise UpgradeError(busy) from None
                host.sleep(1)
        yield descriptor
    finally:
        os.close(descriptor)


def read(host: Host, path: str = places.JOURNAL) -> dict[str, Any] | None:
    """What was begun, or None. Raises UpgradeError for a file that makes no sense."""
    try:
        data: dict[str, Any] = json.loads(host.path(path).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UpgradeError(f"{path} cannot be read: {error}. It is written whole or not at all") from None
    return data


def of_run(host: Host, run: str) -> dict[str, Any]:
    """The journal of this run. Raises UpgradeError where it is another's, or there is none."""
    data = read(host)
    if data is None:
        raise UpgradeError("No upgrade was begun on this host, or another run has ended it")
    if data["run"] != run:
        raise UpgradeError(f"The upgrade that was begun here is that of another run: {describe(data)}")
    return data


def write(host: Host, data: dict[str, Any]) -> None:
    """Keep what was begun, with the time; on the disk before this returns."""
    here = since_boot.now()
    put(host, places.JOURNAL, {**data, "touched": int(time.time()), "touched_boot": [here.boot, here.seconds]}, 0o600)


def close(host: Host, data: dict[str, Any], outcome: str) -> None:
    """Note what came of it. After this no upgrade is under way."""
    put(host, places.LAST, {**data, "phase": outcome, "touched": int(time.time())}, 0o600)
    host.path(places.JOURNAL).unlink(missing_ok=True)
    durable.sync_directory(host.path(places.UPGRADE))


def is_fresh(data: dict[str, Any]) -> bool:
    """Whether the run that began it may still be at work. Within one boot, whatever the clock was set to."""
    ago = since_boot.now().after(*data.get("touched_boot", ("", 0.0)))
    return abs(time.time() - float(data.get("touched", 0)) if ago is None else ago) < LEASE


def describe(data: dict[str, Any]) -> str:
    """Who upgrades what, since when."""
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(data["since"])))
    return f"{data['from']['version']} to {data['to']['version']}, begun by {data['by']} at {since}, {data['phase']}"


def put(host: Host, path: str, data: Any, mode: int) -> None:
    """Write JSON whole or not at all."""
    place = host.path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    # The panel's user reads one of the files in it.
    place.parent.chmod(0o755)
    durable.write_json(place, data, mode)
