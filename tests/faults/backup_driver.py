"""One backup or one restore, as a process that a test may kill: ``backup_driver.py FOLDER backup | look | restore``.

All is real (restic, the files, the panel and its database), but for systemd: which units run stands in ``units.json``.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from streamfleet_backup import backup, restore, settings
from streamfleet_backup.errors import BackupError
from streamfleet_backup.status import Status, write_whole

#: All that this host has.
KNOWN = ("streamfleet-panel.service",)


class UnitsOnDisk:
    """A double of systemd: the units that run, kept so that they outlive a kill. It refuses units that are not here."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def active(self, names: Sequence[str]) -> list[str]:
        """Those that run."""
        running = json.loads(self._path.read_text())
        return [name for name in names if name in running]

    def known(self, names: Sequence[str]) -> list[str]:
        """Those that are here."""
        return [name for name in names if name in KNOWN]

    def act(self, verb: str, names: Sequence[str]) -> None:
        """Note who runs."""
        if strange := set(names) - set(KNOWN):
            raise BackupError(f"systemctl {verb} failed: Unit {', '.join(sorted(strange))} not loaded.")
        running = set(json.loads(self._path.read_text()))
        if verb in ("start", "stop"):
            running = running | set(names) if verb == "start" else running - set(names)
        write_whole(self._path, json.dumps(sorted(running)))


def main() -> int:
    """0 where the job ended well; what it says otherwise is on the error output."""
    folder, job = Path(sys.argv[1]), sys.argv[2]
    own = {name: folder / name for name in ("data", "cache", "run", "release")}
    chosen = dataclasses.replace(settings.load(folder / "config"), **own)
    status = Status(chosen.run, "backup" if job == "backup" else "restore")
    try:
        if job == "backup":
            result = backup.run(chosen, status)
        else:
            request = restore.Request(confirm=job == "restore")
            units: restore.Units = UnitsOnDisk(folder / "units.json")  # type: ignore[assignment]
            result = restore.run(chosen, status, request, units=units)
    except BackupError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
