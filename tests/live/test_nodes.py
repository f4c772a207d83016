"""Test nodes, for real: two servers come up, are used, and leave nothing behind. Needs root and podman."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import podman
from tests.nodes.errors import NodesError
from tests.nodes.fleet import Domain, Fleet, NodeSpec, Publish
from tests.nodes.paths import ROOT
from tests.ports import free_port

pytestmark = [pytest.mark.live, pytest.mark.full]

NAME = f"live{os.getpid()}"


PORT = free_port()
NODES = [NodeSpec("n1"), NodeSpec("n2", "trixie")]
PUBLISH = [Publish("n1", PORT, 22)]
DOMAINS = [Domain("panel.example.test", "n2")]


def ansible(fleet: Fleet, pattern: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Ansible's ad hoc command against the fleet."""
    command = [str(Path(sys.executable).with_name("ansible")), "-i", str(fleet.inventory), pattern, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=ROOT, env=os.environ | env, check=False
    )


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """The fleet, up once for all tests of this module."""
    it = Fleet(NAME)
    try:
        it.up(NODES, PUBLISH, DOMAINS)
        yield it
    finally:
        it.down()


def test_nodes_are_debian_servers_with_systemd(fleet: Fleet) -> None:
    for name, codename in (("n1", "bookworm"), ("n2", "trixie")):
        assert f"VERSION_CODENAME={codename}" in fleet.exec(name, ["cat", "/etc/os-release"]).stdout
        assert fleet.exec(name, ["systemctl", "is-system-running"], check=False).stdout.strip() == "running"
        assert fleet.exec(name, ["hostname"]).stdout.strip() == name
        assert fleet.exec(name, ["ls", "/var/lib/apt/lists"]).stdout.split() in ([], ["lock", "partial"], ["partial"])
        assert int(fleet.exec(name, ["sh", "-c", "ulimit -n"]).stdout) >= 8192


def test_sandboxed_units_and_nftables_work(fleet: Fleet) -> None:
    unit = ["systemd-run", "--wait", "--pipe", "-q", "-p", "DynamicUser=yes", "-p", "ProtectSystem=strict"]
    unit += ["-p", "PrivateTmp=yes", "-p", "PrivateDevices=yes", "id", "-un"]
    rules = "add table inet t; add set inet t s { type uid . inet_service; }; add element inet t s { 200001 . 8000 }"
    for name in ("n1", "n2"):
        assert fleet.exec(name, unit).stdout.startswith("run-")
        assert " shared:" in fleet.exec(name, ["grep", " / / ", "/proc/self/mountinfo"]).stdout
        fleet.exec(name, ["nft", rules])
        assert "200001 . 8000" in fleet.exec(name, ["nft", "list", "ruleset"]).stdout
        fleet.exec(name, ["nft", "delete table inet t"])


def test_ansible_reaches_every_node_by_ssh(fleet: Fleet) -> None:
    result = ansible(fleet, "all", "-m", "ansible.builtin.ping")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count('"pong"') == 2


def test_names_resolve_in_nodes_and_under_run_but_not_elsewhere(fleet: Fleet) -> None:
    address = fleet.node("n2").address
    before = Path("/etc/hosts").read_text()
    for name in ("n2", "panel.example.test"):
        assert fleet.exec("n1", ["getent", "hosts", name]).stdout.split()[0] == address
        assert fleet.run(["getent", "hosts", name]).stdout.split()[0] == address
    assert subprocess.run(["getent", "hosts", "panel.example.test"], capture_output=True, check=False).returncode != 0
    assert Path("/etc/hosts").read_text() == before


def test_published_port_is_on_loopback_only(fleet: Fleet) -> None:
    with socket.create_connection(("127.0.0.1", PORT), timeout=5) as connection:
        assert connection.recv(4) == b"SSH-"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((fleet.node("n1").address, 9))  # sends nothing; tells which address of ours is used
        outside = probe.getsockname()[0]
    with pytest.raises(OSError):
        socket.create_connection((outside, PORT), timeout=2).close()


def test_up_again_changes_nothing_and_refuses_what_it_cannot_change(fleet: Fleet) -> None:
    before = fleet.state
    started = podman.data(["inspect", fleet.node("n1").container])[0]["State"]["StartedAt"]
    assert fleet.up(NODES, PUBLISH, DOMAINS) == before
    assert podman.data(["inspect", fleet.node("n1").container])[0]["State"]["StartedAt"] == started
    with pytest.raises(NodesError, match="runs already"):
        fleet.up(NODES, [Publish("n1", PORT, 23)])
    with pytest.raises(NodesError, match="runs bookworm, not trixie"):
        fleet.up([NodeSpec("n1", "trixie")])
    with pytest.raises(NodesError, match=rf"started from {ROOT}"):
        Fleet(NAME, root=Path("/elsewhere"), fleets=ROOT / ".nodes-elsewhere").up(NODES)
    assert fleet.state == before


def test_packages_are_fetched_once_for_all_nodes(fleet: Fleet) -> None:
    fleet.up([*NODES, NodeSpec("n3")])
    install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "install", "ncurses-term"]
    for name in ("n1", "n3"):
        fleet.exec(name, ["apt-get", "-qq", "update"])
    fleet.exec("n1", install)
    assert "Need to get 0 B/" in fleet.exec("n3", install).stdout


def test_reboot_keeps_address_and_data_and_empties_run(fleet: Fleet) -> None:
    for hard in (False, True):
        boot = fleet.exec("n1", ["stat", "-c", "%Y", "/proc/1"]).stdout
        fleet.exec("n1", ["sh", "-c", "date +%N > /root/kept; touch /run/gone"])
        kept = fleet.exec("n1", ["cat", "/root/kept"]).stdout
        fleet.reboot("n1", hard=hard)
        assert fleet.exec("n1", ["cat", "/root/kept"]).stdout == kept
        assert fleet.exec("n1", ["ls", "/run/gone"], check=False).returncode != 0
        assert fleet.exec("n1", ["stat", "-c", "%Y", "/proc/1"]).stdout != boot
        assert fleet.node("n1").address in fleet.exec("n1", ["ip", "-4", "addr"]).stdout
        assert fleet.exec("n1", ["getent", "hosts", "panel.example.test"]).stdout.split()[0] == fleet.node("n2").address
        assert ansible(fleet, "n1", "-m", "ansible.builtin.ping").returncode == 0
        with socket.create_connection(("127.0.0.1", PORT), timeout=5) as connection:
            assert connection.recv(4) == b"SSH-"


def test_paused_node_is_unreachable_until_it_goes_on(fleet: Fleet) -> None:
    fleet.pause("n2")
    try:
        # A new connection: one that is open already only ends after three missed keep-alives, 45 s.
        fresh = "-o ControlPath=none -o ConnectTimeout=3"
        result = ansible(fleet, "n1,n2", "-m", "ansible.builtin.ping", ANSIBLE_SSH_ARGS=fresh)
        assert "n2 | UNREACHABLE" in result.stdout
        assert "n1 | SUCCESS" in result.stdout
    finally:
        fleet.unpause("n2")
    assert ansible(fleet, "n2", "-m", "ansible.builtin.ping").returncode == 0


def test_snapshot_starts_as_another_node_with_the_same_files(fleet: Fleet) -> None:
    fleet.exec("n1", ["sh", "-c", "echo installed > /root/marker"])
    identity = fleet.exec("n1", ["cat", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout
    saved = fleet.snapshot("n1", f"streamfleet-test-{NAME}:1")
    copy = Fleet(f"{NAME}c")
    try:
        copy.up([NodeSpec("n1")], image_name=saved)
        assert copy.exec("n1", ["cat", "/root/marker"]).stdout == "installed\n"
        assert copy.exec("n1", ["cat", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout != identity
        assert ansible(copy, "all", "-m", "ansible.builtin.ping").returncode == 0
    finally:
        copy.down()
        podman.call(["image", "rm", saved])


def test_down_leaves_nothing() -> None:
    fleet = Fleet(f"{NAME}d")
    fleet.up([NodeSpec("n1")], [Publish("n1", free_port(), 80)])
    assert ansible(fleet, "all", "-m", "ansible.builtin.ping").returncode == 0  # leaves a connection open
    known = fleet.state
    control = Path(known.nodes["n1"].control_dir)
    assert list(control.iterdir())
    # Even with its files gone, what was started is found.
    (fleet.directory / "state.json").unlink()
    assert len(fleet.down()) == 3
    assert not podman.exists("container", known.nodes["n1"].container)
    assert not podman.exists("network", known.network)
    assert not fleet.directory.exists()
    assert not control.exists()
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert known.nodes["n1"].container not in left
    assert str(control) not in left
    assert known.nodes["n1"].address not in json.dumps(podman.data(["ps", "--all", "--format", "json"]))
    assert fleet.down() == []
