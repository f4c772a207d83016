"""Do the AutoDJs play that should? Prints ``<fault>|<station>`` a line, nothing when all is well. Runs as root."""

import json
import subprocess
from pathlib import Path

INSTANCES = Path("/etc/streamfleet/instances/autodj")
WANTS = Path("/etc/systemd/system/streamfleet-instances.target.wants")
HOME = Path("/usr/lib/streamfleet/autodj")


def connections() -> dict[tuple[int, int], int]:
    """Count the established connections of each user to each TCP port, IPv4."""
    found: dict[tuple[int, int], int] = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "01":
            key = int(fields[7]), int(fields[2].rpartition(":")[2], 16)
            found[key] = found.get(key, 0) + 1
    return found


def main() -> None:
    """Look."""
    for name in ("station.liq", "safe.wav", "streamfleet_autodj/__main__.py"):
        if not (HOME / name).is_file():
            print(f"program|{HOME / name}")
    if not Path("/etc/systemd/system/streamfleet-autodj@.service").is_file():
        print("program|streamfleet-autodj@.service")
    established = connections()
    for settings in sorted(INSTANCES.glob("*/settings.json")):
        slug, unit = settings.parent.name, f"streamfleet-autodj@{settings.parent.name}.service"
        if not (WANTS / unit).is_symlink():
            continue
        if subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode != 0:
            print(f"down|{slug}")
            continue
        wanted = json.loads(settings.read_text())
        uid = settings.stat().st_gid  # the tenant's group has the tenant's number
        if established.get((uid, wanted["port"]), 0) < len(wanted["feeds"]):
            print(f"silent|{slug}")


main()
