"""``python3 -m streamfleet_acme order|domains|keys|install``: once, as the units do. ``told``: what came of domains."""

from __future__ import annotations

import sys

from streamfleet_acme import client, installer, keys, tenants
from streamfleet_acme.shelf import Shelf

PROGRAMS = {
    "order": client.main,
    "domains": tenants.main,
    "keys": keys.main,
    "install": installer.main,
    "told": tenants.tell,
}


def main() -> int:
    """Exit status."""
    if len(sys.argv) != 2 or sys.argv[1] not in PROGRAMS:
        print(f"usage: streamfleet_acme {'|'.join(PROGRAMS)}", file=sys.stderr)
        return 2
    return PROGRAMS[sys.argv[1]](Shelf())


if __name__ == "__main__":
    sys.exit(main())
