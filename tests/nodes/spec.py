"""What a caller asks for: nodes, published ports, domains. Parsed and checked here, nowhere else. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.nodes.errors import NodesError

RELEASES = ("bookworm", "trixie")
DEFAULT_RELEASE = "bookworm"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


def checked_name(value: str, what: str) -> str:
    """Return value if it can name a fleet or node (a host name label of at most 32 characters)."""
    if not _NAME.fullmatch(value):
        raise NodesError(f"{what} {value!r} is not a valid name.", "Use a-z, 0-9 and '-', at most 32 characters.")
    return value


def checked_release(value: str) -> str:
    """Return value if it is a Debian release that nodes can be made of."""
    if value not in RELEASES:
        raise NodesError(f"Release {value!r} is not supported.", f"Use one of: {', '.join(RELEASES)}.")
    return value


@dataclass(frozen=True)
class NodeSpec:
    """One node of a fleet."""

    name: str
    release: str = DEFAULT_RELEASE

    def __post_init__(self) -> None:
        checked_name(self.name, "Node")
        checked_release(self.release)

    @classmethod
    def parse(cls, text: str) -> NodeSpec:
        """From `NAME` or `NAME:RELEASE`."""
        name, _, release = text.partition(":")
        return cls(name, release or DEFAULT_RELEASE)


@dataclass(frozen=True)
class Publish:
    """A port of a node, reachable at 127.0.0.1:host_port of this machine."""

    node: str
    host_port: int
    port: int

    def __post_init__(self) -> None:
        for value in (self.host_port, self.port):
            if not 1 <= value <= 65535:
                raise NodesError(f"Port {value} of --publish for node {self.node} is not valid.", "Use 1 to 65535.")

    @classmethod
    def parse(cls, text: str) -> Publish:
        """From `NODE:HOSTPORT:PORT`."""
        parts = text.split(":")
        if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
            raise NodesError(
                f"--publish {text!r} is not valid.", "Write NODE:HOSTPORT:PORT, for example node1:8443:443."
            )
        return cls(parts[0], int(parts[1]), int(parts[2]))


@dataclass(frozen=True)
class Domain:
    """A host name that resolves to a node, in every node and under `run`."""

    name: str
    node: str

    def __post_init__(self) -> None:
        if not _DOMAIN.fullmatch(self.name):
            raise NodesError(f"--domain {self.name!r} is not a valid host name.")
        # Names under .localhost are allowed: they resolve to the node in nodes and under `run`, and to loopback, where
        # ports are published, in browsers. (curl takes them for loopback always, whatever the hosts file says.)
        if self.name == "localhost":
            raise NodesError("--domain 'localhost' means loopback everywhere.", "Use a name under .test instead.")

    @classmethod
    def parse(cls, text: str) -> Domain:
        """From `NAME=NODE`."""
        name, separator, node = text.partition("=")
        if not separator:
            raise NodesError(
                f"--domain {text!r} is not valid.", "Write NAME=NODE, for example panel.example.test=node1."
            )
        return cls(name, node)


def check_request(nodes: list[NodeSpec], publish: list[Publish], domains: list[Domain], existing: set[str]) -> None:
    """Refuse a request that contradicts itself: a node named twice, a port twice, an unknown node.

    existing: names of nodes that the fleet already has.
    """
    names = [node.name for node in nodes]
    for name in names:
        if names.count(name) > 1:
            raise NodesError(f"Node {name} is given twice.")
    known = existing | set(names)
    ports = [item.host_port for item in publish]
    for item in publish:
        if item.node not in known:
            raise NodesError(
                f"--publish names node {item.node}, which the fleet does not have.", f"It has: {_listed(known)}."
            )
        if ports.count(item.host_port) > 1:
            raise NodesError(f"--publish gives port {item.host_port} of this machine twice.")
    seen: dict[str, str] = {}
    for domain in domains:
        if domain.node not in known:
            raise NodesError(
                f"--domain {domain.name} names node {domain.node}, which the fleet does not have.",
                f"It has: {_listed(known)}.",
            )
        if seen.setdefault(domain.name, domain.node) != domain.node:
            raise NodesError(f"--domain {domain.name} is given for two nodes: {seen[domain.name]} and {domain.node}.")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
