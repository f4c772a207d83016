#!/usr/bin/python3
"""A double of Wowza's installer: asks questions on a terminal, and none with ``--mode unattended``."""

import base64
import io
import os
import sys
import tarfile
from pathlib import Path

VERSION = "@VERSION@"
FILES = """@FILES@"""
HOME = Path("/usr/local/WowzaStreamingEngine")

if os.geteuid() != 0:
    sys.exit("There has been an error. This installer requires root privileges.")
if sys.argv[1:] != ["--mode", "unattended"]:
    if sys.argv[1:]:
        sys.exit(f"There has been an error. Unknown option: {sys.argv[1]}")
    if input("Do you accept this license? [y/n]: ") != "y":
        sys.exit("The license was not accepted.")
place = HOME.with_name(f"{HOME.name}-{VERSION}")
with tarfile.open(fileobj=io.BytesIO(base64.b64decode(FILES))) as archive:
    archive.extractall(place)
(place / "logs").mkdir(exist_ok=True)
if HOME.is_symlink():
    HOME.unlink()
HOME.symlink_to(place.name)
for name in ("WowzaStreamingEngine", "WowzaStreamingEngineManager"):
    unit = Path(f"/etc/systemd/system/{name}.service")
    unit.write_text("[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n")
    wants = Path("/etc/systemd/system/multi-user.target.wants", unit.name)
    if not wants.is_symlink():
        wants.symlink_to(unit)
os.system("systemctl daemon-reload; systemctl --no-block start WowzaStreamingEngine.service")
