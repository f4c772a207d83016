"""Where a server of the fleet may connect to for a tenant: the guard of every address that a tenant gives.

The panel asks when an address is declared, what renders asks again, and what connects asks for every address that a
name stands for, at the moment at which it connects. This file is all three's: the panel and the relays' program link
to it. Standard library only.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Union

#: What is not the public Internet: loopback, private, link-local (and so the clouds' metadata services), shared,
#: documentation, benchmarking, multicast, reserved.
NOT_PUBLIC_IPV4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
)
#: Of IPv6 only this is the public Internet, …
PUBLIC_IPV6 = "2000::/3"
#: … but for protocols' own, documentation, and what embeds an IPv4 address (Teredo, 6to4).
NOT_PUBLIC_IPV6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

#: Scheme → port where none is given.
PORTS = {"http": 80, "https": 443, "icecast": 8000, "icecasts": 443, "rtmp": 1935, "rtsp": 554}
ENCRYPTED = frozenset({"https", "icecasts"})
#: Below these only the web's own ports are open: what else listens there is no stream.
LOWEST_PORT, WEB_PORTS = 1024, (80, 443)
MOST_URL = 255

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?]*)([/?].*)?", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_REST = re.compile(r"[A-Za-z0-9/._~!$&'()*+,;=:@%?-]*")
#: Names that mean the host itself, or the services of a cloud's inside.
_INSIDE = frozenset({"localhost", "localdomain", "metadata.google.internal"})

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]  # noqa: UP007 - ansible-test takes | for an operation
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]  # noqa: UP007

_NOT_PUBLIC = tuple(ipaddress.ip_network(network) for network in (*NOT_PUBLIC_IPV4, *NOT_PUBLIC_IPV6))
_PUBLIC_IPV6 = ipaddress.ip_network(PUBLIC_IPV6)


class Refused(ValueError):
    """An address that nobody connects to for a tenant: what is wrong, and how to put it right.

    ``detail`` is for operators: it says more of the inside than a tenant may know.
    """

    def __init__(self, message: str, fix: str, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.detail = detail or message


@dataclass(frozen=True)
class Place:
    """An address in its parts. ``host`` is in lower case, an IPv6 one without brackets; ``path`` has the query, too."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def encrypted(self) -> bool:
        """By TLS."""
        return self.scheme in ENCRYPTED

    @property
    def authority(self) -> str:
        """Host and port as a request names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def place_of(url: str, schemes: Collection[str]) -> Place:
    """The parts of ``url``, if a tenant may name it. Raises Refused.

    A name is not looked up here: what it stands for is judged by ``vetted`` when somebody connects.
    """
    example = f"Write it as {'://… or '.join(schemes)}://…, e.g. {next(iter(schemes))}://radio.example.net:8000/stream."
    if len(url) > MOST_URL:
        raise Refused(f"has {len(url)} characters, at most {MOST_URL} fit", f"Shorten it to {MOST_URL} characters.")
    match = _URL.fullmatch(url)
    if match is None:
        raise Refused("is not an address with a scheme and a host", example)
    scheme, authority, rest = match[1].lower(), match[2], match[3] or "/"
    if scheme not in schemes:
        raise Refused(f"has the scheme {scheme[:20]}, which is not accepted here", example)
    if "@" in authority:
        fix = "Take them out, and give them as username and password."
        raise Refused("holds a user name or password", fix)
    if not _REST.fullmatch(rest):
        fix = "Write special characters of the path as %20 and so on, and leave out what follows a #."
        raise Refused("holds a character that no address has", fix)
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise Refused("has no host that is a name or an address", example)
    host = _host(parts[1].lower(), example)
    port = int(parts[2]) if parts[2] else PORTS[scheme]
    if not (LOWEST_PORT <= port <= 65535 or port in WEB_PORTS or port == PORTS[scheme]):
        ports = f"{', '.join(map(str, WEB_PORTS))} or {LOWEST_PORT} to 65535"
        raise Refused(f"names port {port}, which relays do not use", f"Use port {ports}.")
    return Place(scheme, host, port, rest if rest.startswith("/") else f"/{rest}")


def _host(host: str, example: str) -> str:
    if host.startswith("["):
        try:
            address: Address = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise Refused("has a host that is no IPv6 address", example) from None
        return _literal(address)
    host = host.removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # Programs read 127.1, 0x7f000001 and 2130706433 as 127.0.0.1: take the one form that is not ambiguous.
        try:
            address = ipaddress.IPv4Address(host)
        except ValueError:
            raise Refused("has a host that is no IPv4 address", "Write four numbers with dots between them.") from None
        return _literal(address)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        fix = "Write the name in letters, digits, hyphens and dots; one with other letters in its form with xn--."
        raise Refused("has a host that is no name", fix)
    if host in _INSIDE or labels[-1] in _INSIDE:
        raise Refused(f"names {host}, which is not on the public Internet", "Name a host of the public Internet.")
    if len(labels) < 2:
        raise Refused("has a host that is no full name", f"Write it with its domain, as {host}.example.net.")
    return host


def _literal(address: Address) -> str:
    if not is_public(address):
        raise Refused(f"names {address}, which is not on the public Internet", "Name a host of the public Internet.")
    return str(address)


def is_public(address: Address) -> bool:
    """Whether the address is one of the public Internet."""
    if address.version == 6 and address not in _PUBLIC_IPV6:
        return False
    return not any(address.version == network.version and address in network for network in _NOT_PUBLIC)


def networks_of(texts: Iterable[str]) -> list[Network]:
    """Networks as an operator writes them. Raises ValueError."""
    return [ipaddress.ip_network(text) for text in texts]


def vetted(addresses: Iterable[str], allowed: Collection[Network] = ()) -> list[str]:
    """All addresses that a name stands for, in their order, once each. Raises Refused if one of them is not public.

    One is enough: who answers for the name could let the others be tried first. ``allowed``: networks that an
    operator has opened.
    """
    found = list(dict.fromkeys(addresses))
    if not found:
        raise Refused("has no address", "Look whether the name is right.")
    for text in found:
        # What a mapped or scoped address really is decides.
        address: Address = ipaddress.ip_address(text.partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        judged: Address = mapped or address
        if is_public(judged) or any(judged.version == net.version and judged in net for net in allowed):
            continue
        # Names of the inside are not told what they stand for.
        detail = f"leads to {address}, which is not on the public Internet"
        raise Refused("leads to an address that is not public", "Name a host of the public Internet.", detail)
    return found
