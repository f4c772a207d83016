#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nodes, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_node
short_description: Register a node in the panel
version_added: 0.1.0
description:
  - Creates, changes or deletes the panel's record of a node, a server that runs media services.
  - The node itself is made by the roles; C(playbooks/install.yml) calls this module for every node.
options:
  name:
    description: Name of the node, its key. The same as in the inventory.
    type: str
    required: true
  address:
    description: Address that the worker reaches the node at, a host name or an IP address.
    type: str
  ssh_port:
    description: Port of the node's SSH server.
    type: int
  ssh_user:
    description: User that the worker logs in as.
    type: str
  host_key:
    description: Public key line of the node's SSH server, as in C(known_hosts) without the name. The worker trusts no
      other.
    type: str
  engines:
    description: Engines that are installed on the node.
    type: list
    elements: str
  stream_host:
    description: Public host name of the node's streams.
    type: str
  former_stream_hosts:
    description: Host names that its streams had before, and that it still answers to. Like O(stream_host) they are no
      customer's domain.
    type: list
    elements: str
  former_stream_days:
    description: Of O(former_stream_hosts) the last day on which each is kept, in UTC, as V(2027-03-01). Customers whose
      domains lead there are shown it.
    type: dict
    version_added: 0.3.0
  port_range_start:
    description: First port that services on this node may get.
    type: int
  port_range_end:
    description: Last port that services on this node may get.
    type: int
  max_media_services:
    description: How many services the node may carry; V(null) for unlimited.
    type: int
  status:
    description: V(draining) takes no new services; V(disabled) is left alone by the worker too.
    type: str
    choices: [active, draining, disabled]
  facts:
    description: What the inventory knows of the host, kept with the record.
    type: dict
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.check
seealso:
  - module: streamfleet_apply
  - module: streamfleet_node_info
"""

EXAMPLES = r"""
- name: Register a node
  streamfleet_node:
    name: node1
    address: 203.0.113.10
    host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExampleExampl
    engines: [icecast, nginx_rtmp]
    stream_host: stream1.example.net
    port_range_start: 8000
    port_range_end: 8999

- name: Give it no new services
  streamfleet_node:
    name: node1
    status: draining
"""

RETURN = r"""
operation:
  description: What was done, or would be in check mode. One of V(created), V(updated), V(unchanged), V(deleted).
  returned: success
  type: str
  sample: created
changes:
  description: Per changed field, its value before and after.
  returned: success
  type: dict
  sample: {"status": {"before": "active", "after": "draining"}}
node:
  description: The node as it is now, or would be.
  returned: success
  type: dict
  sample: {"name": "node1", "status": "draining"}
nodes:
  description: The generation of the node's document, if that has changed.
  returned: success
  type: dict
  sample: {"node1": 1}
"""

from ansible.module_utils.streamfleet.objects import run_object_module

FIELDS = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str"},
    "ssh_port": {"type": "int"},
    "ssh_user": {"type": "str"},
    # A public key: no secret.
    "host_key": {"type": "str", "no_log": False},
    "engines": {"type": "list", "elements": "str"},
    "stream_host": {"type": "str"},
    "former_stream_hosts": {"type": "list", "elements": "str"},
    "former_stream_days": {"type": "dict"},
    "port_range_start": {"type": "int"},
    "port_range_end": {"type": "int"},
    "max_media_services": {"type": "int"},
    "status": {"type": "str", "choices": ["active", "draining", "disabled"]},
    "facts": {"type": "dict"},
}


def main() -> None:
    """Run the module."""
    run_object_module("node", FIELDS)


if __name__ == "__main__":
    main()
