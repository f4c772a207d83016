"""Do the relays run that should? Prints ``<fault>|<station>`` a line, nothing when all is well. Runs as root."""

import subprocess
from pathlib import Path

INSTANCES = Path("/etc/streamfleet/instances/relay")
WANTS = Path("/etc/systemd/system/streamfleet-instances.target.wants")
PROGRAM = (
    Path("/usr/lib/streamfleet/relay/streamfleet_relay/__main__.py"),
    Path("/usr/lib/streamfleet/relay/streamfleet_relay/guard.py"),
    Path("/etc/systemd/system/streamfleet-relay@.service"),
    Path("/etc/streamfleet/nftables/open-relay.nft"),
)


def main() -> None:
    """Look."""
    for path in PROGRAM:
        if not path.is_file():
            print(f"program|{path}")
    units = {
        path.parent.name: f"streamfleet-relay@{path.parent.name}.service" for path in INSTANCES.glob("*/settings.json")
    }
    for slug, unit in sorted(units.items()):
        # What another server does is no fault of this node: only that the program runs is asked.
        down = subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode != 0
        if down and (WANTS / unit).is_symlink():
            print(f"down|{slug}")


main()
