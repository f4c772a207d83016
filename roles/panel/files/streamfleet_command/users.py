"""``streamfleet user reset``: a new log-in password for an account."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Any

from . import panel
from .errors import USAGE, CommandFailed

#: With it install.yml registers nodes; whoever can read it is root here already.
INSTALL_TOKEN = Path("/etc/streamfleet/panel/install_token")


def reset(
    username: str,
    *,
    password: str | None = None,
    output: Path | None = None,
    revoke_tokens: bool = False,
    administrator: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Set ``password``, or a new one that goes into ``output`` or onto the terminal, and nowhere else. Returns 0."""
    made = password is None
    if made and output is None and not dry_run and not sys.stdout.isatty():
        raise CommandFailed(
            "the new password would go into something that keeps it: standard output is no terminal. Name a file with "
            "--output, or give a password with --password-stdin. Nothing was changed",
            USAGE,
        )
    if password is None:
        password = secrets.token_urlsafe(18)
    order = {
        "username": username, "password": password, "administrator": administrator, "dry_run": dry_run,
        "revoke_tokens": revoke_tokens, "keep_tokens": _ids(INSTALL_TOKEN),
    }  # fmt: skip
    beside = _beside(output, password) if made and output is not None and not dry_run else None
    try:
        answer = panel.ask("reset_password", order)
    except CommandFailed:
        if beside is not None:
            beside.unlink()
        raise
    if beside is not None and output is not None:
        beside.replace(output)
    _tell(answer, password if made and output is None and not dry_run else None, output, dry_run, as_json)
    return 0


def _ids(path: Path) -> list[str]:
    """Ids of the tokens in a file; none where there is no such file."""
    try:
        return re.findall(r"\bsft_([a-z0-9]{8})_", path.read_text())
    except FileNotFoundError:
        return []


def _beside(path: Path, password: str) -> Path:
    """Write the password where it can take the place of ``path``: before it counts, so that none is lost."""
    partial = path.with_name(f".{path.name}.new")
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{password}\n")
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise CommandFailed(f"--output {path}: {error.strerror}; nothing was changed", USAGE) from None
    return partial


def _tell(answer: dict[str, Any], password: str | None, output: Path | None, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer))
        return
    name = answer["username"]
    if password is not None:
        print(f"New password of {name}: {password}")
        print("It is not shown again.")
    elif output is not None and not dry_run:
        print(f"The new password of {name} is in {output}.")
    if answer["password_changed"]:
        print(f"Sessions of {name} {'would end' if dry_run else 'have ended'}.")
    elif not dry_run:
        print(f"{name} has that password already.")
    if answer["revoked"]:
        print(f"API tokens {'that would be revoked' if dry_run else 'revoked'}: {', '.join(answer['revoked'])}.")
    if not answer["enabled"]:
        print(
            f"{name} is disabled and cannot log in all the same: enable the account, or its reseller, by customer.yml."
        )
