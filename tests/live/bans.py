"""What fail2ban on a node counts and bans, and somebody elsewhere who guesses."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Self

from tests.live.node import NODE, Node
from tests.nodes.fleet import NodeSpec

#: The host that looks at the node from outside.
OTHER = "n2"

#: What fail2ban's filters read: the journals of all, tenants among them.
JOURNALS = "'systemd-journal[journalflags=1]'"
#: Ports at which a connection begins, one a line.
REACH = """\
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), timeout=3).close()
        print(port)
    except OSError:
        pass
"""


def counted_by(node: Node, name: str) -> int:
    """How many lines of the journals a filter counts."""
    said = node.sh(f"fail2ban-regex -l critical {JOURNALS} {name}")
    found = re.search(r"^Lines: \d+ lines, \d+ ignored, (\d+) matched", said, re.MULTILINE)
    assert found, said
    return int(found[1])


def accused(node: Node, name: str) -> Counter[str]:
    """The addresses for which a filter counts lines of the journals, and how many."""
    return Counter(node.sh(f"fail2ban-regex -l critical -o ip {JOURNALS} {name}").split())


def banned(node: Node, jail: str = "sshd") -> list[str]:
    """Addresses that a jail has banned."""
    return node.sh(f"fail2ban-client get {jail} banip").split()


def soon(what: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.5)


class Watched(Node):
    """A node beside another host that is none of the fleet; ``STREAMFLEET_LIVE_RELEASE`` is the release of both."""

    @contextlib.contextmanager
    def up(self) -> Iterator[Self]:
        """Both, bare, and the double of the panel."""
        release = os.environ.get("STREAMFLEET_LIVE_RELEASE", "bookworm")
        try:
            self.fleet.up([NodeSpec(NODE, release), NodeSpec(OTHER, release)])
            with self.panel.serving():
                yield self
        finally:
            self.fleet.down()


class Stranger:
    """Another host, of which the fleet knows nothing."""

    def __init__(self, node: Node, name: str) -> None:
        self._node, self._name = node, name

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return str(self._node.fleet.node(self._name).address)

    def run(self, script: str, *arguments: str) -> str:
        """What a script of Python says there."""
        done = self._node.fleet.exec(self._name, ["python3", "-", *arguments], stdin=script)
        return str(done.stdout).strip()

    def reaches(self, *ports: int) -> list[int]:
        """Those of the ports at which it can begin a connection to the node."""
        return [int(port) for port in self.run(REACH, self._node.address, *map(str, ports)).split()]
