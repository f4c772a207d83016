"""Hosts files: of the nodes, and of commands that shall resolve the nodes' names on this machine."""

from __future__ import annotations

from collections.abc import Mapping

MARK = "# streamfleet test nodes"


def entries(addresses: Mapping[str, str], domains: Mapping[str, str]) -> list[str]:
    """Lines `address name…`, one a node: its own name first, then the domains that point to it.

    addresses: node → IPv4 address; domains: host name → node.
    """
    lines = []
    for node, address in addresses.items():
        names = [node, *sorted(name for name, target in domains.items() if target == node)]
        lines.append(f"{address} {' '.join(names)}")
    return lines


def node_file(addresses: Mapping[str, str], domains: Mapping[str, str]) -> str:
    """Content of /etc/hosts inside a node."""
    base = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    return "\n".join([*base, MARK, *entries(addresses, domains)]) + "\n"


def machine_file(original: str, addresses: Mapping[str, str], domains: Mapping[str, str]) -> str:
    """This machine's hosts file with the nodes in front, so that they win over older entries."""
    return "\n".join([MARK, *entries(addresses, domains), original.rstrip("\n")]) + "\n"
