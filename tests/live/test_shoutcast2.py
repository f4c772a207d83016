"""What Shoutcast 2 alone does, on a node: roles common, certificates, shoutcast2 and web, a double of the panel.

What every engine does is in test_engines.py, all that `make live` runs of it.

The Shoutcast server is a double (tests/doubles/shoutcast2), since the real one may not be passed on; docs/engines.md
says what that leaves open. Sources, listeners, encoder and decoder are real. ``STREAMFLEET_LIVE_RELEASE`` chooses the
Debian release.

Tests roles: shoutcast2.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.panel import shoutcast_station as station
from tests.doubles.shoutcast2 import PROGRAM, pack
from tests.live.node import NODE, Node
from tests.live.shoutcast import Audience, LegacySource, on_air
from tests.live.test_check_mode import changes

pytestmark = [pytest.mark.live, pytest.mark.full]

STREAM = "stream.example.net"
FIRST = ("rock-fm", 200001, 8100)
SECOND = ("jazz-fm", 200002, 8102)
ROOT = "/opt/streamfleet/shoutcast2"
UNIT = "streamfleet-shoutcast2@{}.service"
SOURCE, ADMIN = "source-{}-secret", "admin-{}-secret"

ROLES = """\
---
- name: Prepare the node
  hosts: streamfleet_nodes
  become: true
  roles:
    - common
    - certificates
    - shoutcast2
    - web
"""
# Where the vendor's archives are to be had, on the node itself.
VENDOR = f"""\
import http.server, ssl
server = http.server.HTTPServer(("127.0.0.1", 8443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
folder = "/etc/streamfleet/tls/{STREAM}/"
context.load_cert_chain(folder + "fullchain.pem", folder + "privkey.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
ONE_ROLE = """\
---
- name: Install the engine
  hosts: streamfleet_nodes
  become: true
  roles: [shoutcast2]
"""


class Shoutcast(Node):
    """The node, and the archive that its operator brought."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.archive = folder / "sc_serv2.tar.gz"
        self.checksum = pack(self.archive)
        self.ca = folder / "ca.pem"
        variables = {
            **self.brought(self.archive, self.checksum),
            "streamfleet_certificates_authority_host": NODE,
            "streamfleet_certificates_names": [{"name": STREAM}],
            "streamfleet_web_stream_host": STREAM,
            "streamfleet_web_default_host": STREAM,
        }
        groups = {"streamfleet_nodes": {"hosts": {NODE: {}}, "vars": variables}}
        (folder / "groups.json").write_text(json.dumps(groups))
        (folder / "roles.yml").write_text(ROLES)
        (folder / "engine.yml").write_text(ONE_ROLE)

    @staticmethod
    def brought(source: Path | str, checksum: str) -> dict[str, str]:
        """The operator's two variables."""
        return {"streamfleet_shoutcast2_source": str(source), "streamfleet_shoutcast2_checksum": checksum}

    def engine(self, variables: dict[str, Any], *arguments: str, ok: bool = True, **environment: str) -> str:
        """Run the engine's role alone, with other variables."""
        path = self.folder / "engine.yml"
        return self.play(path, "-e", json.dumps(variables), *arguments, ok=ok, **environment)

    def listen(self, slug: str, path: str = "", *, titles: bool = True) -> Audience:
        """A listener through the web server, over TLS, who has been answered."""
        audience = Audience(self.address, 443, STREAM, f"/listen/{slug}{path}", ca=str(self.ca), titles=titles)
        audience.start()
        assert audience.answered.wait(15)
        return audience

    def direct(self, port: int, path: str = "/stream") -> Audience:
        """A listener on a station's own port, who has been answered."""
        audience = Audience(self.address, port, self.address, path)
        audience.start()
        assert audience.answered.wait(15)
        return audience

    def pid(self, slug: str) -> str:
        """The process of a station."""
        return self.sh(f"systemctl show --property MainPID --value {UNIT.format(slug)}")

    def admin(self, port: int, slug: str, query: str) -> str:
        """Status of a request to a station's private pages."""
        url = f"http://{self.address}:{port}/admin.cgi?pass={ADMIN.format(slug)}&{query}"
        command = ["curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", url]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shoutcast]:
    """A node with nothing on it, and the double of the panel, serving."""
    with Shoutcast(Path(tmp_path_factory.mktemp("shoutcast"))).started() as node:
        yield node


@pytest.fixture(scope="module")
def node(bare: Shoutcast) -> Shoutcast:
    """A node ready for stations."""
    bare.play(bare.folder / "roles.yml")
    bare.ca.write_text(bare.sh("cat /etc/streamfleet/ca/ca.pem"))
    return bare


@pytest.fixture
def two(node: Shoutcast) -> Shoutcast:
    """Two stations on the air."""
    told = node.converge(station(*FIRST), station(*SECOND))
    assert {item["state"] for item in told.values()} == {"running"}
    return node


@contextlib.contextmanager
def counted(node: Shoutcast, slug: str, port: int) -> Iterator[None]:
    """A source and two listeners, one through the web server; at the end neither has lost anything."""
    with on_air(LegacySource(node.address, port, SOURCE.format(slug))) as source:
        listeners = [node.listen(slug), node.direct(port)]
        for listener in listeners:
            assert listener.playing.wait(15), listener.heard
        yield
        assert source.error is None
        before = [listener.heard.bytes for listener in listeners]
        time.sleep(2)
        assert all(listener.heard.bytes > number for listener, number in zip(listeners, before, strict=True))
        for listener in listeners:
            heard = listener.stop()
            assert (heard.disconnects, heard.lost) == (0, 0), heard
            assert heard.frames > 50


# The role


def test_the_server_is_where_its_checksum_says(node: Shoutcast) -> None:
    assert set(node.sh(f"ls {ROOT}").split()) == {node.checksum[:16], "current"}
    assert node.sh(f"readlink -e {ROOT}/current/sc_serv") == f"{ROOT}/{node.checksum[:16]}/sc_serv"
    assert node.sh(f"sha256sum <{ROOT}/current/sc_serv").split()[0] == hashlib.sha256(PROGRAM.read_bytes()).hexdigest()


def test_archives_that_are_none_are_refused_before_anything_happens(node: Shoutcast) -> None:
    empty, other = node.folder / "empty.tar.gz", node.folder / "other.tar.gz"
    no_program = pack(empty, {"readme.txt": b"x"})
    head = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + struct.pack("<HH", 2, 243) + bytes(44)
    other_machine = pack(other, {"sc_serv": head})
    before = node.sh(f"ls -lR {ROOT}")
    for source, checksum, said in (
        (node.archive, "0" * 64, f"its SHA-256 is {node.checksum}, and not {'0' * 64}"),
        (other, other_machine, "is for machine 243 with 64 bits, and this node is"),
        ("http://example.net/x.tar.gz", node.checksum, "neither an absolute path on the controller nor a URL"),
    ):
        # What can be seen without the node is seen in check mode, too.
        output = node.engine(node.brought(source, checksum), "--check", ok=False)
        assert said in " ".join(output.split()), output
        assert "failed=1" in output
    assert "holds no sc_serv" in node.engine(node.brought(empty, no_program), ok=False)
    (node.folder / "bare.json").write_text(json.dumps({"streamfleet_nodes": {"hosts": {NODE: {}}}}))
    command = node.command(node.folder / "engine.yml")
    command[4] = str(node.folder / "bare.json")
    environment = {**os.environ, "ANSIBLE_ROLES_PATH": str(Path(__file__).resolve().parents[2] / "roles")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)
    assert done.returncode != 0
    missing = "missing required arguments: streamfleet_shoutcast2_checksum, streamfleet_shoutcast2_source"
    assert missing in done.stdout
    assert node.sh(f"ls -lR {ROOT}") == before


# Stations


def test_a_station_runs_as_its_tenant_in_a_sandbox(two: Shoutcast) -> None:
    assert [two.sh(f"ps -o user:20= -p {two.pid(slug)}") for slug in ("rock-fm", "jazz-fm")] == ["sf200001", "sf200002"]
    exposure = two.sh(f"systemd-analyze security --no-pager {UNIT.format('rock-fm')} | tail -1")
    assert float(exposure.partition("service:")[2].split()[0]) <= 3.0
    for path in ("instances/shoutcast2/jazz-fm/sc_serv.conf", "routes/jazz-fm.json"):
        assert "Permission denied" in two.sh(f"runuser -u sf200001 -- cat /etc/streamfleet/{path} 2>&1", check=False)
    for address, port, reached in (("127.0.0.1", 8100, True), ("127.0.0.1", 8101, True), ("127.0.0.1", 8102, False)):
        assert (two.tenant(200001, address, port) == "open") == reached, port
    # Its log is in the journal, its folder holds what it keeps, and nothing is in /tmp or beside the program.
    assert "listening on 8100 and 8101" in two.sh("journalctl -o cat -t shoutcast2-rock-fm")
    assert two.sh("ls -A /var/lib/streamfleet/services/rock-fm") == ""
    assert two.sh("ls /tmp | grep sc_serv", check=False) == ""
    assert "ok=1    changed=0" in two.play("playbooks/converge.yml")


def test_listeners_get_the_stream_and_its_titles_over_tls_and_directly(two: Shoutcast) -> None:
    with on_air(LegacySource(two.address, 8100, SOURCE.format("rock-fm"))):
        listeners = [two.listen("rock-fm"), two.listen("rock-fm", "/stream"), two.direct(8100)]
        plain = two.listen("rock-fm", titles=False)
        for listener in (*listeners, plain):
            assert listener.playing.wait(15), listener.heard
        assert two.admin(8100, "rock-fm", "mode=updinfo&song=A%20song") == "200"
        time.sleep(3)
        for listener in listeners:
            heard = listener.stop()
            assert (heard.status, heard.headers["content-type"], heard.lost) == (200, "audio/mpeg", 0)
            assert heard.headers["icy-name"] == "Test station"
            assert heard.titles[-1] == "A song"
        assert "icy-metaint" not in plain.heard.headers
        assert (plain.stop().lost, listeners[0].heard.headers["x-content-type-options"]) == (0, "nosniff")
    # Nothing but streams comes through the web server.
    for path in ("/admin.cgi", "/statistics", "/index.html"):
        assert two.listen("rock-fm", path).heard.status == 404


def test_several_streams_each_with_its_source_and_limit(two: Shoutcast) -> None:
    streams = [{"id": 1, "name": "/high"}, {"id": 2, "name": "/low", "max_listeners": 1, "default": True}]
    two.converge(station(*FIRST, settings={"streams": streams}, limits={"max_listeners": 3}), station(*SECOND))
    secret = SOURCE.format("rock-fm")
    with on_air(LegacySource(two.address, 8100, secret)), on_air(LegacySource(two.address, 8100, f"{secret}:#2")):
        low = [two.listen("rock-fm"), two.listen("rock-fm", "/low")]
        high = [two.listen("rock-fm", "/high") for _ in range(3)]
        assert [listener.heard.status for listener in low] == [200, 503]
        assert [listener.heard.status for listener in high] == [200, 200, 503]
        for listener in (*low, *high):
            listener.stop()
    refused = LegacySource(two.address, 8100, f"{secret}:#3")
    refused.start()
    refused.join(10)
    assert "invalid password" in refused.answer


# Changes


def test_nobody_notices_what_happens_to_another_station(two: Shoutcast) -> None:
    third = ("third-fm", 200003, 8104)
    keep = station(*FIRST)
    with counted(two, "rock-fm", 8100):
        two.converge(keep, station(*SECOND), station(*third))
        two.converge(keep, station(*SECOND, name="Renamed"), station(*third, limits={"max_listeners": 3}))
        two.converge(keep, station(*SECOND), station("third-fm", 200003, 8106))
        two.converge(keep, station(*SECOND), station("third-fm", 200003, 8106, state="suspended"))
        two.converge(keep, station(*SECOND), station("third-fm", 200003, 8106, state="deleted"))
        two.converge(keep, station(*SECOND))
        two.engine({"streamfleet_shoutcast2_memory_max": "400M"})
        two.engine({})
    left = two.sh("ls /etc/streamfleet/instances/shoutcast2 /var/lib/streamfleet/services /etc/streamfleet/routes")
    assert "third" not in left
    assert two.sh("getent passwd sf200003", check=False) == ""


def test_a_change_restarts_this_station_only_and_only_where_it_must(two: Shoutcast) -> None:
    before = two.pid("rock-fm"), two.pid("jazz-fm")
    with counted(two, "rock-fm", 8100):
        streams = [{"id": 1, "name": "/stream", "default": True}]
        two.converge(station(*FIRST, name="Näw ]]> name", settings={"streams": streams}), station(*SECOND))
    assert (two.pid("rock-fm"), two.pid("jazz-fm")) == before
    told = two.converge(station(*FIRST, credentials={"source_password": "rotated-secret"}), station(*SECOND))
    assert {item["state"] for item in told.values()} == {"running"}
    assert two.pid("rock-fm") != before[0]
    assert two.pid("jazz-fm") == before[1]
    old = LegacySource(two.address, 8100, SOURCE.format("rock-fm"))
    old.start()
    old.join(10)
    assert "invalid password" in old.answer
    with on_air(LegacySource(two.address, 8100, "rotated-secret")):
        assert two.listen("rock-fm").playing.wait(15)


def test_bans_outlive_changes_and_the_web_server_tells_true_addresses(two: Shoutcast) -> None:
    ban = "/var/lib/streamfleet/services/rock-fm/sc_serv.ban"
    listener_address = two.sh("ip -4 route show default | awk '{print $3}'")
    assert two.admin(8100, "rock-fm", f"mode=bandst&bandst={listener_address}&banmsk=255") == "200"
    written = two.sh(f"stat -c '%i %y %U' {ban}; cat {ban}")
    two.converge(station(*FIRST, limits={"max_listeners": 7}), station(*SECOND))
    assert two.sh(f"stat -c '%i %y %U' {ban}; cat {ban}") == written
    with on_air(LegacySource(two.address, 8100, SOURCE.format("rock-fm"))):
        assert two.direct(8100).heard.status == 403
        assert two.listen("rock-fm").heard.status == 403
    two.sh(f"rm {ban}")
    two.converge(station(*FIRST), station(*SECOND))


def test_a_station_that_cannot_start_is_told_and_stays_as_it_was(two: Shoutcast) -> None:
    squatter = "import socket, time\ns = socket.create_server(('', 8301))\ntime.sleep(300)"
    two.fleet.exec(NODE, ["systemd-run", "--quiet", "--unit", "squatter", "python3", "-c", squatter])
    two.sh("for i in $(seq 300); do grep -q ':206D .* 0A ' /proc/net/tcp && exit 0; sleep 0.1; done; exit 1")
    same = {"source_password": "the-same-one", "admin_password": "the-same-one"}
    with counted(two, "jazz-fm", 8102):
        told = two.converge(
            station("rock-fm", 200001, 8300),
            station(*SECOND),
            station("third-fm", 200003, 8104, limits={"max_listeners": 0}),
            station("fourth-fm", 200004, 8106, credentials=same),
            ok=False,
        )
    assert told["jazz-fm"]["state"] == "running"
    assert {told[slug]["state"] for slug in ("rock-fm", "third-fm", "fourth-fm")} == {"failed"}
    assert "it is on the air again with its previous configuration" in told["rock-fm"]["message"]
    assert "max_listeners: 0 means unlimited to Shoutcast" in told["third-fm"]["message"]
    assert "credentials.admin_password: '********' is the same" in told["fourth-fm"]["message"]
    with on_air(LegacySource(two.address, 8100, SOURCE.format("rock-fm"))):
        pass
    two.sh("systemctl stop squatter")


def test_self_check_is_content_and_then_names_the_cause(two: Shoutcast) -> None:
    arguments = ["-e", json.dumps({"entry": "self_check", "roles_in_order": ["shoutcast2"]})]
    assert two.changed(two.play(two.folder / "tasks.yml", *arguments)) == 0
    two.sh(f"systemctl stop {UNIT.format('rock-fm')}")
    assert "rock-fm on port 8100" in two.play(two.folder / "tasks.yml", *arguments, ok=False)
    two.converge(station(*FIRST), station(*SECOND))
    two.sh(f"mv {ROOT}/current {ROOT}/elsewhere")
    assert "server is not installed" in two.play(two.folder / "tasks.yml", *arguments, ok=False)
    two.sh(f"mv {ROOT}/elsewhere {ROOT}/current")
    two.play(two.folder / "tasks.yml", *arguments)


# Upgrade and end


def test_an_upgrade_by_url_restarts_nobody_and_can_be_taken_back(two: Shoutcast) -> None:
    newer = two.folder / "newer.tar.gz"
    checksum = pack(newer, {"top/sc_serv": PROGRAM.read_bytes(), "top/changes.txt": b"2\n"})
    packed = base64.b64encode(newer.read_bytes()).decode()
    two.sh("mkdir /run/vendor")
    two.fleet.exec(NODE, ["sh", "-c", "base64 -d >/run/vendor/newer.tar.gz"], stdin=packed)
    two.fleet.exec(
        NODE, ["systemd-run", "--quiet", "--unit=vendor", "--working-directory=/run/vendor", "python3", "-c", VENDOR]
    )
    two.sh(f"echo 127.0.0.1 {STREAM} >>/etc/hosts")
    two.sh("for i in $(seq 300); do ss -Hltn 'sport = 8443' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    variables = two.brought(f"https://{STREAM}:8443/newer.tar.gz", checksum)
    untrusted = two.engine(variables, ok=False)
    assert (
        "certificate verify failed" in untrusted.lower()
        or "failed to validate the ssl certificate" in untrusted.lower()
    )
    two.sh("cp /etc/streamfleet/ca/ca.pem /usr/local/share/ca-certificates/test.crt; update-ca-certificates")
    wrong = two.engine({**variables, "streamfleet_shoutcast2_checksum": "f" * 64}, ok=False)
    assert "did not match" in wrong
    with counted(two, "rock-fm", 8100):
        time.sleep(1)
        predicted = changes(two.engine(variables, "--check"))
        output = two.engine(variables)
        assert changes(output) == predicted != set()
        assert f"until they are restarted, which drops their listeners: {UNIT.format('jazz-fm')}" in output
        assert changes(two.engine(variables)) == set()
    assert two.sh(f"cat {ROOT}/current/changes.txt") == "2"
    assert set(two.sh(f"ls {ROOT}").split()) == {two.checksum[:16], checksum[:16], "current"}
    # Back: the old one is still there, so only the link moves.
    assert {name for name, _host in changes(two.engine({}))} == {
        "shoutcast2 : Make it the one that stations start with"
    }
    assert two.sh(f"readlink {ROOT}/current") == two.checksum[:16]
    two.converge(station(*FIRST, restart=1), station(*SECOND, restart=1))
    assert "until they are restarted" not in two.engine({})
    two.sh("systemctl stop vendor; rm -r /run/vendor /usr/local/share/ca-certificates/test.crt")
