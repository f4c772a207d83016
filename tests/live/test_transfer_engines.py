"""Stations of every engine that can be transferred go to another node, with a DJ, a relay, a library and its log-in.

Until they are held nobody notices; then everybody is off the air for seconds, and comes back by the address that was
known before. Icecast-KH and Shoutcast 2 are doubles, as docs/engines.md says; so is the radio that is relayed.
Tests playbooks: transfer.yml install.yml.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from streamfleet.behaviour import encoder
from streamfleet.behaviour.checks import Subject
from streamfleet.behaviour.counted import Frames, Listener
from streamfleet.behaviour.panel_client import ApiPanelClient
from streamfleet.behaviour.route import Route
from streamfleet.behaviour.target import Target
from streamfleet.client import Panel
from streamfleet.http import Client

from demo.show import wait_until_running
from demo.stage import ROOT
from tests.doubles.remote_radio import Radio
from tests.live import tones
from tests.live.engines import adapter, spec_of
from tests.live.returning import OFF_AIR, Returning, Sound, Staying, await_all, on_air
from tests.live.test_relays import gateway_to
from tests.live.transfers import Sftp
from tests.live.upgrades import Run
from tests.nodes.fleet import Domain, Fleet, NodeSpec
from tests.ports import free_port

pytestmark = [pytest.mark.live, pytest.mark.full]

NODES = ("n1", "n2")
PANEL = "panel.transfer.localhost"
#: Those of tests/live/test_upgrade_engines.py whose services can be transferred.
ENGINES = ("icecast", "icecast_kh", "shoutcast2")
COUNTED = {name: f"on-{name.replace('_', '-')}" for name in ENGINES}
AUTODJ, DJ, NETWORK = 440, 880, 1320
TONES = (AUTODJ, DJ, NETWORK)
#: Stations that are known by what they play → that, while everybody is there.
TOLD = {"jazz": DJ, "net": NETWORK}
SLUGS = (*COUNTED.values(), *TOLD)
#: Seconds in which an AutoDJ begins to be heard, on a machine with other things to do.
START = 120.0
SECRET = "kept-by-the-customer-1"
LOGIN = "ada.studio"


@dataclass
class Pair:
    """Two nodes, the first with the panel."""

    fleet: Fleet
    folder: Path
    radio: Radio

    def host(self, node: str) -> str:
        """The name of a node's streams."""
        return f"{node}.transfer.localhost"

    def address(self, node: str) -> str:
        return str(self.fleet.node(node).address)

    def sh(self, node: str, script: str) -> str:
        """What a script says on a node, as root."""
        return str(self.fleet.exec(node, ["sh", "-c", script]).stdout).strip()

    @contextlib.contextmanager
    def running(self, playbook: str, *given: str) -> Iterator[Run]:
        """A run of a playbook with these extra variables, which must succeed; a test that fails before ends it."""
        program = str(Path(sys.executable).parent / "ansible-playbook")
        command = [program, "-i", str(self.fleet.inventory), "-i", str(self.folder / "hosts.json"), playbook]
        environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        if (self.folder / "token").exists():
            environment["STREAMFLEET_URL"] = f"https://{self.address('n1')}"
            environment["STREAMFLEET_CA"] = str(self.ca)
            environment["STREAMFLEET_TOKEN"] = (self.folder / "token").read_text()
        run = Run([*command, *(word for one in given for word in ("-e", one))], ROOT, environment)
        try:
            yield run
            assert run.end() == 0, run.said[-8000:]
        except BaseException:
            run.kill()
            raise
        finally:
            with (self.folder / "runs.log").open("a") as log:
                log.write(f"\n== {playbook} {' '.join(given)}\n{run.said}")

    def play(self, playbook: str, *given: str) -> str:
        """What a run of a playbook has said, which must succeed."""
        with self.running(playbook, *given) as run:
            pass
        return run.said

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def api(self) -> Client:
        """A client of the panel."""
        token = self.folder / "token"
        if not token.exists():
            issue = "streamfleet-panel issue_token --name t --scope account --account admin"
            self.ca.write_text(self.sh("n1", "cat /etc/streamfleet/ca/ca.pem") + "\n")
            token.write_text(json.loads(self.sh("n1", issue))["token"])
        return Client(f"https://{self.address('n1')}", token.read_text(), str(self.ca))

    def get(self, path: str) -> Any:
        return self.api().request("GET", path).data

    def route(self, node: str) -> Route:
        """How a node is reached."""
        return Route(self.address(node), str(self.ca))

    def subject(self, engine: str, node: str) -> Subject:
        """The counted station of an engine, as people reach it by way of a node."""
        client = ApiPanelClient(Panel(self.api()), "ada", spec_of(engine), "n1", START)
        return Subject(COUNTED[engine], spec_of(engine), client, self.route(node))

    def anna(self) -> Target:
        """Where the DJ connects to, at the address that the panel shows."""
        service = self.get("/media-services/jazz")
        return Target(
            "icecast", self.address(service["node"]), int(service["live_port"]), "/anna", "anna", SECRET, SECRET
        )

    def ears(self, node: str, slug: str) -> tones.Ears:
        """Somebody who listens by the web server of a node."""
        deadline = time.monotonic() + START
        while True:
            it = tones.Ears(self.address(node), 443, f"/listen/{slug}/stream", self.host(node), str(self.ca))
            time.sleep(1)
            if it.status == 200:
                return it
            it.stop()
            assert time.monotonic() < deadline, self.sh("n1", "journalctl -n 60 --no-pager")

    def hears(self, node: str, slug: str, tone: int) -> None:
        """A listener who comes by a node gets this."""
        ears = self.ears(node, slug)
        try:
            ears.await_tone(tone, TONES, within=START)
        finally:
            ears.stop()

    def sftp(self, node: str, *batch: str) -> str:
        """What the customer is told by a node's SFTP."""
        return Sftp(self.folder, self.address(node), LOGIN, SECRET).run(*batch)

    def units(self, node: str) -> set[str]:
        """Kinds of units that are there of the customer's stations."""
        said = self.sh(node, "systemctl list-units --plain --no-legend 'streamfleet-*@*'")
        named = [line.split()[0].removeprefix("streamfleet-") for line in said.splitlines()]
        return {name.partition("@")[0] for name in named if "@bob-fm." not in name}

    def left(self, node: str) -> str:
        """What is on a node of the customer's stations and library, and of a transfer."""
        return self.sh(
            node,
            "ls -d /var/lib/streamfleet/media/* /var/lib/streamfleet/services/* /etc/streamfleet/instances/*/*"
            " /etc/streamfleet/routes/* /var/lib/streamfleet/transfer/* /run/streamfleet-transfer/* 2>/dev/null"
            " | grep -v bob-fm; grep streamfleet-transfer /var/lib/streamfleet-converge/.ssh/authorized_keys; true",
        )


@dataclass
class Air:
    """Everybody who sends and listens, at addresses that they keep to."""

    sources: dict[str, Returning]
    listeners: dict[str, Staying]
    #: How often each of them had connected when that was noted.
    noted: dict[str, int] = field(default_factory=dict)

    def times(self) -> dict[str, int]:
        """How often each of them has connected."""
        sources = {name: source.times for name, source in self.sources.items()}
        return sources | {name: len(listener.connections) for name, listener in self.listeners.items()}

    def note(self) -> None:
        """From now on is counted."""
        self.noted = self.times()
        for listener in self.listeners.values():
            listener.silence_from_here()

    def nobody_has_noticed(self) -> None:
        """All have the connection that was noted, and nothing is missing of it."""
        assert self.times() == self.noted
        assert [name for name, source in self.sources.items() if not source.on_air] == []
        for name, listener in self.listeners.items():
            connection = listener.connections[-1]
            count = connection.count
            assert connection.is_alive(), (name, count)
            assert (count.lost, count.faults) == (0, []), (name, count)
            assert count.pieces > (300 if isinstance(connection, Listener) else 10), (name, count)
            assert count.gap < connection.longest_gap, (name, count)
            assert listener.silence < connection.longest_gap, (name, listener.silence)

    def came_back(self, output: str) -> None:
        """All are on the air again, after as many seconds off it as the run says; each was cut off once."""
        await_all(self.sources, self.listeners)
        # Who comes back is there to stay.
        time.sleep(10)
        await_all(self.sources, self.listeners)
        lost = {name: round(listener.silence, 1) for name, listener in self.listeners.items()}
        announced = re.search(r"off the air for (\d+) seconds", output)
        print(f"off the air, in seconds: {lost}; {announced and announced[0]}")
        assert max(lost.values()) < OFF_AIR, lost
        assert announced is not None, output[-4000:]
        assert abs(int(announced[1]) - max(lost.values())) < 20, lost
        assert self.times() == {name: number + 1 for name, number in self.noted.items()}
        for name, listener in self.listeners.items():
            assert listener.connections[-1].count.lost == 0, (name, listener.connections[-1].count)


def inventory(pair: Pair) -> None:
    """Write the inventory: both nodes alike, the first with the panel."""
    gateway, address = gateway_to(pair.address("n1")), pair.address("n1")
    brought = {key: value for name in ENGINES for key, value in adapter(name).variables(pair.folder).items()}
    both: dict[str, Any] = {"hosts": {name: {} for name in NODES}}
    companions = ("autodj", "relay", "file_transfer")
    groups: dict[str, Any] = dict.fromkeys((*ENGINES, *companions), both)
    hosts = {name: {"streamfleet_stream_host": pair.host(name)} for name in NODES}
    shared = {
        **brought,
        "streamfleet_panel_host": PANEL,
        "streamfleet_panel_addresses": [address],
        "streamfleet_panel_allowed_hosts": ["127.0.0.1", "localhost", "[::1]", address],
        "streamfleet_relay_allowed_networks": [f"{gateway}/32"],
        "streamfleet_relay_resolvers": [gateway],
    }
    groups |= {"streamfleet_panel": {"hosts": {"n1": {}}}, "streamfleet_nodes": {"hosts": hosts}}
    (pair.folder / "hosts.json").write_text(json.dumps({"all": {"vars": shared, "children": groups}}))


def know_the_radio(pair: Pair) -> None:
    """Have both nodes find it by its name. A fleet that is started again has forgotten it."""
    line = f"{gateway_to(pair.address('n1'))} network.example"
    for name in NODES:
        pair.sh(name, f"grep -qx '{line}' /etc/hosts || echo '{line}' >>/etc/hosts")


def declare(pair: Pair) -> None:
    """The customer's stations, DJ, relay and log-in."""
    station = {"customer": "ada", "node": "n1"}
    relayed = f"http://network.example:{pair.radio.port}/live"
    document = {
        "customers": [{"username": "ada"}, {"username": "bob"}],
        "media_services": [
            *({**station, "slug": slug, "engine": engine} for engine, slug in COUNTED.items()),
            {**station, "slug": "jazz", "engine": "icecast", "autodj": {"crossfade_seconds": 0}},
            {**station, "slug": "net", "engine": "icecast"},
            # It has the other node's first ports.
            {"slug": "bob-fm", "customer": "bob", "engine": "icecast", "node": "n2"},
        ],
        "playlists": [{"media_service": "jazz", "name": "all", "folder": "music"}],
        "djs": [{"media_service": "jazz", "username": "anna", "password": SECRET, "grace_seconds": 0}],
        "relays": [
            {"media_service": "net", "name": "network", "direction": "in", "address": relayed, "reconnect_seconds": 3}
        ],
        "media_users": [{"customer": "ada", "name": "studio", "password": SECRET}],
    }
    Panel(pair.api()).apply(document)
    wait_until_running(pair.api(), (*SLUGS, "bob-fm"), START)


def bring(pair: Pair) -> None:
    """The customer's library, by SFTP: what the AutoDJ plays, and so much else that the copy takes a while."""
    music = [tones.recording(pair.folder / f"{number}.mp3", AUTODJ, 30.0) for number in range(3)]
    large = pair.folder / "large.bin"
    large.write_bytes(os.urandom(200_000_000))
    puts = [f"put {path} music/{path.name}" for path in music]
    said = pair.sftp("n1", "mkdir music", *puts, f"put {large} large.bin", "ls -1")
    large.unlink()
    assert said.split()[-2:] == ["large.bin", "music"], said


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both nodes, installed, with the customer's stations on the first.

    ``STREAMFLEET_LIVE_FLEET`` names a fleet to keep and use again, for the inner loop: with stations on the first node.
    """
    kept = os.environ.get("STREAMFLEET_LIVE_FLEET")
    folder = ROOT / ".cache" / f"live-{kept}" if kept else Path(tmp_path_factory.mktemp("transfer_engines"))
    folder.mkdir(parents=True, exist_ok=True)
    fleet = Fleet(kept or f"transfer{secrets.token_hex(3)}")
    sound = tones.recording(folder / "network.mp3", NETWORK, 60, "-b:a", "128k").read_bytes()
    it = Pair(fleet, folder, Radio(sound))
    place = folder / "radio"
    it.radio.port = int(place.read_text()) if place.exists() else free_port()
    try:
        names = [Domain(it.host(name), name) for name in NODES]
        fleet.up([NodeSpec(name) for name in NODES], [], [Domain(PANEL, "n1"), *names])
        place.write_text(str(it.radio.port))
        know_the_radio(it)
        with it.radio.serving("0.0.0.0"):
            if not (folder / "token").exists():
                inventory(it)
                it.play("playbooks/install.yml")
                declare(it)
                bring(it)
            yield it
    finally:
        if not kept:
            fleet.down()


def people(pair: Pair, node: str) -> Air:
    """Of every station who sends to it and who listens, at the addresses that it has; ``node``: where it is."""
    sources, listeners = {}, {}
    route = pair.route(node)
    for engine, slug in COUNTED.items():
        subject = pair.subject(engine, node)
        target, url = subject.target(), subject.url
        assert url.startswith(f"https://{pair.host(node)}/listen/{slug}/"), url
        direct = f"http://{pair.host(node)}:{target.port}/stream"
        sources[slug] = Returning(partial(Frames, target))
        listeners[f"{slug}, by the web server"] = Staying(partial(Listener, route, url))
        listeners[f"{slug}, at its port"] = Staying(partial(Listener, route, direct))
    sources["anna"] = Returning(partial(encoder.Encoder, pair.anna(), "audio", DJ))
    for slug in TOLD:
        listeners[slug] = Staying(partial(Sound, route, f"https://{pair.host(node)}/listen/{slug}/stream"))
    return Air(sources, listeners)


@pytest.fixture(scope="module")
def air(pair: Pair) -> Iterator[Air]:
    """Everybody on the air at the former node's addresses, which they keep to until the end."""
    it = people(pair, "n1")
    with on_air(it.sources, it.listeners):
        pair.hears("n1", "jazz", DJ)
        pair.hears("n1", "net", NETWORK)
        yield it


def plays(pair: Pair, air: Air, node: str) -> None:
    """By way of a node the relay is heard, the DJ, the AutoDJ when the DJ is gone, and the DJ again."""
    pair.hears(node, "net", NETWORK)
    pair.hears(node, "jazz", DJ)
    with air.sources["anna"].resting():
        pair.hears(node, "jazz", AUTODJ)
    pair.hears(node, "jazz", DJ)


def gone(pair: Pair, air: Air, *given: str) -> str:
    """Run transfer.yml while everybody is on the air: nobody notices until the services are held, and all come back."""
    air.note()
    with pair.running("playbooks/transfer.yml", "transfer_customer=ada", *given) as run:
        assert run.wait_for(lambda tasks: "Hold the services" in tasks), run.said[-8000:]
        air.nobody_has_noticed()
        air.note()
    air.came_back(run.said)
    return run.said


def test_they_go_and_everybody_comes_back_by_the_former_address(pair: Pair, air: Air, tmp_path: Path) -> None:
    was = {slug: pair.get(f"/media-services/{slug}")["port"] for slug in SLUGS}
    air.note()
    going = ("transfer_customer=ada", "transfer_to=n2", "transfer_confirm=yes")
    with contextlib.ExitStack() as stack, pair.running("playbooks/transfer.yml", *going) as run:
        ears = {slug: pair.ears("n1", slug) for slug in TOLD}
        for one in ears.values():
            stack.callback(one.stop)
        begun = time.monotonic()
        assert run.wait_for(lambda tasks: "Copy while everything goes on" in tasks), run.said[-8000:]
        # Whoever brings files while they are copied is let in.
        (tmp_path / "late.txt").write_text("late")
        said = pair.sftp("n1", f"put {tmp_path / 'late.txt'} late.txt", "ls -1")
        assert "late.txt" in said.splitlines(), said
        assert run.wait_for(lambda tasks: "Hold the services" in tasks), run.said[-8000:]
        air.nobody_has_noticed()
        for slug, one in ears.items():
            assert not one.ended, slug
            assert tones.longest_silence(tones.decoded(one.bytes_since(begun))) <= 0.5, slug
            assert one.hears(TONES) == TOLD[slug], slug
        air.note()
    assert f"heard again: {', '.join(sorted(SLUGS))}" in run.said, run.said[-4000:]
    air.came_back(run.said)
    now = {slug: pair.get(f"/media-services/{slug}") for slug in SLUGS}
    assert {service["node"] for service in now.values()} == {"n2"}
    # One of its ports was somebody's there.
    assert any(service["port"] != was[slug] for slug, service in now.items())
    plays(pair, air, "n1")
    assert pair.sftp("n2", "ls -1").split()[-3:] == ["large.bin", "late.txt", "music"]
    assert "Permission denied" in pair.sftp("n1", "ls -1")
    assert pair.units("n1") == {"forward"}


def test_they_go_back_and_everybody_comes_back_again(pair: Pair, air: Air, tmp_path: Path) -> None:
    (tmp_path / "since.txt").write_text("since")
    pair.sftp("n2", f"put {tmp_path / 'since.txt'} since.txt")
    assert "on n1 as before" in gone(pair, air, "transfer_undo=true")
    assert {pair.get(f"/media-services/{slug}")["node"] for slug in SLUGS} == {"n1"}
    plays(pair, air, "n1")
    assert "since.txt" in pair.sftp("n1", "ls -1").split()
    assert "Permission denied" in pair.sftp("n2", "ls -1")
    assert pair.units("n2") == set()
    assert pair.left("n2") == ""


def test_they_go_for_good(pair: Pair, air: Air) -> None:
    gone(pair, air, "transfer_to=n2", "transfer_confirm=yes")
    plays(pair, air, "n1")
    # People were told the new addresses: those who have changed over notice nothing of the release.
    for source in air.sources.values():
        source.stop()
    there = people(pair, "n2")
    with on_air(there.sources, there.listeners):
        pair.hears("n2", "jazz", DJ)
        there.note()
        pair.play("playbooks/transfer.yml", "transfer_customer=ada", "transfer_release=true")
        time.sleep(5)
        there.nobody_has_noticed()
        plays(pair, there, "n2")
    assert pair.units("n1") == set()
    assert pair.left("n1") == ""
    assert "since.txt" in pair.sftp("n2", "ls -1").split()
