"""Whether sessions are recorded: one line for each fault."""

import subprocess
import sys
import time
from pathlib import Path

UNIT = "streamfleet-sessions.service"
#: Seconds; what was found is kept every five.
FRESH = 60.0

if subprocess.run(["/usr/bin/systemctl", "is-active", "--quiet", UNIT], check=False).returncode != 0:
    print(f"{UNIT} is not running, so nobody's sessions are recorded and no limit of transfer holds")
else:
    try:
        age = time.time() - Path(sys.argv[1]).stat().st_mtime
    except FileNotFoundError:
        age = FRESH + 1
    if age > FRESH:
        print(f"{UNIT} runs, but keeps nothing of what it finds. Likely cause: the disk is full")
