"""A rolling upgrade over three nodes says beforehand whom it will touch, touches nobody else, and stops where it must.

Tests playbooks: upgrade.yml. From an earlier release, with the panel, in tests/live/test_upgrade.py.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from streamfleet.http import Client

from demo import media
from demo.show import credentials, wait_until_running
from tests.live.streams import Listener, Source
from tests.live.upgrades import Run, playbook
from tests.nodes.fleet import Domain, Fleet, NodeSpec

pytestmark = [pytest.mark.live, pytest.mark.full]

NODES = ("n1", "n2", "n3")
PANEL = "panel.upgrade.localhost"
MEANT = ("-e", "upgrade_allow_restarts=yes")
#: A change that the RTMP server reads only when it starts.
CHANGE = {"streamfleet_nginx_rtmp_hls_fragment_seconds": 3, "streamfleet_nginx_rtmp_restart": "always"}


@dataclass
class Fleet3:
    """Three nodes with Icecast, the first with the panel, the last with an RTMP server."""

    fleet: Fleet
    folder: Path

    def begin(self, name: str, *arguments: str) -> Run:
        """Begin a run of a playbook."""
        inventories = [self.fleet.inventory, self.folder / "hosts.json"]
        return playbook(inventories, name, *arguments)

    def play(self, name: str, *arguments: str, ok: bool = True) -> str:
        """Run a playbook, and return its output."""
        run = self.begin(name, *arguments)
        code = run.end()
        with (self.folder / "runs.log").open("a") as log:
            log.write(f"\n== {name} {arguments}\n{run.said}")
        assert (code == 0) is ok, run.said[-6000:]
        return run.said

    def inventory(self, **of_last: object) -> None:
        """Write the inventory; ``of_last`` are further variables of the last node."""
        hosts: dict[str, dict[str, object]] = {
            name: {"streamfleet_stream_host": f"{name}.upgrade.localhost"} for name in NODES
        }
        hosts["n3"] |= of_last
        groups = {
            "streamfleet_panel": {"hosts": {"n1": {}}},
            "streamfleet_nodes": {"hosts": hosts},
            "icecast": {"hosts": {name: {} for name in NODES}},
            "nginx_rtmp": {"hosts": {"n3": {}}},
        }
        address = self.fleet.node("n1").address
        shared = {
            "streamfleet_panel_host": PANEL,
            "streamfleet_panel_addresses": [address],
            "streamfleet_panel_allowed_hosts": ["127.0.0.1", "localhost", "[::1]", address],
        }
        everything = {"all": {"vars": shared, "children": groups}}
        (self.folder / "hosts.json").write_text(json.dumps(everything))

    def read(self, *command: str) -> str:
        """What a command says on the panel's host."""
        return str(self.fleet.exec("n1", command).stdout)

    def api(self) -> Client:
        """A client of the panel."""
        token = self.folder / "token"
        if not token.exists():
            made = self.read(
                "streamfleet-panel", "issue_token", "--name", "t", "--scope", "account", "--account", "admin"
            )
            token.write_text(json.loads(made)["token"])
            (self.folder / "ca.pem").write_text(self.read("cat", "/etc/streamfleet/ca/ca.pem"))
        address = self.fleet.node("n1").address
        return Client(f"https://{address}", token.read_text(), str(self.folder / "ca.pem"))

    def status(self, name: str) -> str:
        """Whether a node takes services."""
        return str(self.api().request("GET", f"/nodes/{name}").data["status"])

    def lock(self) -> str:
        """What is noted of the run that has the fleet."""
        return self.read("cat", "/run/streamfleet/fleet.lock")

    def rtmp(self) -> str:
        """The process of the RTMP server."""
        asked = ["systemctl", "show", "streamfleet-rtmp.service", "--property=MainPID", "--value"]
        return str(self.fleet.exec("n3", asked).stdout).strip()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet3]:
    """The fleet, installed from this tree, with a station on each node and a channel on the last."""
    it = Fleet3(Fleet(f"upgrade{secrets.token_hex(3)}"), Path(tmp_path_factory.mktemp("upgrade_fleet")))
    try:
        names = [Domain(f"{name}.upgrade.localhost", name) for name in NODES]
        it.fleet.up([NodeSpec(name) for name in NODES], [], [Domain(PANEL, "n1"), *names])
        it.inventory()
        it.play("install")
        stations = [
            {"slug": f"{name}-fm", "name": name, "customer": "ada", "engine": "icecast", "node": name} for name in NODES
        ]
        channel = {"slug": "n3-tv", "name": "TV", "customer": "ada", "engine": "nginx_rtmp", "node": "n3"}
        document = {"customers": [{"username": "ada"}], "media_services": [*stations, channel]}
        it.api().request("POST", "/apply", {"document": document})
        wait_until_running(it.api(), (*(f"{name}-fm" for name in NODES), "n3-tv"))
        yield it
    finally:
        it.fleet.down()


@dataclass
class Air:
    """A source and a listener of each station, and an encoder of the channel."""

    sources: list[Source]
    listeners: list[Listener]
    encoder: subprocess.Popen[str]

    def undisturbed(self) -> None:
        """No station has lost anything."""
        assert [source.error for source in self.sources] == [None] * len(NODES)
        for listener in self.listeners:
            assert (listener.heard.disconnects, listener.heard.lost_lines) == (0, 0), listener.heard
            assert listener.heard.longest_gap < 5, listener.heard


@pytest.fixture(scope="module")
def air(three: Fleet3) -> Iterator[Air]:
    """Everything on the air."""
    sources, listeners = [], []
    for name in NODES:
        service = three.api().request("GET", f"/media-services/{name}-fm").data
        address = three.fleet.node(name).address
        secret = credentials(three.api(), f"{name}-fm")["source_password"]
        sources.append(Source(address, service["port"], "/stream", secret))
        listeners.append(Listener(address, service["port"], address, "/stream"))
        sources[-1].start()
        assert sources[-1].accepted.wait(15), sources[-1].error
        listeners[-1].start()
        assert listeners[-1].playing.wait(15), listeners[-1].heard
    key = credentials(three.api(), "n3-tv")["stream_key"]
    url = f"rtmp://{three.fleet.node('n3').address}/live/{key}"
    encoder = subprocess.Popen(
        media.video_publisher(url, seconds=3000),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            encoder.wait(5)
        yield Air(sources, listeners, encoder)
    finally:
        encoder.kill()
        encoder.wait(20)
        for source in sources:
            source.stop()


def test_what_is_as_it_should_be_is_left_alone(three: Fleet3, air: Air) -> None:
    before = three.rtmp()
    said = three.play("upgrade")
    for name in NODES:
        assert f"{name}: touches nobody: " in said
    assert said.partition("PLAY RECAP")[2].count("changed=0 ") == len(NODES), said[-3000:]
    assert three.rtmp() == before
    assert air.encoder.poll() is None
    air.undisturbed()


def test_a_node_that_cannot_be_reached_ends_it_before_anything_is_changed(three: Fleet3, air: Air) -> None:
    three.inventory(**CHANGE)
    before = three.rtmp()
    three.fleet.pause("n2")
    try:
        said = three.play("upgrade", "-e", "upgrade_allow_restarts=yes", ok=False)
    finally:
        three.fleet.unpause("n2")
    assert "n2" in said.partition("UNREACHABLE!")[0].splitlines()[-1]
    # Not a task more on any host, and others may work again.
    assert re.findall(r"TASK \[(.*)\]", said.partition("UNREACHABLE!")[2]) == ["Give the fleet's lock back"]
    assert three.lock() == ""
    assert three.rtmp() == before
    assert air.encoder.poll() is None


def test_whom_it_touches_is_said_and_nobody_else_is_touched(three: Fleet3, air: Air) -> None:
    three.inventory(**CHANGE)
    before = three.rtmp()
    said = three.play("upgrade", ok=False)
    assert "n3: restart streamfleet-rtmp.service" in said
    assert "n3: TOUCHES 2 services on the air" in said
    assert "Streams would be interrupted on n3, as said above. Nothing was changed." in said
    assert three.rtmp() == before
    assert air.encoder.poll() is None
    said = three.play("upgrade", "-e", "upgrade_allow_restarts=yes")
    assert three.rtmp() != before
    # The one that was said. Of the paused node, what was lost is the test's own.
    assert air.encoder.wait(30) is not None
    for number in (0, 2):
        heard = air.listeners[number].heard
        assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
    nodes = three.api().request("GET", "/nodes").data["items"]
    assert {node["name"]: node["status"] for node in nodes} == dict.fromkeys(NODES, "active")


def test_a_node_that_is_lost_while_it_drains_takes_services_again_after_the_next_run(three: Fleet3, air: Air) -> None:
    three.inventory(**{**CHANGE, "streamfleet_nginx_rtmp_hls_fragment_seconds": 5})
    run = three.begin("upgrade", *MEANT)
    assert run.wait_for(lambda tasks: "Tell the panel" in tasks), run.said[-6000:]
    deadline = time.monotonic() + 60
    while three.status("n3") != "draining":
        assert time.monotonic() < deadline, run.said[-6000:]
        time.sleep(0.2)
    three.fleet.pause("n3")
    try:
        assert run.end(300) != 0
    finally:
        three.fleet.unpause("n3")
    assert "UNREACHABLE" in run.said
    assert three.status("n3") == "draining"
    said = " ".join(three.play("upgrade", *MEANT).split())
    assert "had left these draining; they take services again: n3." in said
    assert three.status("n3") == "active"
    assert three.read("sh", "-c", "ls /var/lib/streamfleet/upgrade/draining-*; true") == ""


def test_a_node_that_is_lost_ends_it_for_the_nodes_after_it(three: Fleet3, air: Air) -> None:
    three.inventory(**{**CHANGE, "streamfleet_nginx_rtmp_hls_fragment_seconds": 6})
    before = three.rtmp()
    run = three.begin("upgrade", *MEANT)
    # It is the second host's turn.
    first = "Stop where a host before was lost"
    assert run.wait_for(lambda tasks: tasks.count(first) == 2), run.said[-6000:]
    three.fleet.pause("n2")
    try:
        assert run.end(600) != 0
    finally:
        three.fleet.unpause("n2")
    said = " ".join(run.said.rpartition(f"TASK [{first}]")[2].split())
    assert (
        "n2 did not get to the end of its upgrade, so no further host is upgraded; those from n3 on are as they" in said
    )
    assert three.rtmp() == before
    assert three.lock() == ""
    three.play("upgrade", *MEANT)
    assert three.rtmp() != before
    assert {name: three.status(name) for name in NODES} == dict.fromkeys(NODES, "active")
    for number in (0, 2):
        heard = air.listeners[number].heard
        assert (heard.disconnects, heard.lost_lines) == (0, 0), heard
