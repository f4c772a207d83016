"""Relays, for real, and by what is heard: one listener's one connection, a tone of its own for everybody who plays.

``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release. Somebody else's radio is a double in this process; somebody
else's Icecast is the real program, in a network of its own on the node.
"""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.panel import relay, station
from tests.doubles.remote_radio import Radio
from tests.live.node import NODE, Node, changed_tasks, counted, password
from tests.live.tones import Ears, Encoder, decoded, longest_silence, recording, tone

pytestmark = [pytest.mark.live, pytest.mark.full]

RADIO = ("rock-fm", 200001, 8100)
OTHER = ("jazz-fm", 200002, 8101)
UNIT = "streamfleet-relay@rock-fm.service"
STATE = "/var/lib/streamfleet/services/rock-fm/relay/state.json"

#: What the station plays by itself, what is relayed into it, its own live broadcaster.
OWN, NETWORK, LIVE = 440, 880, 1320
ALL = (OWN, NETWORK, LIVE)
SOON = 30.0
THERE = "10.99.0.2"
MOUNTS = [{"name": "/stream", "format": "mp3", "bitrate_kbps": 128, "fallback": "/own"}, {"name": "/own"}]

ROLES = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  gather_facts: false
  roles:
    - common
    - icecast
    - relay
  vars:
    streamfleet_relay_allowed_networks: [{gateway}/32, 10.99.0.0/24]
    streamfleet_relay_resolvers: [{gateway}]
"""

ICECAST = """\
<icecast><location>x</location><admin>a@example.net</admin><hostname>other</hostname>
<limits><clients>20</clients><sources>4</sources></limits>
<authentication><source-password>other-secret</source-password><admin-user>admin</admin-user>
<admin-password>other-admin</admin-password></authentication>
<listen-socket><port>8000</port></listen-socket><fileserve>0</fileserve>
<paths><basedir>/usr/share/icecast2</basedir><logdir>/tmp</logdir><webroot>/usr/share/icecast2/web</webroot>
<adminroot>/usr/share/icecast2/admin</adminroot></paths>
<logging><accesslog>-</accesslog><errorlog>-</errorlog><loglevel>2</loglevel></logging></icecast>
"""
ELSEWHERE = f"""set -eu
ip netns add other
ip link add there type veth peer name here netns other
ip addr add 10.99.0.1/24 dev there
ip link set there up
ip -n other addr add {THERE}/24 dev here
ip -n other link set here up
ip -n other link set lo up
base64 -d > /srv/other.xml
chmod 644 /srv/other.xml
systemd-run -q --unit=other-icecast -p User=nobody -p NetworkNamespacePath=/run/netns/other \
  /usr/bin/icecast2 -c /srv/other.xml
"""


class Studio(Node):
    """A node whose one station has relays; ``radio`` is what one of them takes over."""

    radio: Radio

    def show(self, *relays: dict[str, Any]) -> None:
        """Converge the station with these relays, beside the other station."""
        wanted = station(*RADIO, settings={"mounts": MOUNTS}, relays=list(relays))
        told = self.converge(wanted, station(*OTHER))
        assert {item["state"] for item in told.values()} == {"running"}, told

    @property
    def network(self) -> dict[str, Any]:
        """The relay of the radio into the station."""
        address = f"http://network.example:{self.radio.port}/live"
        return relay(
            "network", address=address, silence_seconds=5, reconnect_seconds=3, username="fm", password="secret"
        )

    def state(self, name: str) -> dict[str, Any]:
        """What the node says of a relay; nothing where it does not know it yet."""
        data = json.loads(self.sh(f"cat {STATE}"))
        return next((dict(item) for item in data["relays"] if item["name"] == name), {})

    def await_state(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Wait until the node says this of a relay."""
        deadline, found = time.monotonic() + SOON, {}
        while time.monotonic() < deadline:
            if self.sh(f"ls {STATE} 2>/dev/null", check=False):
                found = self.state(name)
                if all(found.get(key) == value for key, value in wanted.items()):
                    return found
            time.sleep(0.5)
        raise AssertionError(f"{found} instead of {wanted}\n{self.said()}")

    def said(self) -> str:
        """The journal of the relays."""
        return self.sh(f"journalctl -u {UNIT} -o cat --no-pager | tail -50")

    def process(self) -> str:
        """Which process the relays are."""
        return self.sh(f"systemctl show -p NRestarts,ExecMainPID {UNIT}")


def gateway_to(address: str) -> str:
    """This machine's address as the node sees it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return str(probe.getsockname()[0])


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A node with nothing on it, the panel's double, and somebody else's radio."""
    folder = Path(tmp_path_factory.mktemp("relays"))
    with Studio(folder).started() as node:
        gateway = gateway_to(node.address)
        (folder / "roles.yml").write_text(ROLES.replace("{gateway}", gateway))
        sound = recording(folder / "network.mp3", NETWORK, 60, "-b:a", "128k").read_bytes()
        node.radio = Radio(sound, login=("fm", "secret"))
        with node.radio.serving("0.0.0.0"):
            node.sh(f"printf '%s\\n' '{gateway} network.example' '127.0.0.1 inside.example' >> /etc/hosts")
            yield node


@pytest.fixture(scope="module")
def logs(bare: Studio) -> dict[str, str]:
    """Check, first and second run of the roles."""
    return bare.first_runs()


@pytest.fixture(scope="module")
def studio(bare: Studio, logs: dict[str, str]) -> Iterator[Studio]:
    """Two stations on the air; one plays a tone of its own all the time."""
    del logs
    bare.show()
    encoder = Encoder(bare.address, RADIO[2], "/own", password("rock-fm"), OWN)
    yield bare
    encoder.stop()


@pytest.fixture
def ears(studio: Studio) -> Iterator[Ears]:
    """A listener who hears the station's own tone, and must never be disconnected, nor hear nothing."""
    studio.show()
    deadline = time.monotonic() + SOON
    while True:
        it = Ears(studio.address, RADIO[2], "/stream")
        time.sleep(1)
        if it.status == 200:
            break
        it.stop()
        assert time.monotonic() < deadline
    it.await_tone(OWN, ALL, within=SOON)
    begun = time.monotonic()
    yield it
    assert not it.ended
    it.stop()
    assert longest_silence(decoded(it.bytes_since(begun))) <= 0.5


def test_roles_predict_what_they_change_and_change_it_once(bare: Studio, logs: dict[str, str]) -> None:
    assert changed_tasks(logs["check"]) == changed_tasks(logs["first"]) != []
    assert bare.changed(logs["second"]) == 0


def test_a_relay_in_is_heard_instead_of_what_the_station_plays_and_below_its_broadcaster(
    studio: Studio, ears: Ears
) -> None:
    """One listener's one connection throughout, and nobody of the other station notices."""
    with counted(studio, *OTHER[::2]):
        studio.show(studio.network)
        ears.await_tone(NETWORK, ALL, within=SOON)
        found = studio.await_state("network", state="connected", title=studio.radio.title)
        assert found["bytes"] > 16000
        assert found["since"]
        studio.play("playbooks/converge.yml")
        again = studio.play("playbooks/converge.yml")
        assert studio.changed(again) == 0
        encoder = Encoder(studio.address, RADIO[2], "/stream", password("rock-fm"), LIVE)
        ears.await_tone(LIVE, ALL, within=SOON)
        encoder.stop()
        ears.await_tone(NETWORK, ALL, within=SOON)
        # Without it the station plays on by itself.
        studio.show()
        ears.await_tone(OWN, ALL, within=SOON)
    assert studio.sh(f"systemctl is-active {UNIT}", check=False) == "inactive"


def test_it_connects_again_when_the_other_side_was_away_or_silent(studio: Studio, ears: Ears) -> None:
    studio.show(studio.network)
    ears.await_tone(NETWORK, ALL, within=SOON)
    process = studio.process()
    studio.radio.off()
    ears.await_tone(OWN, ALL, within=SOON)
    found = studio.await_state("network", state="waiting")
    assert "network.example" in found["last_error"] or "it has ended" in found["last_error"]
    studio.radio.on()
    ears.await_tone(NETWORK, ALL, within=SOON)
    studio.radio.silent = True
    ears.await_tone(OWN, ALL, within=SOON)
    assert "network: nothing has come for 5 seconds" in studio.said()
    studio.radio.silent = False
    ears.await_tone(NETWORK, ALL, within=SOON)
    assert studio.state("network")["reconnects"] >= 2
    assert studio.process() == process


def test_what_is_sent_out_arrives_and_one_relay_disturbs_no_other(studio: Studio, ears: Ears) -> None:
    """Another server gets what the station's listeners hear; a change of that relay does not touch the other."""
    script = base64.b64encode(ICECAST.encode()).decode()
    studio.fleet.exec(NODE, ["sh", "-c", ELSEWHERE], stdin=script)
    ends = {"direction": "out", "address": "icecast://other.example:8000/copy", "password": "wrong"}
    studio.sh(f"echo '{THERE} other.example' >> /etc/hosts")
    studio.show(studio.network, relay("out", **ends, reconnect_seconds=2))
    ears.await_tone(NETWORK, ALL, within=SOON)
    found = studio.await_state("out", state="waiting")
    assert found["last_error"] == "it does not take the user name and password"
    heard, process = studio.radio.heard, studio.process()
    studio.show(studio.network, relay("out", **{**ends, "password": "other-secret"}, reconnect_seconds=2))
    studio.await_state("out", state="connected")
    listen = f"nsenter --net=/run/netns/other curl -s -m 5 http://{THERE}:8000/copy | base64 -w0"
    sound = decoded(base64.b64decode(studio.sh(listen, check=False)))
    assert len(sound) > 8000
    assert tone(sound[-8000:], ALL) == NETWORK
    stats = studio.sh(f"nsenter --net=/run/netns/other curl -s http://{THERE}:8000/status-json.xsl")
    assert studio.radio.title in stats
    assert (studio.radio.heard, studio.process()) == (heard, process)
    studio.show(studio.network)
    time.sleep(2)
    assert (studio.radio.heard, studio.process()) == (heard, process)
    assert "other-secret" not in studio.said() + studio.sh("cat /var/lib/streamfleet/services/rock-fm/relay/state.json")


def test_nothing_inside_is_connected_to(studio: Studio, ears: Ears) -> None:
    """A name that leads inside, and an address of the public Internet that redirects there."""
    del ears
    inside = relay("inside", address="http://inside.example:8101/stream", mount="/own", reconnect_seconds=2)
    studio.radio.redirect = "http://inside.example:8101/stream"
    try:
        studio.show(studio.network, inside)
        for name in ("inside", "network"):
            found = studio.await_state(name, state="waiting")
            assert found["last_error"] == "leads to an address that is not public"
    finally:
        studio.radio.redirect = None
    assert "inside: leads to 127.0.0.1, which is not on the public Internet" in studio.said()
    # The firewall stands behind the guard: what the operator has opened is open, and nothing else.
    assert studio.tenant(200001, "127.0.0.1", 8101) in ("TimeoutError", "ConnectionRefusedError")
    there = gateway_to(studio.address), studio.radio.port
    assert studio.tenant(200001, *there) in ("TimeoutError", "ConnectionRefusedError")
    assert studio.tenant(200001, *there, group="streamfleet-relay") == "open"
    # A host that leaves the role's group loses its openings with the next run of install.yml.
    studio.play(studio.folder / "roles.yml", "-e", '{"streamfleet_common_tenant_openings": []}')
    assert "elements" not in studio.sh("for s in opened open4; do nft list set inet streamfleet_tenants $s; done")
    studio.play(studio.folder / "roles.yml")
    assert studio.tenant(200001, *there, group="streamfleet-relay") == "open"


def test_the_roles_find_faults_and_leave_nothing(studio: Studio, ears: Ears) -> None:
    del ears
    studio.show(studio.network)
    entry = ["-e", '{"roles_in_order": ["relay"], "entry": "self_check"}']
    studio.play(studio.folder / "tasks.yml", *entry)
    studio.sh(f"systemctl stop {UNIT}")
    assert "the relays do not run of rock-fm" in studio.play(studio.folder / "tasks.yml", *entry, ok=False)
    studio.show()
    studio.play(studio.folder / "tasks.yml", "-e", '{"roles_in_order": ["relay"], "entry": "uninstall"}')
    # Nor does the firewall let through what only relays needed.
    opened = studio.sh("for s in opened resolvers4 open4; do nft list set inet streamfleet_tenants $s; done")
    assert "elements" not in opened, opened
    left = "find / -xdev -name '*relay*' -path '*streamfleet*' -not -path '/proc/*' -not -path '*/python3*'"
    assert studio.sh(left) == ""
    again = studio.play(studio.folder / "tasks.yml", "-e", '{"roles_in_order": ["relay"], "entry": "uninstall"}')
    assert studio.changed(again) == 0
