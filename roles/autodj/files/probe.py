"""Do the AutoDJs play that should? Prints ``<fault>|<station>`` a line, nothing when all is well. Runs as root."""

import json
import socket
import subprocess
from pathlib import Path

INSTANCES = Path("/etc/streamfleet/instances/autodj")
LIVE = Path("/etc/streamfleet/instances/live")
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


def is_active(unit: str) -> bool:
    """Whether the unit runs."""
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def greets(port: int) -> bool:
    """Whether what DJs connect to answers a client that wants nothing of it."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
            link.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return link.recv(16).startswith(b"HTTP/1.0 404")
    except OSError:
        return False


def main() -> None:
    """Look."""
    for name in ("station.liq", "safe.wav", "streamfleet_autodj/__main__.py"):
        if not (HOME / name).is_file():
            print(f"program|{HOME / name}")
    for name in ("autodj", "live"):
        if not Path(f"/etc/systemd/system/streamfleet-{name}@.service").is_file():
            print(f"program|streamfleet-{name}@.service")
    established = connections()
    for settings in sorted(INSTANCES.glob("*/settings.json")):
        slug, unit = settings.parent.name, f"streamfleet-autodj@{settings.parent.name}.service"
        if not (WANTS / unit).is_symlink():
            continue
        if not is_active(unit):
            print(f"down|{slug}")
            continue
        wanted = json.loads(settings.read_text())
        uid = settings.stat().st_gid  # the tenant's group has the tenant's number
        if established.get((uid, wanted["port"]), 0) < len(wanted["feeds"]):
            print(f"silent|{slug}")
    for settings in sorted(LIVE.glob("*/settings.json")):
        slug, unit = settings.parent.name, f"streamfleet-live@{settings.parent.name}.service"
        if (WANTS / unit).is_symlink() and not (is_active(unit) and greets(json.loads(settings.read_text())["port"])):
            print(f"closed|{slug}")


main()
