"""Run an installer of Wowza Streaming Engine: ``install INSTALLER HOME MARKER ARGUMENT…``.

Sees that it did what it should, and has the vendor's own units not start. The marker is there only if all went well.
What is refused: exit code 3, the reason on stderr.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: What must be there afterwards, below the home.
NEEDED = ("bin/startup.sh", "conf/Server.xml", "conf/VHosts.xml", "conf/VHost.xml", "conf/Tune.xml")
#: Seconds that an installer may take.
PATIENCE = 900
UNITS = ("WowzaStreamingEngine.service", "WowzaStreamingEngineManager.service")


class Refused(Exception):
    """The installer did not do what it should."""


def install(installer: Path, home: Path, marker: Path, arguments: list[str]) -> None:
    """Run the installer. Raises Refused."""
    installer.chmod(0o700)
    try:
        # No terminal and no input: an installer that asks something after all ends instead of waiting for ever.
        done = subprocess.run(
            [str(installer), *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"it did not end within {PATIENCE} seconds") from None
    except OSError as error:
        raise Refused(f"it cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise Refused(f"it ended with {done.returncode}: {words[-1][:300] if words else 'without a word'}")
    missing = [name for name in NEEDED if not (home / name).is_file()]
    if missing:
        raise Refused(
            f"it ended well, but {home / missing[0]} is missing. Does streamfleet_wowza_home say where it installs?"
        )
    for unit in UNITS:
        if subprocess.run(["systemctl", "cat", unit], capture_output=True, check=False).returncode == 0:
            subprocess.run(["systemctl", "disable", "--now", unit], capture_output=True, check=True)
    for other in marker.parent.glob("installed-*"):
        other.unlink()
    marker.touch()
    installer.unlink()


def main() -> int:
    """Command line."""
    arguments = sys.argv[1:]
    if len(arguments) < 4 or arguments[0] != "install":
        print(__doc__, file=sys.stderr)
        return 2
    try:
        installer, home, marker, *rest = arguments[1:]
        install(Path(installer), Path(home), Path(marker), rest)
    except Refused as error:
        print(f"{error}.", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
