"""What Icecast-KH alone does, on a node: common, certificates, icecast_kh, its companions, web, a double of the panel.

What every engine does is in test_engines.py. The program is a double (tests/doubles/icecast_kh), or with
``STREAMFLEET_LIVE_ICECAST_KH`` the real one, out of that archive. Sources, listeners, Liquidsoap, encoders and decoders
are real. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.

Tests roles: icecast_kh.
"""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamfleet.behaviour.counted import Frames
from streamfleet.behaviour.target import Target

from tests.doubles.icecast_kh import pack
from tests.doubles.panel import autodj, dj, playlist, relay
from tests.doubles.panel import kh_station as station
from tests.doubles.remote_radio import Radio
from tests.live.engines.icecast_kh import newer, variables
from tests.live.node import NODE, Node
from tests.live.shoutcast import Audience
from tests.live.test_check_mode import changes
from tests.live.test_relays import gateway_to
from tests.live.tones import Ears, Encoder, decoded, longest_silence, recording

pytestmark = [pytest.mark.live, pytest.mark.full]

STREAM = "stream.example.net"
FIRST = ("rock-fm", 200001, 8100)
SECOND = ("jazz-fm", 200002, 8101)
ROOT = "/opt/streamfleet/icecast_kh"
UNIT = "streamfleet-icecast_kh@{}.service"
SOURCE = "source-{}-secret"
DJS = 8150
#: What each plays, in Hz.
AUTODJ, NETWORK, ANNA, LIVE = 440, 880, 1320, 1760
ALL = (AUTODJ, NETWORK, ANNA, LIVE)
SOON = 40.0
SAFARI = "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15"

ROLES = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  roles: [common, certificates, icecast_kh, autodj, relay, web]
"""
ONE_ROLE = """\
---
- name: Install the engine
  hosts: streamfleet_nodes
  become: true
  roles: [icecast_kh]
"""


class Kh(Node):
    """The node, and the archive that its operator brought; somebody else's radio."""

    radio: Radio

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.brought = variables(folder)
        self.checksum = str(self.brought["streamfleet_icecast_kh_checksum"])
        self.ca = folder / "ca.pem"
        (folder / "engine.yml").write_text(ONE_ROLE)
        (folder / "roles.yml").write_text(ROLES)

    def know(self, gateway: str) -> None:
        """Write the inventory; ``gateway``: this machine, as the node sees it."""
        given = {
            **self.brought,
            "streamfleet_certificates_authority_host": NODE,
            "streamfleet_certificates_names": [{"name": STREAM}],
            "streamfleet_web_stream_host": STREAM,
            "streamfleet_web_default_host": STREAM,
            "streamfleet_relay_allowed_networks": [f"{gateway}/32"],
            "streamfleet_relay_resolvers": [gateway],
        }
        groups = {"streamfleet_nodes": {"hosts": {NODE: {}}, "vars": given}}
        (self.folder / "groups.json").write_text(json.dumps(groups))

    def engine(self, given: dict[str, Any], *arguments: str, ok: bool = True) -> str:
        """Run the engine's role alone, with other variables."""
        return self.play(self.folder / "engine.yml", "-e", json.dumps(given), *arguments, ok=ok)

    def listen(self, slug: str, path: str = "") -> Audience:
        """A listener through the web server, over TLS, who has been answered."""
        audience = Audience(self.address, 443, STREAM, f"/listen/{slug}{path}", ca=str(self.ca), titles=False)
        audience.start()
        assert audience.answered.wait(15)
        return audience

    def direct(self, port: int, path: str = "/stream") -> Audience:
        """A listener on a station's own port, who has been answered."""
        audience = Audience(self.address, port, self.address, path, titles=False)
        audience.start()
        assert audience.answered.wait(15)
        return audience

    def source(self, slug: str, port: int, path: str = "/stream") -> Frames:
        """Somebody who sends numbered frames."""
        word = SOURCE.format(slug)
        frames = Frames(Target("icecast", self.address, port, path, "source", word, word))
        deadline = time.monotonic() + 10
        while self.direct(port, path).stop().status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return frames

    def pid(self, slug: str) -> str:
        """The process of a station."""
        return self.sh(f"systemctl show --property MainPID --value {UNIT.format(slug)}")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kh]:
    """A node ready for stations, and the double of the panel, serving."""
    folder = Path(tmp_path_factory.mktemp("icecast-kh"))
    with Kh(folder).started() as it:
        gateway = gateway_to(it.address)
        it.know(gateway)
        it.radio = Radio(recording(folder / "network.mp3", NETWORK, 60, "-b:a", "128k").read_bytes())
        with it.radio.serving("0.0.0.0"):
            it.sh(f"echo '{gateway} network.example' >>/etc/hosts")
            it.play(folder / "roles.yml")
            it.ca.write_text(it.sh("cat /etc/streamfleet/ca/ca.pem"))
            yield it


@pytest.fixture
def two(node: Kh) -> Kh:
    """Two stations on the air."""
    told = node.converge(station(*FIRST), station(*SECOND))
    assert {item["state"] for item in told.values()} == {"running"}, told
    return node


@contextlib.contextmanager
def counted(node: Kh, slug: str, port: int) -> Iterator[None]:
    """A source and two listeners, one through the web server; at the end neither has lost anything."""
    source = node.source(slug, port)
    listeners = [node.listen(slug), node.direct(port)]
    try:
        for listener in listeners:
            assert listener.playing.wait(15), listener.heard
        yield
        assert source.on_air
        before = [listener.heard.bytes for listener in listeners]
        time.sleep(2)
        assert all(listener.heard.bytes > number for listener, number in zip(listeners, before, strict=True))
        for listener in listeners:
            heard = listener.stop()
            assert (heard.disconnects, heard.lost) == (0, 0), heard
            assert heard.frames > 50
    finally:
        source.stop()


# The role


def test_archives_that_are_none_are_refused_before_anything_happens(node: Kh) -> None:
    assert set(node.sh(f"ls {ROOT}").split()) == {node.checksum[:16], "current"}
    before = node.sh(f"ls -lR {ROOT}")
    head = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + struct.pack("<HH", 2, 243) + bytes(44)
    other, empty, broken = (node.folder / f"{name}.tar.gz" for name in ("other", "empty", "broken"))
    script = b"#!/bin/sh\necho error while loading shared libraries: libcurl.so.4 >&2\nexit 127\n"
    for files, archive, check, said in (
        ({"bin/icecast": head}, other, True, "bin/icecast: it is for machine 243 with 64 bits, and this node is"),
        ({"bin/icecast2": b"x"}, empty, True, "it holds no bin/icecast"),
        (
            {"bin/icecast": script},
            broken,
            False,
            "icecast -v ended with 127: error while loading shared libraries: libcurl",
        ),
    ):
        given = {"streamfleet_icecast_kh_source": str(archive), "streamfleet_icecast_kh_checksum": pack(archive, files)}
        output = node.engine(given, *(["--check"] if check else []), ok=False)
        assert said in " ".join(output.split()), output
    node.sh(f"rm {ROOT}/archive-*")
    assert node.sh(f"ls -lR {ROOT}") == before


def test_self_check_is_content_and_then_names_the_cause(two: Kh) -> None:
    arguments = ["-e", json.dumps({"entry": "self_check", "roles_in_order": ["icecast_kh"]})]
    assert two.changed(two.play(two.folder / "tasks.yml", *arguments)) == 0
    two.sh(f"systemctl stop {UNIT.format('rock-fm')}")
    assert "rock-fm on port 8100" in two.play(two.folder / "tasks.yml", *arguments, ok=False)
    two.converge(station(*FIRST), station(*SECOND))
    two.sh(f"mv {ROOT}/current {ROOT}/elsewhere")
    assert "Icecast-KH is not installed" in two.play(two.folder / "tasks.yml", *arguments, ok=False)
    two.sh(f"mv {ROOT}/elsewhere {ROOT}/current")
    # The program remembers for a while that its pages were not there.
    two.converge(station(*FIRST, restart=1), station(*SECOND, restart=1))


# Stations


def test_changes_are_heard_by_nobody_and_restart_nothing(two: Kh) -> None:
    """Of the station itself as little as of the other one."""
    third = ("third-fm", 200003, 8102)
    before = two.pid("rock-fm"), two.pid("jazz-fm")
    with counted(two, "rock-fm", 8100), counted(two, "jazz-fm", 8101):
        two.converge(station(*FIRST, name="Näw ]]> name"), station(*SECOND), station(*third))
        mounts = [{"name": "/stream", "bitrate_kbps": 128}, {"name": "/low", "max_listeners": 1}]
        two.converge(
            station(
                *FIRST,
                settings={"mounts": mounts},
                limits={"max_listeners": 3},
                credentials={"source_password": "x" * 8},
            ),
            station(*SECOND),
            station(*third, state="suspended"),
        )
        # In effect when the run has ended, old password and new limit alike.
        third_one = two.direct(8100)
        assert (third_one.heard.status, two.direct(8100).stop().status) == (200, 403)
        third_one.stop()
        two.converge(station(*FIRST), station(*SECOND), station(*third, state="deleted"))
        two.converge(station(*FIRST), station(*SECOND))
        two.engine({"streamfleet_icecast_kh_memory_max": "300M"})
        two.engine({})
    assert (two.pid("rock-fm"), two.pid("jazz-fm")) == before
    left = two.sh("ls /etc/streamfleet/instances/icecast_kh /var/lib/streamfleet/services /etc/streamfleet/routes")
    assert "third" not in left
    assert two.changed(two.play("playbooks/converge.yml")) == 0


def test_the_limit_of_the_service_holds_for_who_comes_either_way(two: Kh) -> None:
    mounts = [{"name": "/stream"}, {"name": "/low", "max_listeners": 1}]
    two.converge(station(*FIRST, settings={"mounts": mounts}, limits={"max_listeners": 3}), station(*SECOND))
    sources = [two.source("rock-fm", 8100), two.source("rock-fm", 8100, "/low")]
    time.sleep(2)
    low = [two.listen("rock-fm", "/low"), two.direct(8100, "/low")]
    high = [two.listen("rock-fm"), two.direct(8100), two.listen("rock-fm")]
    assert [listener.heard.status for listener in (*low, *high)] == [200, 403, 200, 200, 403]
    for thing in (*low, *high, *sources):
        thing.stop()


def test_safari_plays_at_once_through_the_web_server(two: Kh) -> None:
    source = two.source("rock-fm", 8100)
    asked = ["curl", "-s", "-o", "/dev/null", "-m", "3", "-A", SAFARI, "-w", "%{http_code} %{size_download}"]
    place = ["--cacert", "/etc/streamfleet/ca/ca.pem", "--resolve", f"{STREAM}:443:127.0.0.1"]
    told = two.fleet.exec(NODE, [*asked, *place, f"https://{STREAM}/listen/rock-fm/stream"], check=False).stdout.split()
    assert told[0] == "200"
    assert int(told[1]) > 16000
    sent_away = two.fleet.exec(NODE, [*asked, "http://127.0.0.1:8100/stream"], check=False).stdout.split()
    assert sent_away[0] == "302"
    source.stop()


def test_a_station_reaches_its_own_port_and_no_other(two: Kh) -> None:
    for port, reached in ((8100, True), (8101, False)):
        assert (two.tenant(200001, "127.0.0.1", port) == "open") == reached, port
    for path in ("instances/icecast_kh/jazz-fm/icecast.xml", "routes/jazz-fm.json"):
        assert "Permission denied" in two.sh(f"runuser -u sf200001 -- cat /etc/streamfleet/{path} 2>&1", check=False)
    said = two.sh("journalctl -o cat -t icecast_kh-rock-fm").splitlines()
    assert [line for line in said if "xml/" in line and "failed to" in line] == []


def test_autodj_dj_relay_and_broadcaster_take_over_from_each_other(two: Kh) -> None:
    """One listener's one connection throughout."""
    for number in range(2):
        path = recording(two.folder / f"{number}.mp3", AUTODJ, 60)
        text = base64.b64encode(path.read_bytes()).decode()
        target = f"/var/lib/streamfleet/media/200001/day/{number}.mp3"
        two.sh(f"mkdir -p {target.rpartition('/')[0]}")
        two.fleet.exec(NODE, ["sh", "-c", 'base64 -d >"$1"', "sh", target], stdin=text)
    network = relay("network", address=f"http://network.example:{two.radio.port}/live", reconnect_seconds=3)
    objects = {
        "settings": {**autodj(crossfade_seconds=2), "live_port": DJS},
        "playlists": [playlist("day", folder="day")],
        "djs": [dj("anna", grace_seconds=0)],
    }
    told = two.converge(station(*FIRST, **objects), station(*SECOND))
    assert {item["state"] for item in told.values()} == {"running"}, told
    two.sh("chown -R 200001:200001 /var/lib/streamfleet/media/200001")
    deadline = time.monotonic() + 90
    while True:
        ears = Ears(two.address, 8100, "/stream")
        time.sleep(1)
        if ears.status == 200:
            break
        ears.stop()
        assert time.monotonic() < deadline, two.sh("journalctl -u streamfleet-autodj@rock-fm --no-pager | tail -40")
    ears.await_tone(AUTODJ, ALL, within=SOON)
    begun = time.monotonic()
    anna = Encoder(two.address, DJS, "/anna", "secret-of-anna", ANNA, user="anna")
    ears.await_tone(ANNA, ALL, within=SOON)
    anna.stop()
    ears.await_tone(AUTODJ, ALL, within=SOON)
    two.converge(station(*FIRST, **objects, relays=[network]), station(*SECOND))
    ears.await_tone(NETWORK, ALL, within=SOON)
    encoder = Encoder(two.address, 8100, "/stream", SOURCE.format("rock-fm"), LIVE)
    ears.await_tone(LIVE, ALL, within=SOON)
    encoder.stop()
    ears.await_tone(NETWORK, ALL, within=SOON)
    two.converge(station(*FIRST, **objects), station(*SECOND))
    ears.await_tone(AUTODJ, ALL, within=SOON)
    assert not ears.ended
    ears.stop()
    assert longest_silence(decoded(ears.bytes_since(begun))) <= 0.5
    # The title that Liquidsoap has told the hidden mount.
    stats = two.sh("curl -s -u admin:admin-rock-fm-secret http://127.0.0.1:8100/admin/stats")
    assert "/autodj-mp3-128" in stats


# Upgrade


def test_an_upgrade_restarts_nobody_and_can_be_taken_back(two: Kh) -> None:
    given = newer(two.folder)
    with counted(two, "rock-fm", 8100):
        time.sleep(1)
        predicted = changes(two.engine(given, "--check"))
        output = two.engine(given)
        assert changes(output) == predicted != set()
        assert f"until they are restarted, which drops their listeners: {UNIT.format('jazz-fm')}" in output
        assert changes(two.engine(given)) == set()
    assert two.sh(f"cat {ROOT}/current/share/icecast/doc/changes.txt") == "2"
    assert {name for name, _host in changes(two.engine({}))} == {
        "icecast_kh : Make it the one that stations start with"
    }
    two.converge(station(*FIRST, restart=1), station(*SECOND, restart=1))
    assert "until they are restarted" not in two.engine({})
