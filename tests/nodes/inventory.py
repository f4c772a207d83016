"""The inventory of a fleet: connection facts only; groups belong to whoever uses the fleet. Pure."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from tests.nodes.state import Node, State


def ssh_options(directory: Path, node: Node) -> list[str]:
    """Options of ssh that make a login to the node certain: its own key, its pinned host key, nothing of the user's."""
    return [
        "-F",
        "/dev/null",
        "-o",
        f"UserKnownHostsFile={directory / 'known_hosts'}",
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=10",
        # A connection that Ansible keeps open outlives its node; the next one at this address has another path.
        "-o",
        f"ControlPath={node.control_dir}/%C",
        "-o",
        f"IdentityFile={directory / 'id_ed25519'}",
    ]


def render(state: State, directory: Path) -> str:
    """Text of inventory.yml; directory: of the fleet, absolute."""
    hosts: dict[str, Any] = {}
    for name, node in state.nodes.items():
        common = [shlex.quote(option) for option in ssh_options(directory, node)[:-2]]
        hosts[name] = {
            "ansible_host": node.address,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(directory / "id_ed25519"),
            "ansible_ssh_common_args": " ".join(common),
            "ansible_python_interpreter": "/usr/bin/python3",
            "node_address": node.address,
            "node_address6": node.address6,
            "node_release": node.release,
            "node_host_key": node.host_key,
        }
    return "---\n" + yaml.safe_dump({"all": {"hosts": hosts}}, sort_keys=False, width=200)
