"""The copy: rsync, first in the background while all goes on, then once more while nobody writes."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from ..node_apply.host import Host
from ..tree_copy import FILTERS, RSYNC, once, options, properties
from .errors import MoveError
from .places import COPY, LAST, RUN, VIEW
from .storage import run

#: rsync's codes of passes that are good while others write: some files went before they were read.
GOOD = (0, 24)
_PROGRESS = re.compile(r"([0-9.,]+)\s+([0-9]{1,3})%\s+(\S+/s)")


def _command(source: Path, target: Path, *more: str) -> list[str]:
    return [*RSYNC, *FILTERS, *more, f"{source}/", f"{target}/"]


def sandbox(host: Host, target: Path) -> list[str]:
    """Properties of the units. The view shows more than libraries, so it is for reading but for ``target``."""
    return [*properties([host.path(RUN), target], network=False), f"ReadOnlyPaths=-{host.path(VIEW)}"]


def begin(host: Host, source: Path, target: Path) -> None:
    """Start a pass. It takes what processor and disk have left, and goes on when whoever began it is gone."""
    folder = host.path(RUN)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("ended", "progress", "errors"):
        (folder / name).unlink(missing_ok=True)
    host.run(["systemctl", "reset-failed", COPY], "", 30.0)
    script = '"$@" >"$0/progress" 2>"$0/errors"; echo $? >"$0/ended.new"; exec mv "$0/ended.new" "$0/ended"'
    command = _command(source, target, "--info=progress2", "--no-inc-recursive", "--outbuf=L")
    wanted = ["Nice=19", "IOSchedulingClass=idle", *sandbox(host, target)]
    how = options(COPY, "Streamfleet copies media libraries", wanted)
    argv = ["systemd-run", *how, "/bin/sh", "-c", script, str(folder), *command]
    run(host, argv, "the copy cannot be begun")


def working(host: Host) -> bool:
    """Whether a pass is under way."""
    return host.run(["systemctl", "is-active", "--quiet", COPY], "", 30.0).code == 0


def ended(host: Host) -> bool | None:
    """Whether the last pass is good; None where it has not ended by itself. Raises MoveError where it failed."""
    folder = host.path(RUN)
    try:
        code = int((folder / "ended").read_text())
    except (OSError, ValueError):
        return None
    if code in GOOD:
        return True
    said = ""
    with contextlib.suppress(OSError):
        said = " ".join((folder / "errors").read_text(errors="replace").split())[-500:]
    forget(host)
    raise MoveError(f"the copy failed, and everything is as it was. rsync ended with {code} and says: {said}")


def forget(host: Host) -> None:
    """Have how the last pass ended be known no more."""
    (host.path(RUN) / "ended").unlink(missing_ok=True)


def progress(host: Host) -> tuple[float, str]:
    """Percent, and words, of the pass that is under way."""
    try:
        text = (host.path(RUN) / "progress").read_text(errors="replace")[-400:]
    except OSError:
        return 0.0, ""
    found = list(_PROGRESS.finditer(text))
    return (float(found[-1][2]), f"{found[-1][1]} bytes, {found[-1][3]}") if found else (0.0, "")


def stop(host: Host) -> None:
    """End a pass that is under way."""
    host.run(["systemctl", "stop", COPY, LAST], "", 60.0)


def last(host: Host, source: Path, target: Path, seconds: float) -> None:
    """Copy what has changed since. Raises MoveError, also after ``seconds``."""
    folder = host.path(RUN)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = once(host, LAST, sandbox(host, target), folder / "last", _command(source, target), seconds)
    if done.code != 0:
        raise MoveError(f"what has changed since the copy cannot be copied: {done.last_words}")
