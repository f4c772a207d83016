#!/usr/bin/python3
"""A double of the uninstaller that Wowza's installer leaves."""

import os
import shutil
import sys
from pathlib import Path

if sys.argv[1:] != ["--mode", "unattended"]:
    sys.exit("There has been an error. It would ask something.")
home = Path("/usr/local/WowzaStreamingEngine")
os.system("systemctl disable --now WowzaStreamingEngine.service WowzaStreamingEngineManager.service")
for name in ("WowzaStreamingEngine", "WowzaStreamingEngineManager"):
    Path(f"/etc/systemd/system/{name}.service").unlink(missing_ok=True)
shutil.rmtree(home.resolve())
home.unlink()
