"""What is wrong with this host's backups, a line each; nothing where all is well. ``backup_probe.py LAST.json``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

LATE_SECONDS = 2 * 86400


def main() -> int:
    """Command line."""
    last = Path(sys.argv[1])
    state = ["systemctl", "is-active", "--quiet", "streamfleet-backup.timer"]
    if subprocess.run(state, check=False).returncode != 0:
        print("streamfleet-backup.timer is not active, so nothing is backed up")
    failed = ["systemctl", "is-failed", "--quiet", "streamfleet-backup.service"]
    if subprocess.run(failed, check=False).returncode == 0:
        print("the last backup failed")
    try:
        age = time.time() - last.stat().st_mtime
        told = json.loads(last.read_text())
    except FileNotFoundError:
        age = time.time() - Path("/etc/streamfleet/backup/settings.json").stat().st_mtime
        told = {}
        if age > LATE_SECONDS:
            print("there has never been a backup")
        return 0
    if age > LATE_SECONDS:
        print(f"the last backup is {int(age // 86400)} days old")
    for warning in told.get("warnings", []):
        print(warning)
    return 0


if __name__ == "__main__":
    sys.exit(main())
