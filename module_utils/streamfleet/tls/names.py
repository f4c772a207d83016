"""The names that a certificate is for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import TlsError

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True)
class Names:
    """``name`` is also its folder's; ``hosts`` and ``addresses`` are what it holds for, the name first."""

    name: str
    hosts: tuple[str, ...]
    addresses: tuple[str, ...]

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Names:
        """From ``{"name", "alternatives", "addresses"}``. Raises TlsError that names the value and the fix."""
        name = item["name"]
        hosts = tuple(dict.fromkeys([name, *(item.get("alternatives") or [])]))
        for host in hosts:
            plain = host.removeprefix("*.") if host != name else host
            if not _HOST.fullmatch(plain) or len(host) > 253:
                raise TlsError(f"names: {host!r} is not a host name; use lower-case letters, digits, hyphens and dots")
        addresses = tuple(dict.fromkeys(item.get("addresses") or []))
        for address in addresses:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise TlsError(f"names: {name}: {address!r} is not an IP address") from None
        return cls(name, hosts, addresses)

    @property
    def line(self) -> str:
        """All of them in one line, as they are noted beside the certificate."""
        return ",".join(dict.fromkeys([*self.hosts, *self.addresses]))
