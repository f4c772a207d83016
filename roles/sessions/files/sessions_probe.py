"""Whether sessions are recorded: one line for each fault."""

import json
import subprocess
import sys
import time
from pathlib import Path

UNIT = "streamfleet-sessions.service"
USAGE = "streamfleet-usage.service"
#: Seconds; what was found is kept every five.
FRESH = 60.0


def faults(state: Path) -> list[str]:
    """What is wrong, as the state tells that the recorder keeps."""
    now = time.time()
    try:
        age = now - state.stat().st_mtime
        found = json.loads(state.read_bytes())
    except (FileNotFoundError, ValueError):
        age, found = FRESH + 1, {}
    if age > FRESH:
        return [f"{UNIT} runs, but keeps nothing of what it finds. Likely cause: the disk is full"]
    if found.get("blind") is not None and now - found["blind"] > FRESH:
        cause = "Likely cause: the kernel lacks its module tcp_diag"
        return [f"{UNIT} does not see open connections, so transfer counts only when listeners have gone. {cause}"]
    return []


def runs(unit: str) -> bool:
    """Whether the unit does."""
    return subprocess.run(["/usr/bin/systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


if __name__ == "__main__":
    if not runs(UNIT):
        print(f"{UNIT} is not running, so nobody's sessions are recorded and no limit of transfer holds")
    else:
        for fault in faults(Path(sys.argv[1])):
            print(fault)
    if not runs(USAGE):
        print(
            f"{USAGE} is not running, so nobody's use is measured and no limit of bitrate holds (journalctl -u {USAGE})"
        )
