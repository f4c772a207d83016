"""Test nodes: what is decided without touching the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.nodes import hosts, inventory, keys, limits, subnets
from tests.nodes.errors import NodesError
from tests.nodes.proc import locked, run
from tests.nodes.spec import Domain, NodeSpec, Publish, check_request
from tests.nodes.state import Node, State, load, save


@pytest.mark.parametrize(
    ("hard", "given"), [(20000, 16384), (16384, 8192), (1024, 512), (524288, 65536), (limits.INFINITY, 65536)]
)
def test_open_files_stay_below_the_hard_limit(hard: int, given: int) -> None:
    assert limits.open_files(hard) == given
    assert hard == limits.INFINITY or given < hard


@pytest.mark.parametrize(("hard", "given"), [(96365, 32768), (30000, 8192), (2, 1), (limits.INFINITY, 32768)])
def test_processes_leave_half_to_the_host(hard: int, given: int) -> None:
    assert limits.processes(hard) == given


@pytest.mark.parametrize(("pid_max", "given"), [(32768, 31744), (4194304, 32768), (1500, 1024)])
def test_tasks_stay_below_the_kernels_process_ids(pid_max: int, given: int) -> None:
    assert limits.tasks(pid_max) == given


def test_first_subnet_that_is_free_in_both_families() -> None:
    assert subnets.choose([]) == ("10.213.0.0/24", "fd5f:1ee7:d213:0::/64")
    taken = ["10.213.0.7/32", "fd5f:1ee7:d213:1::/64", "10.213.2.0/23", "192.0.2.0/24"]
    assert subnets.choose(taken)[0] == "10.213.4.0/24"


def test_no_subnet_left_says_what_to_do() -> None:
    with pytest.raises(NodesError, match="Take down fleets"):
        subnets.choose(["10.0.0.0/8"])


def test_node_numbers_are_reused_and_run_out() -> None:
    assert subnets.next_number([]) == 10
    assert subnets.next_number([10, 12]) == 11
    assert subnets.node_address("10.213.3.0/24", 11) == "10.213.3.11"
    assert subnets.node_address("fd5f:1ee7:d213:3::/64", 11) == "fd5f:1ee7:d213:3::b"
    with pytest.raises(NodesError, match="at most 241"):
        subnets.next_number(range(10, 251))


def test_arguments_are_parsed() -> None:
    assert NodeSpec.parse("node1") == NodeSpec("node1", "bookworm")
    assert NodeSpec.parse("node1:trixie") == NodeSpec("node1", "trixie")
    assert Publish.parse("node1:8443:443") == Publish("node1", 8443, 443)
    assert Domain.parse("panel.example.test=node1") == Domain("panel.example.test", "node1")


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (NodeSpec.parse, "Node1", "'Node1'"),
        (NodeSpec.parse, "a;rm", "'a;rm'"),
        (NodeSpec.parse, "n1:sid", "bookworm, trixie"),
        (Publish.parse, "node1:443", "NODE:HOSTPORT:PORT"),
        (Publish.parse, "node1:0:443", "Port 0"),
        (Publish.parse, "node1:80:70000", "Port 70000"),
        (Domain.parse, "panel.example.test", "NAME=NODE"),
        (Domain.parse, "a b=node1", "'a b'"),
        (Domain.parse, "localhost=node1", "loopback"),
    ],
)
def test_bad_arguments_are_named(parse: Callable[[str], object], text: str, said: str) -> None:
    with pytest.raises(NodesError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("nodes", "publish", "domains", "said"),
    [
        (["a", "a"], [], [], "given twice"),
        (["a"], ["b:1:1"], [], "It has: a, old"),
        (["a"], ["a:1:1", "old:1:2"], [], "port 1 of this machine twice"),
        (["a"], [], ["x.test=c"], "names node c"),
        (["a"], [], ["x.test=a", "x.test=old"], "two nodes"),
    ],
)
def test_requests_that_contradict_themselves(
    nodes: list[str], publish: list[str], domains: list[str], said: str
) -> None:
    with pytest.raises(NodesError, match=said):
        check_request(
            [NodeSpec(name) for name in nodes],
            [Publish.parse(text) for text in publish],
            [Domain.parse(text) for text in domains],
            {"old"},
        )


def test_hosts_files_name_nodes_and_domains() -> None:
    addresses = {"n1": "10.213.0.10", "n2": "10.213.0.11"}
    domains = {"b.test": "n1", "a.test": "n1"}
    inside = hosts.node_file(addresses, domains).splitlines()
    assert "10.213.0.10 n1 a.test b.test" in inside
    assert inside[0] == "127.0.0.1 localhost"
    machine = hosts.machine_file("127.0.0.1 localhost\n10.0.0.1 n1\n", addresses, domains).splitlines()
    assert machine.index("10.213.0.11 n2") < machine.index("10.0.0.1 n1")


def a_fleet() -> State:
    node = Node(
        name="n1",
        release="bookworm",
        image="localhost/x:1",
        container="streamfleet-f-n1",
        number=10,
        address="10.213.0.10",
        address6=None,
        host_key="ssh-ed25519 AAAA",
        control_dir="/tmp/sfn-x",
        publish=[(8443, 443)],
    )
    return State("f", "streamfleet-f", "10.213.0.0/24", None, {"n1": node}, {"a.test": "n1"})


def test_state_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    assert load(file) is None
    save(file, a_fleet())
    assert load(file) == a_fleet()
    file.write_text('{"schema": 1, "nodes": ')
    with pytest.raises(NodesError, match="damaged"):
        load(file)
    file.write_text('{"schema": 0, "nodes": {}}')
    with pytest.raises(NodesError, match="another version"):
        load(file)


def test_inventory_pins_the_host_key_and_uses_only_the_fleets_key(tmp_path: Path) -> None:
    host = yaml.safe_load(inventory.render(a_fleet(), tmp_path))["all"]["hosts"]["n1"]
    assert host["ansible_host"] == "10.213.0.10"
    assert host["ansible_ssh_private_key_file"] == str(tmp_path / "id_ed25519")
    for option in ("StrictHostKeyChecking=yes", f"UserKnownHostsFile={tmp_path}/known_hosts", "IdentitiesOnly=yes"):
        assert option in host["ansible_ssh_common_args"].split()


def test_known_hosts_lists_names_and_addresses() -> None:
    assert (
        keys.known_hosts([(["n1", "10.213.0.10"], "ssh-ed25519 AAAA root@n1")]) == "n1,10.213.0.10 ssh-ed25519 AAAA\n"
    )


def test_commands_end_in_time_and_say_what_failed() -> None:
    with pytest.raises(NodesError, match="not installed"):
        run(["streamfleet-no-such-command"])
    with pytest.raises(NodesError, match="did not end within 0 s"):
        run(["sleep", "5"], timeout=0.1)
    with pytest.raises(NodesError, match="ended with 3: broken"):
        run(["sh", "-c", "echo broken >&2; exit 3"])


def test_lock_names_its_holder_and_can_be_removed_while_held(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with (
        locked(file, 1, "the first"),
        pytest.raises(NodesError, match=r"pid \d+.*the second"),
        locked(file, 0.1, "the second"),
    ):
        pass
    with locked(file, 1, "the first"):
        file.unlink()
    with locked(file, 1, "the third"):
        assert file.exists()
