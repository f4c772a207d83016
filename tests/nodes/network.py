"""The network of a fleet: one bridge with addresses that nobody else on this machine uses."""

from __future__ import annotations

import json

from tests.nodes import podman, subnets
from tests.nodes.errors import NodesError
from tests.nodes.paths import LOCKS
from tests.nodes.proc import locked, run


def taken() -> list[str]:
    """CIDRs in use on this machine: podman's networks, routes and addresses."""
    found = []
    # In one question: a network that goes between two would fail the second.
    for network in podman.data(["network", "ls", "--format", "json"]) or []:
        found += [subnet["subnet"] for subnet in network.get("subnets") or []]
    for family in ("-4", "-6"):
        routes = json.loads(run(["ip", "-json", family, "route", "show", "table", "all"], check=False).stdout or "[]")
        found += [route["dst"] for route in routes if "/" in route.get("dst", "")]
    return found


def create(name: str, labels: dict[str, str], mtu: int) -> tuple[str, str | None]:
    """Create the network; returns its subnets (IPv4, IPv6 or None where the machine cannot)."""
    with locked(LOCKS / "streamfleet-nodes-network.lock", 120, "choosing a subnet"):
        subnet, subnet6 = subnets.choose(taken())
        base = ["network", "create", "--driver", "bridge", "--disable-dns", "--opt", f"mtu={mtu}", "--subnet", subnet]
        base += [f"--label={key}={value}" for key, value in labels.items()]
        if podman.call([*base, "--ipv6", "--subnet", subnet6, name], check=False).returncode == 0:
            return subnet, subnet6
        result = podman.call([*base, name], check=False)
        if result.returncode != 0:
            raise NodesError(f"podman cannot create network {name}: {result.stderr.strip()[-500:]}")
        return subnet, None
