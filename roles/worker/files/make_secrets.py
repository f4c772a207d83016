"""Make the secrets of a Streamfleet process, once: ``make_secrets.py FILE``. Only root may read them."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from pathlib import Path


def main() -> int:
    """Command line. The file appears whole or not at all, and one that is there is never touched."""
    target = Path(sys.argv[1])
    if target.exists():
        return 0
    field_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    text = f"STREAMFLEET_PANEL_SECRET_KEY='{secrets.token_urlsafe(50)}'\nSTREAMFLEET_PANEL_FIELD_KEYS='{field_key}'\n"
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(partial, target)
    finally:
        partial.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
