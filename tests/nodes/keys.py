"""SSH keys of a fleet and of its nodes, and the hosts that they prove."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.nodes.proc import run


def generate(path: Path, comment: str) -> str:
    """Make an ed25519 key pair at path (0600) and path.pub unless it is there; returns the public key line."""
    public = path.with_name(path.name + ".pub")
    if not (path.exists() and public.exists()):
        path.unlink(missing_ok=True)
        public.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
    return public.read_text().strip()


def known_hosts(hosts: Iterable[tuple[list[str], str]]) -> str:
    """Content of a known_hosts file; hosts: pairs of (names and addresses, public key line)."""
    lines = []
    for names, key in hosts:
        kind, body = key.split()[:2]
        lines.append(f"{','.join(names)} {kind} {body}")
    return "".join(f"{line}\n" for line in lines)
