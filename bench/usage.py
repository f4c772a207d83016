"""What the measuring of use costs a node with 1,000 services, against the same node with ten.

Measured is the program itself, as it runs on the node, with its pauses left out: its rounds follow one another, and
each is told that it begins 15 seconds after the one before. Services are Icecast's, of which a few are on the air, each
with a source.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench.figures import Results
from tests.doubles.panel import station
from tests.live.node import NODE, Node, password
from tests.live.streams import Source, on_air

FEW, SOME, MANY = 10, 100, 1000
#: Stations on the air: a few, and as many as what one of them costs is seen from.
ON_AIR, MORE_ON_AIR = 5, 55
FIRST_PORT = 20000
#: Share of one core that a node with 1,000 services may spend on it.
MOST_OF_A_CORE = 0.05
ROLES = """\
---
- name: A node with stations whose use is measured
  hosts: streamfleet_nodes
  become: true
  roles: [common, icecast, sessions]
"""
#: A process that has just begun, as after an upgrade: in five minutes of its own it counts every folder and tells of
#: every service anew. Prints seconds of processor time for each round, the seconds between two, and what was measured.
ROUNDS = """\
import json, os, sys, tempfile, time
from streamfleet_usage.__main__ import ROUND, Measuring
with open(sys.argv[1]) as file, tempfile.TemporaryDirectory() as folder:
    settings = {**json.load(file), "folder": folder}
    now, begun, rounds = [0.0], time.time(), 20
    measuring = Measuring(settings, clock=lambda: now[0])
    before = time.process_time()
    for number in range(rounds):
        now[0] = number * ROUND
        measuring.round(begun + now[0])
    spent = time.process_time() - before
    told = [json.load(open(f"{folder}/{name}/usage.json")) for name in os.listdir(folder)]
heard = [item for item in told if item["sources"]]
print(json.dumps({"seconds": spent / rounds, "every": ROUND, "services": len(told), "on_air": len(heard)}))
"""


def measure(results: Results) -> None:
    """All figures of this file, on a node of their own."""
    with tempfile.TemporaryDirectory(prefix="bench-usage") as folder:
        node = Node(Path(folder))
        (node.folder / "roles.yml").write_text(ROLES)
        with node.started():
            node.play(node.folder / "roles.yml")
            # What is measured here must not be measured beside it.
            node.sh("systemctl stop streamfleet-usage.service")
            site = Site(node)
            few, some, many = (site.round_of(size, ON_AIR) for size in (FEW, SOME, MANY))
            busy = site.round_of(MANY, MORE_ON_AIR)
    each = "processor of a round that measures use"
    results.add(f"{each}, per service of {MANY}, against per service of {FEW} ({ON_AIR} on the air)",
                1e3 * many / MANY, 1e3 * few / FEW, 1, unit="ms")  # fmt: skip
    results.add(f"{each}, per service from the {SOME}th to the {MANY}th, against from the {FEW}th to the {SOME}th",
                1e3 * (many - some) / (MANY - SOME), 1e3 * (some - few) / (SOME - FEW), 1.25, unit="ms")  # fmt: skip
    share = f"against {MOST_OF_A_CORE:g} core"
    results.add(f"processor of measuring use, {MANY} services, {ON_AIR} on the air, {share}",
                many / site.every, MOST_OF_A_CORE, 1, unit="core")  # fmt: skip
    one = (busy - many) / (MORE_ON_AIR - ON_AIR)
    results.add(f"processor of measuring use, {MANY} services, all on the air, {share}",
                (many + one * (MANY - ON_AIR)) / site.every, MOST_OF_A_CORE, 1, unit="core")  # fmt: skip
    results.notes.append(
        f"Of {MANY} services on the air {MORE_ON_AIR} were; the rest is what those beyond {ON_AIR} cost each. What "
        "Icecast itself spends on its answers is not in it."
    )


class Site:
    """The node and what is on it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        #: Seconds from one round to the next, as the program says it.
        self.every = 0.0

    def round_of(self, services: int, running: int, runs: int = 3) -> float:
        """Median seconds of processor time of one round. Raises RuntimeError where not all of it was measured."""
        told = self._node.converge(*(self._service(number, number < running) for number in range(services)))
        states = [item["state"] for item in told.values()]
        if (states.count("running"), states.count("stopped")) != (running, services - running):
            raise RuntimeError(f"Of {services} services {running} were to run: {told}")
        with contextlib.ExitStack() as sources:
            for number in range(running):
                slug, port = f"radio-{number}", FIRST_PORT + number
                sources.enter_context(on_air(Source(self._node.address, port, "/stream", password(slug))))
            return statistics.median(self._round(services, running) for _ in range(runs))

    def _round(self, services: int, running: int) -> float:
        home = "/usr/lib/streamfleet/sessions"
        command = ["env", f"PYTHONPATH={home}", "PYTHONDONTWRITEBYTECODE=1"]
        command += ["/usr/bin/python3", "-P", "-c", ROUNDS, f"{home}/usage.json"]
        found = json.loads(self._node.fleet.exec(NODE, command).stdout)
        if (found["services"], found["on_air"]) != (services, running):
            raise RuntimeError(f"{services} services were to be measured, {running} of them on the air: {found}")
        self.every = float(found["every"])
        return float(found["seconds"])

    @staticmethod
    def _service(number: int, running: bool) -> dict[str, Any]:
        state = "running" if running else "stopped"
        return station(f"radio-{number}", 200001 + number, FIRST_PORT + number, state=state)
