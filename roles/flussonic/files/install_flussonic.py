"""Install the vendor's packages: ``install MARKER PACKAGE…``, all in one step of apt.

Nothing of theirs is started or restarted by that: channels stay on the air, and the role says when a restart is due.
The marker is there only if all went well, and holds the packages' names. What is refused: exit code 3, the reason on
stderr.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

#: What must be there afterwards.
NEEDED = (Path("/opt/flussonic"),)
UNIT = "flussonic.service"
#: Hides the unit from the packages' scripts.
MASK = Path("/run/systemd/system") / UNIT


class Refused(Exception):
    """The packages are not there afterwards as they should be."""


def run(*command: str) -> str:
    """What the command says. Raises Refused with its last words if it fails."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=quiet)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise Refused(f"{command[0]} ended with {done.returncode}: {' '.join(words[-3:])[:500] or 'without a word'}")
    return done.stdout


def named(package: Path) -> "tuple[str, str]":
    """Name and version of what a package's file holds. Raises Refused."""
    fields = run("dpkg-deb", "--field", str(package), "Package", "Version").splitlines()
    found = dict(line.split(": ", 1) for line in fields)
    return found["Package"], found["Version"]


def verify(wanted: "dict[str, str]") -> None:
    """That just these are installed, whole and configured, whatever apt's exit code says. Raises Refused."""
    for name, version in wanted.items():
        said = run("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}", name)
        if said != f"installed {version}":
            raise Refused(f"{name} {version} was to be installed, and dpkg says of it: {said}")


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, also if power is lost."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)


def install(marker: Path, packages: "list[Path]") -> None:
    """Raises Refused."""
    wanted = dict(named(path) for path in packages)
    MASK.parent.mkdir(parents=True, exist_ok=True)
    MASK.unlink(missing_ok=True)
    MASK.symlink_to("/dev/null")
    try:
        run("systemctl", "daemon-reload")
        keep = ("-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Options::=--force-confdef")
        run("apt-get", "install", "--yes", "--no-install-recommends", "--allow-downgrades", *keep, *map(str, packages))
    finally:
        MASK.unlink(missing_ok=True)
        run("systemctl", "daemon-reload")
    verify(wanted)
    missing = [str(path) for path in NEEDED if not path.exists()]
    if missing or subprocess.run(["systemctl", "cat", UNIT], capture_output=True, check=False).returncode:
        raise Refused(
            f"they are installed, but {missing[0] if missing else UNIT} is not there. Is Flussonic among them?"
        )
    for other in marker.parent.glob("installed-*"):
        other.unlink()
    write(marker, json.dumps(list(wanted)) + "\n")
    for path in packages:
        path.unlink()


def main() -> int:
    """Command line."""
    if len(sys.argv) < 4 or sys.argv[1] != "install":
        print(__doc__, file=sys.stderr)
        return 2
    try:
        install(Path(sys.argv[2]), [Path(item) for item in sys.argv[3:]])
    except Refused as error:
        print(f"{error}.", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
