"""Ports: those listen that should, where they should, and no others."""

from __future__ import annotations

import socket

from testinfra.host import Host

testinfra_hosts = ["all"]

EVERYWHERE = {
    "all": {22},
    "streamfleet_panel": {80, 443},
    "streamfleet_nodes": {80, 443},
    "nginx_rtmp": {1935, 1936},
}
"""Group → TCP ports that anybody may reach. Stations' own ports come with the stations; verify begins without any."""

LOOPBACK = {"nginx_rtmp": {1937, 1942}, "mariadb": {3306}}
"""Group → TCP ports of loopback: the packaging hop and the answers for stream keys; a server of the operator's own."""


def listening(host: Host, protocol: str) -> dict[int, set[str]]:
    """Port → addresses at which it listens; protocol: t or u."""
    found: dict[int, set[str]] = {}
    for line in host.check_output(f"ss -Hln{protocol}").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        found.setdefault(int(port), set()).add(address.split("%")[0].strip("[]"))
    return found


def of(table: dict[str, set[int]], groups: list[str]) -> set[int]:
    """Ports of a host in these groups."""
    return {port for group in ["all", *groups] for port in table.get(group, set())}


def test_only_these_ports_listen(host: Host, groups: list[str]) -> None:
    found = listening(host, "t")
    open_ports = {port for port, addresses in found.items() if addresses - {"127.0.0.1", "::1"}}
    assert open_ports == of(EVERYWHERE, groups), found
    assert set(found) - open_ports == of(LOOPBACK, groups), found
    assert listening(host, "u") == {}


def test_public_ports_answer_on_ipv4_and_ipv6(host: Host, groups: list[str]) -> None:
    variables = host.ansible.get_variables()
    for address in filter(None, (variables["node_address"], variables["node_address6"])):
        for port in of(EVERYWHERE, groups):
            socket.create_connection((address, port), timeout=5).close()


def test_loopback_ports_cannot_be_reached_from_outside(host: Host, groups: list[str]) -> None:
    address = host.ansible.get_variables()["node_address"]
    for port in of(LOOPBACK, groups):
        with socket.socket() as probe:
            probe.settimeout(5)
            assert probe.connect_ex((address, port)) != 0, port
