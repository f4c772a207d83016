"""The table of rules as nft reads it. Every value is checked before it becomes a part of the text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FAMILY, TABLE = "inet", "streamfleet_firewall"
PROTOCOLS = ("tcp", "udp")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,59}")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,13}[A-Za-z0-9*]?")
_IP_PROTOCOL = re.compile(r"[a-z][a-z0-9-]{0,19}|[0-9]{1,3}")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")

_HEAD = f"""\
# Managed by Streamfleet, role firewall. What may reach this host from outside, and nothing else. No other table is
# touched. What containers publish by NAT is forwarded and does not come by here.
table {FAMILY} {TABLE}
delete table {FAMILY} {TABLE}
table {FAMILY} {TABLE} {{
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname "lo" accept
    # ICMP, of both versions: IPv6 does not work without it, and IPv4 finds out by it how long packets may be.
    meta l4proto {{ 1, 58 }} accept
    # Answers to broadcasts, which belong to no connection: the host's own address may come by them.
    meta nfproto ipv4 udp sport 67 udp dport 68 accept
    ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept
"""
_FOOT = """\
    counter comment "refused"
  }
}
"""


class RulesError(Exception):
    """An option that cannot be a rule; the text names option, value and fix."""


@dataclass(frozen=True, order=True)
class Ports:
    """TCP or UDP ports, the first to the last."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True)
class Opening:
    """Ports of ``protocol`` that are open to the networks of ``sources``, or to everybody when there are none."""

    name: str
    protocol: str
    ports: tuple[Ports, ...]
    sources: tuple[str, ...] = ()

    def covers(self, protocol: str, port: int) -> bool:
        """Whether it says something of this port, for whomever."""
        return protocol == self.protocol and any(ports.first <= port <= ports.last for ports in self.ports)


@dataclass(frozen=True)
class Rules:
    """All that is let in. ``ssh``: the ports of the host's SSH server, open to ``ssh_sources``; none: to everybody."""

    openings: tuple[Opening, ...]
    ssh_sources: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Rules:
        """From the options of the module streamfleet_firewall. Raises RulesError."""
        return cls(
            tuple(_opening(item, f"open[{number}]") for number, item in enumerate(options["open"])),
            networks(options["ssh_sources"], "ssh_sources"),
            tuple(
                _matching(_INTERFACE, text, "interfaces", "a name as ip link shows it")
                for text in options["interfaces"]
            ),
            tuple(
                _matching(_IP_PROTOCOL, text, "protocols", "a name or number of /etc/protocols")
                for text in options["protocols"]
            ),
        )

    def text(self, ssh: Iterable[int]) -> str:
        """The table, made anew in one transaction; ``ssh``: the ports of the host's SSH server."""
        openings = list(self.openings)
        ports = tuple(Ports(port, port) for port in sorted(set(ssh)))
        if ports:
            openings.insert(0, Opening("ssh", "tcp", ports, self.ssh_sources))
        lines = [f'iifname "{name}" accept' for name in self.interfaces]
        if self.protocols:
            lines.append(f"meta l4proto {{ {', '.join(self.protocols)} }} accept")
        for opening in openings:
            lines += _lines(opening)
        return _HEAD + "".join(f"    {line}\n" for line in lines) + _FOOT


def opened(text: str, protocol: str, port: int) -> bool:
    """Whether a table that ``Rules.text`` has made says something of this port, for whomever."""
    return any(
        ports.first <= port <= ports.last
        for found in re.finditer(rf"^ .*\b{protocol} dport {{ ([0-9, -]+) }} accept comment ", text, re.MULTILINE)
        for ports in (port_range(each, "ports") for each in found[1].split(", "))
    )


def port_range(text: str, option: str) -> Ports:
    """``80`` or ``10000-19999``. Raises RulesError."""
    found = _PORTS.fullmatch(text)
    if found:
        first, last = int(found[1]), int(found[2] or found[1])
        if 1 <= first <= last <= 65535:
            return Ports(first, last)
    raise RulesError(f"{option}: {text!r} is no port. Give a number from 1 to 65535, or two as in 10000-19999")


def networks(texts: Iterable[str], option: str) -> tuple[str, ...]:
    """Addresses and networks, IPv4 and IPv6, each as nft writes it. Raises RulesError."""
    found = []
    for text in texts:
        try:
            found.append(str(ipaddress.ip_network(text)))
        except ValueError as error:
            raise RulesError(
                f"{option}: {text!r} is no network ({error}). Give one as in 192.0.2.0/24 or 2001:db8::/32"
            ) from None
    return tuple(found)


def _opening(item: Mapping[str, Any], option: str) -> Opening:
    name = _matching(_NAME, item["name"], f"{option}.name", "up to 60 letters, digits, spaces and ._/-")
    if item["protocol"] not in PROTOCOLS:
        raise RulesError(f"{option}.protocol: {item['protocol']!r} is not one of {', '.join(PROTOCOLS)}")
    if not item["ports"]:
        raise RulesError(f"{option}.ports: is empty. Name the ports of {name}")
    ports = (port_range(text, f"{option}.ports") for text in item["ports"])
    return Opening(name, item["protocol"], _merged(ports), networks(item["sources"], f"{option}.sources"))


def _merged(ports: Iterable[Ports]) -> tuple[Ports, ...]:
    """In order, and none overlapping: nft refuses a set in which two do."""
    found: list[Ports] = []
    for each in sorted(ports):
        if found and each.first <= found[-1].last + 1:
            found[-1] = Ports(found[-1].first, max(found[-1].last, each.last))
        else:
            found.append(each)
    return tuple(found)


def _matching(pattern: re.Pattern[str], text: str, option: str, meant: str) -> str:
    if not pattern.fullmatch(text):
        raise RulesError(f"{option}: {text[:80]!r} is not {meant}")
    return text


def _lines(opening: Opening) -> list[str]:
    to = f'{opening.protocol} dport {{ {", ".join(map(str, opening.ports))} }} accept comment "{opening.name}"'
    if not opening.sources:
        return [to]
    found = []
    every = [ipaddress.ip_network(text) for text in opening.sources]
    four = ipaddress.collapse_addresses(each for each in every if isinstance(each, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(each for each in every if isinstance(each, ipaddress.IPv6Network))
    for word, texts in (("ip", [str(each) for each in four]), ("ip6", [str(each) for each in six])):
        if texts:
            found.append(f"{word} saddr {{ {', '.join(texts)} }} {to}")
    return found
