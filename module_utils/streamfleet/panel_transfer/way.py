"""How the new host fetches one file of the former one: by SSH, with a key of this run that opens that file alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ..node_apply.host import Host
from ..service_copy import getting, keys
from ..service_copy.places import CopyError
from . import pack
from .places import COME, FOLDER, PACK, WAY, TransferError, made

USER = "streamfleet-converge"
MARK = "streamfleet-panel-transfer"
#: One that a killed run has left is of no use after that.
KEPT = timedelta(hours=2)
PATIENCE = 3600.0
_HOST_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}")
_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}")


@dataclass(frozen=True)
class Origin:
    """Where the file is fetched from."""

    address: str
    port: int
    host_key: str


def key(host: Host, origin: Origin) -> dict[str, Any]:
    """A new key: its public half, and the addresses that this host comes to the other one from."""
    shutil.rmtree(host.path(WAY), ignore_errors=True)
    place = made(host, WAY) / "id_ed25519"
    done = host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(place)], "", 30.0)
    if done.code != 0:
        raise TransferError(f"no key can be made: {done.last_words}")
    public = place.with_name("id_ed25519.pub").read_text().strip()
    return {"public_key": public, "addresses": getting.seen_as(getting.Origin(origin.address, origin.port, USER, ""))}


def allow(host: Host, public_key: str, addresses: Sequence[str]) -> None:
    """Let who has the private half read the file, from these addresses. Raises TransferError."""
    try:
        keys.allow(host, USER, MARK, public_key, f"/usr/bin/cat {PACK}", addresses, KEPT)
    except CopyError as error:
        raise TransferError(str(error)) from None


def forbid(host: Host) -> bool:
    """Take the key away, and what it opens; whether there was any of it."""
    file = host.path(PACK)
    there = file.exists()
    file.unlink(missing_ok=True)
    return keys.forbid(host, USER, MARK) or there


def forget(host: Host) -> None:
    """Remove the private half, and what came."""
    shutil.rmtree(host.path(WAY), ignore_errors=True)
    host.path(COME).unlink(missing_ok=True)


def fetch(host: Host, origin: Origin, sha256: str) -> None:
    """Have the file here, as it is there. Raises TransferError."""
    if not _ADDRESS.fullmatch(origin.address):
        raise TransferError(f"address: {origin.address!r} is not an address")
    if not _HOST_KEY.fullmatch(origin.host_key):
        raise TransferError("host_key: is not a public key of a host")
    made(host, FOLDER)
    known = host.path(f"{WAY}/known_hosts")
    known.write_text(f"{MARK} {origin.host_key}\n")
    words = [
        *("ssh", "-F", "none", "-T", "-i", str(host.path(f"{WAY}/id_ed25519")), "-p", str(origin.port)),
        *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"),
        *("-o", f"UserKnownHostsFile={known}", "-o", f"HostKeyAlias={MARK}", "-o", "ConnectTimeout=15"),
        *("-o", "ServerAliveInterval=15", f"{USER}@{origin.address}", "pack"),
    ]
    target = host.path(COME)
    script = 'umask 077; file="$1"; shift; exec "$@" >"$file"'
    done = host.run(["sh", "-c", script, "sh", str(target), *words], "", PATIENCE)
    if done.code != 0:
        raise TransferError(f"nothing comes from {origin.address} by SSH (port {origin.port}): {done.last_words}")
    if pack.digest(target) != sha256:
        raise TransferError(f"what came from {origin.address} is not what was sent. Run it again")
