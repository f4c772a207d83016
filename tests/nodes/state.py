"""What a fleet consists of, as written to its state file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.nodes.errors import NodesError

SCHEMA = 1


@dataclass
class Node:
    """One node that was started. number: its place in the subnet, the same in IPv4 and IPv6."""

    name: str
    release: str
    image: str
    container: str
    number: int
    address: str
    address6: str | None
    host_key: str
    control_dir: str
    publish: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class State:
    """A fleet: its network, nodes and domains (host name → node)."""

    fleet: str
    network: str
    subnet: str
    subnet6: str | None
    nodes: dict[str, Node] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)

    @property
    def addresses(self) -> dict[str, str]:
        """Node → IPv4 address."""
        return {name: node.address for name, node in self.nodes.items()}


def load(path: Path) -> State | None:
    """The state, or None when the fleet has none. Raises NodesError when the file is not one of ours."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise NodesError(f"{path} is damaged: {error}.", "Take the fleet down; that needs no state.") from error
    if data.pop("schema", None) != SCHEMA:
        raise NodesError(f"{path} was written by another version.", "Take the fleet down; that needs no state.")
    nodes = {
        name: Node(**{**node, "publish": [(pair[0], pair[1]) for pair in node["publish"]]})
        for name, node in data.pop("nodes").items()
    }
    return State(nodes=nodes, **data)


def save(path: Path, state: State) -> None:
    """Write the state atomically."""
    write(path, dumps(state))


def dumps(state: State) -> str:
    """The state as JSON text."""
    return json.dumps({"schema": SCHEMA, **asdict(state)}, indent=2) + "\n"


def write(path: Path, content: str, mode: int = 0o644) -> None:
    """Write a file atomically, so that a reader or a killed writer never leaves half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(content)
    temporary.chmod(mode)
    temporary.replace(path)
