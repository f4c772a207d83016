"""Bring the panel's database to what is installed: read JSON, run ``streamfleet-panel set_up``, keep the tokens.

Standard input: ``{"administrator": {"username", "email", "password", "password_file"}, "tokens": [{"name", "scope",
"account", "path", "owner"}]}``. A token whose file is there is not issued again. The administrator comes into being
together with the first token of scope account and is never made a second time. Prints ``{"changed": bool}``.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Held while the database is changed, by the program that changes it, too: it outlives who has called it, and whoever
#: puts the database back (streamfleet_panel_upgrade) waits for it.
LOCK = "/run/streamfleet-panel-set-up.lock"


def locked() -> int:
    """The descriptor of the lock, which this has waited for."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def write(token: dict[str, Any], secret: str) -> None:
    """Put a secret into its file, which appears whole and belongs to its owner from the first moment."""
    target = Path(token["path"])
    partial = target.with_name(f".{target.name}.new")
    partial.unlink(missing_ok=True)
    owner = pwd.getpwnam(token["owner"])
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
    with os.fdopen(descriptor, "w") as stream:
        os.fchown(descriptor, owner.pw_uid, owner.pw_gid)
        os.fchmod(descriptor, 0o600 if owner.pw_uid == 0 else 0o400)
        stream.write(f"{secret}\n")
        stream.flush()
        os.fsync(descriptor)
    partial.replace(target)


def main() -> int:
    """Command line."""
    order = json.load(sys.stdin)
    order["tokens"] = [{"account": "", "owner": "root", **token} for token in order["tokens"]]
    missing = [token for token in order["tokens"] if not Path(token["path"]).exists()]
    administrator = None
    if any(token["scope"] == "account" for token in missing):
        administrator = {key: order["administrator"][key] for key in ("username", "password")}
        administrator["email"] = order["administrator"]["email"] or None
        if not administrator["password"]:
            administrator["password"] = Path(order["administrator"]["password_file"]).read_text().rstrip("\n")
    asked = [{key: token[key] or None for key in ("name", "scope", "account")} for token in missing]
    done = subprocess.run(
        ["/usr/local/bin/streamfleet-panel", "set_up"],
        input=json.dumps({"administrator": administrator, "tokens": asked}),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        pass_fds=[locked()],
    )
    if done.returncode != 0:
        return done.returncode
    answer = json.loads(done.stdout)
    for token, secret in zip(missing, answer["tokens"], strict=True):
        write(token, secret)
    print(json.dumps({"changed": answer["changed"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
