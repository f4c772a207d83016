"""Generate a password into a file that only root may read: ``make_password.py FILE``. One that is there is kept."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path


def main() -> int:
    """Command line."""
    target = Path(sys.argv[1])
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(secrets.token_urlsafe(18) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(partial, target)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
