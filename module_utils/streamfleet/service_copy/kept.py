"""What a copy back has put aside: how it comes back into the folders, where that copy will never be ended.

rsync puts it there, in a unit for each folder that writes into that folder alone: the tree is a tenant's, who may put a
link where a folder was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..node_apply.host import Finished, Host
from ..tree_copy import FILTERS, RSYNC, once, properties

#: Seconds for a folder's part of a pass. The services are off the air anyway, for as long as it takes.
LONG = 6 * 3600.0
#: A size and a time that are the same say nothing: a pass that compares contents may have put the file aside.
_COMMAND = (
    *(word for word in RSYNC if word != "--delete"),
    *("--ignore-times", "--force", "--no-implied-dirs", *FILTERS, "--from0"),
)
#: By a list, so that the folder itself stays as it is: rsync has made the one that it was put aside in, as root.
_SCRIPT = """\
list="$1"; kept="$2"; place="$3"; shift 3
cd "$kept" && find . -mindepth 1 -print0 >"$list" && exec "$@" "--files-from=$list" ./ "$place/"
"""


def versions(replaced: Path) -> list[tuple[str, Path]]:
    """Folders below ``BASE``, and what a pass has put aside of each; the oldest last: it is what was there at first."""
    if not replaced.is_dir():
        return []
    return [
        (f"{kind.name}/{kept.name}", kept)
        for moment in sorted(replaced.iterdir(), key=_age, reverse=True)
        for kind in sorted(moment.iterdir())
        for kept in sorted(kind.iterdir())
    ]


def names(kept: Path) -> Iterator[str]:
    """The files in it, by their places in the folder."""
    for parent, folders, files in os.walk(kept):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        yield from (str((Path(parent) / name).relative_to(kept)) for name in (*files, *links))


def put_back(host: Host, unit: str, said: Path, kept: Path, place: Path) -> Finished:
    """Have files of ``kept`` be in ``place``, over those that are there; more that are there stay."""
    said.mkdir(mode=0o700, parents=True, exist_ok=True)
    script = ["/bin/sh", "-c", _SCRIPT, "sh", str(said / "list"), str(kept), str(place), *_COMMAND]
    return once(host, unit, properties([place, said], network=False), said / "back", script, LONG)


def _age(moment: Path) -> tuple[str, int]:
    second, _dash, ticks = moment.name.partition("-")
    return second, int(ticks or 0)
