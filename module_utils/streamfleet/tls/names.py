"""The names that a certificate is for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import TlsError

#: Who makes a certificate: the own authority, an ACME directory, or the operator.
AUTHORITY, ACME, FILES = "authority", "acme", "files"

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True)
class Names:
    """``name`` is also its folder's; ``hosts`` and ``addresses`` are what it holds for, the name first.

    ``source``: who makes it.
    """

    name: str
    hosts: tuple[str, ...]
    addresses: tuple[str, ...]
    source: str = AUTHORITY

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Names:
        """From ``{"name", "alternatives", "addresses", "source"}``. Raises TlsError that names value and fix."""
        name = item["name"]
        hosts = tuple(dict.fromkeys([name, *(item.get("alternatives") or [])]))
        for host in hosts:
            plain = host.removeprefix("*.") if host != name else host
            if not _HOST.fullmatch(plain) or len(host) > 253:
                if not host.isascii():
                    raise TlsError(f"names: {host!r} is not as DNS has it; {_advice(host)}")
                raise TlsError(f"names: {host!r} is not a host name; use lower-case letters, digits, hyphens and dots")
        addresses = tuple(dict.fromkeys(item.get("addresses") or []))
        for address in addresses:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise TlsError(f"names: {name}: {address!r} is not an IP address") from None
        return cls(name, hosts, addresses, item.get("source") or AUTHORITY)

    @property
    def line(self) -> str:
        """All of them in one line, as they are noted beside the certificate."""
        return ",".join(dict.fromkeys([*self.hosts, *self.addresses]))


def a_label(host: str) -> str | None:
    """An international name as DNS has it (``xn--…``); None where Python's own rules (of 2003) would change it."""
    try:
        label = host.encode("idna").decode("ascii")
        return label if label.encode().decode("idna") == host.lower() else None
    except UnicodeError:
        return None


def _advice(host: str) -> str:
    label = a_label(host)
    return f"write it {label}" if label else "write it as an A-label (xn--…), which your registrar shows"
