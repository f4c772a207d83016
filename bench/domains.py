"""Host names of tenants' own: what one more costs a node with 10,000 of them, against the same node with ten.

Whose a name is the panel finds out by the DNS of its owner, so here a double of the panel says that all are proved.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bench.figures import Results, median_seconds
from demo.stage import ROOT
from tests.doubles.panel import rtmp_channel
from tests.live.node import Node

SERVICES = 100
FEW, MANY = 10, 10_000
FOLDER = "/etc/streamfleet/domains"
ROLES = """\
---
- name: A node with channels and a web server
  hosts: streamfleet_nodes
  become: true
  vars:
    streamfleet_web_stream_host: stream.bench.test
  roles: [common, nginx_rtmp, web]
"""


def measure(results: Results) -> None:
    """All figures of this file, on a node of their own."""
    with tempfile.TemporaryDirectory(prefix="bench-domains") as folder:
        node = Node(Path(folder))
        (node.folder / "roles.yml").write_text(ROLES)
        with node.started():
            node.play(node.folder / "roles.yml")
            site = Site(node)
            few = site.one_more(FEW)
            many = site.one_more(MANY)
            replaced = site.replaced()
    results.add(f"one more host name of a tenant's, on a node with {MANY}, against one with {FEW}", many, few, 1.5)
    results.add("processes of the web server replaced by that", replaced, 1, 0, unit="processes")
    results.notes.append(
        f"Host names of tenants' are spread over {SERVICES} channels; measured is the whole of converge.yml."
    )


class Site:
    """The node and what it has."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._names = 0
        self._workers = self._running()

    def one_more(self, names: int) -> float:
        """Median seconds of a converge that adds one name, where there are so many already."""
        self._add(names - self._names)
        return median_seconds(lambda: self._add(1))

    def replaced(self) -> int:
        """How many of the web server's processes are others than at first: any reload replaces them all."""
        return len(self._running() - self._workers)

    def _add(self, more: int) -> None:
        self._names += more
        self._node.want(*(self._service(number) for number in range(SERVICES)))
        done = subprocess.run(
            self._node.command("playbooks/converge.yml"),
            env={**os.environ, **self._node.panel.environment()}, cwd=ROOT, text=True, capture_output=True, check=False,
            timeout=600,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"converge.yml failed: {(done.stdout + done.stderr)[-2000:]}")
        there = int(self._node.sh(f"ls {FOLDER} | wc -l"))
        if there != self._names:
            raise RuntimeError(f"{FOLDER} has {there} files instead of {self._names}")

    def _service(self, number: int) -> dict[str, Any]:
        names = [f"tv{name}.tenant{number}.example.com" for name in range(number, self._names, SERVICES)]
        return rtmp_channel(f"tv-{number}", 200001 + number, domains=sorted(names))

    def _running(self) -> set[str]:
        return set(self._node.sh("pgrep -P $(systemctl show -P MainPID nginx.service)").split())
