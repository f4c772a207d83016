"""Let Wowza read a folder of this user's media library: ``library SLUG``.

Runs as the customer's own user, whose the files are; so it can open nothing that is not the customer's. What is put
there later inherits the right. Links are not followed. A channel that plays no library has no file here, and nothing is
done.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

PLACE = Path("/etc/streamfleet/instances/wowzalibrary")
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
USER = "streamfleet-wowza"


def grant(library: Path, folder: str) -> None:
    """The right to read all of the folder, and to get there. Raises CalledProcessError."""
    wanted = library / folder
    wanted.mkdir(mode=0o750, parents=True, exist_ok=True)
    passed = [path for path in (wanted, *wanted.parents) if path == library or library in path.parents]
    acl(f"user:{USER}:--x", *[path for path in passed if path != wanted])
    acl(f"user:{USER}:rX,default:user:{USER}:rX", wanted, everything=True)


def acl(entries: str, *paths: Path, everything: bool = False) -> None:
    """Add the entries to the paths' access control lists, physically: a link is not what it leads to."""
    if paths:
        how = ["--recursive", "--physical"] if everything else []
        command = ["/usr/bin/setfacl", *how, "--modify", entries, "--", *map(str, paths)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=80)


def main() -> int:
    """Command line."""
    if len(sys.argv) != 2 or not SLUG.fullmatch(sys.argv[1]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        wanted = json.loads((PLACE / sys.argv[1] / "library.json").read_text())
    except FileNotFoundError:
        return 0
    try:
        grant(Path(wanted["library"]), wanted["folder"])
    except (OSError, subprocess.SubprocessError) as error:
        print(f"Wowza cannot be let into {wanted['library']}: {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
