"""Where settings, requests, certificates and state of an ACME directory's client lie, and how they are read."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import pem
from .errors import TlsError
from .orders import Asked, Held, Order

if pem.MISSING is None:
    from cryptography import x509

#: A chain, a request or a file of state is not larger; that of all tenants' names is not larger than the second.
LARGEST, LARGEST_OF_ALL = 1 << 20, 1 << 26


@dataclass(frozen=True)
class Owner:
    """Whose a tenant's name is: ``uid``, 0 where that is not known. ``told``: time of the file that says so, in ns."""

    uid: int
    told: int


@dataclass(frozen=True)
class Shelf:
    """``settings``: what the role writes. ``data``: what is kept; the client writes in its folder and in ``issued``."""

    settings: Path = Path("/etc/streamfleet/acme")
    data: Path = Path("/var/lib/streamfleet/certificates")

    @property
    def own(self) -> Path:
        """The client's folder."""
        return self.data / "client"

    @property
    def issued(self) -> Path:
        """Certificates that wait to be put in place."""
        return self.data / "issued"

    @property
    def domains(self) -> Path:
        """Signing requests for tenants' own names, ``<name>.csr`` each; made by root for those that lead somewhere."""
        return self.data / "domains"

    @property
    def left(self) -> Path:
        """The same of names that have gone; the time of each file says when."""
        return self.data / "left"

    def domain_request(self, name: str) -> Path:
        """The signing request of a tenant's name."""
        return self.domains / f"{name}.csr"

    def replaced(self, name: str) -> Path:
        """The certificate of a tenant's name that is to be revoked; laid there by root, for the client reads none."""
        return self.domains / f"{name}.revoke"

    @property
    def owners(self) -> Path:
        """Whose the tenants' names are; written by root, read by the client. One file, for there may be thousands."""
        return self.data / "owners.json"

    def read_owners(self) -> dict[str, Owner]:
        """Of each tenant's name whose it is; nothing where that cannot be read."""
        try:
            found = json.loads(read(self.owners, LARGEST_OF_ALL))["names"]
            return {str(name): Owner(int(uid), int(told)) for name, (uid, told) in found.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def write_owners(self, owners: Mapping[str, Owner], group: int) -> None:
        """Write it, whole, for the client's ``group``; only where it is another than before. Raises OSError."""
        names = {name: [owner.uid, owner.told] for name, owner in owners.items()}
        text = json.dumps({"names": names}, separators=(",", ":"), sort_keys=True) + "\n"
        pem.put(self.owners, text.encode(), 0o640, group)

    def marker(self, name: str) -> Path:
        """What the installer says it has put in place for a tenant's name: the digest of the chain."""
        return self.data / "placed" / name

    def read_settings(self) -> dict[str, Any]:
        """What the role has written, and when its secrets were. Raises OSError, ValueError."""
        found: dict[str, Any] = json.loads(read(self.settings / "settings.json"))
        return {**found, "secrets": self.secrets()}

    def secrets(self) -> int:
        """When they were written. What is in them is for systemd to read; that they are others is seen."""
        try:
            return (self.settings / "secrets.env").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def read_asked(self) -> Asked:
        """What the operator has asked for last."""
        try:
            return Asked.of(json.loads(read(self.data / "asked.json")))
        except (OSError, ValueError):
            return Asked()

    def request(self, name: str) -> Path:
        """The signing request of a name."""
        return self.settings / "requests" / f"{name}.csr"

    def order(self, item: dict[str, Any]) -> Order:
        """An item of ``orders`` in the settings, with the key of its request."""
        try:
            request = x509.load_pem_x509_csr(read(self.request(item["name"])))
            key = digest(request)
        except (OSError, ValueError):
            key = None
        return Order(item["name"], tuple(item["hosts"]), key)

    def held(self, name: str) -> Held | None:
        """What the directory has issued for a name."""
        try:
            return held(read(self.own / "held" / f"{name}.pem"))
        except (OSError, TlsError):
            return None

    def placed(self) -> dict[str, str]:
        """What the installer has put in place: name → digest of the chain."""
        try:
            return {str(name): str(value) for name, value in json.loads(read(self.data / "placed.json")).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def forget_placed(self, names: Collection[str]) -> None:
        """Have the client hand on once more what it holds for the names, without an order. Raises OSError."""
        placed = self.placed()
        kept = {name: value for name, value in placed.items() if name not in names}
        if kept != placed:
            self.write_placed(kept)

    def write_placed(self, placed: Mapping[str, str]) -> None:
        """Write it, whole. Raises OSError."""
        pem.put(self.data / "placed.json", f"{json.dumps(placed, sort_keys=True)}\n".encode(), 0o644)

    def waiting(self, name: str) -> bytes | None:
        """The chain of a name that was issued and is not in place yet."""
        try:
            chain = read(self.own / "held" / f"{name}.pem")
        except OSError:
            return None
        return None if self.placed().get(name) == hashlib.sha256(chain).hexdigest() else chain

    def read_state(self) -> dict[str, dict[str, Any]]:
        """What is known of each name; nothing where it cannot be read."""
        try:
            names = json.loads(read(self.own / "state.json"))["names"]
            return {name: entry for name, entry in names.items() if isinstance(entry, dict)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def write_state(self, names: dict[str, dict[str, Any]]) -> None:
        """Write it, whole."""
        text = json.dumps({"names": names}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        pem.put(self.own / "state.json", text.encode(), 0o644)

    def read_domains(self) -> dict[str, Any]:
        """What is known of tenants' names: ``names``, ``ordered`` (when, and for whose uid) and ``error``.

        Of nothing where it cannot be read.
        """
        try:
            found = json.loads(read(self.own / "domains.json", LARGEST_OF_ALL))
            names = {name: entry for name, entry in found["names"].items() if isinstance(entry, dict)}
            ordered = [(str(at), int(uid)) for at, uid in map(_order, found["ordered"])]
            return {"names": names, "ordered": ordered, "error": str(found["error"])}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {"names": {}, "ordered": [], "error": ""}

    def write_domains(self, text: str) -> None:
        """Write it, whole, as JSON."""
        pem.put(self.own / "domains.json", text.encode(), 0o644)

    def hand_on(self, name: str, chain: bytes) -> None:
        """Give the installer a chain. Made beside it: what is in the folder is what it takes."""
        new = self.own / f"{name}.issued"
        pem.put(new, chain, 0o644)
        new.replace(self.issued / f"{name}.pem")

    def handed_on(self, name: str) -> bool:
        """Whether the installer has not come to the chain of a name yet."""
        return (self.issued / f"{name}.pem").exists()


def _order(item: Any) -> Any:
    """Of an order that only says when, nobody knows whose it was."""
    return (item, 0) if isinstance(item, str) else item


def read(path: Path, largest: int = LARGEST) -> bytes:
    """A file that may be another user's: no link is followed, nothing is waited for. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        found = stream.read(largest + 1)
    if len(found) > largest:
        raise OSError(f"{path} is larger than {largest} bytes")
    return found


def held(chain: bytes) -> Held:
    """The certificate that begins a chain. Raises TlsError."""
    leaf = pem.read_chain(chain)[0]
    since, until = pem.validity(leaf)
    return Held(pem.hosts(leaf), digest(leaf), since, until)


def digest(thing: Any) -> str:
    """Of the public key of a certificate or a request."""
    return hashlib.sha256(pem.public(thing)).hexdigest()
