#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_converge
short_description: Bring a node to what the panel says of it
version_added: 0.1.0
description:
  - Reads the node document from the panel, renders every media service of it on the controller, ships one payload to
    the node, where only what differs is changed, and tells the panel what became of each service.
  - Converges of one node exclude each other, whoever starts them.
  - A service that cannot be rendered, validated or started is reported and left as it was; the others proceed.
options:
  node:
    description: Name of the node in the panel. The inventory name of the host, when omitted.
    type: str
  origin:
    description: Who converges, shown to whoever waits. E(STREAMFLEET_ORIGIN), else C(by hand), when omitted.
    type: str
  lock_timeout:
    description: Seconds to wait for another converge of this node.
    type: float
    default: 60
  start_timeout:
    description: Seconds within which a unit must run and listen.
    type: float
    default: 10
  fail_on_services:
    description: Whether the task fails when single services have failed (after all others are applied).
    type: bool
    default: true
  fail_on_unreachable:
    description:
      - Whether a node that cannot be reached is a failure of the task, which a rescue sees, instead of a host that
        drops out of the play.
    type: bool
    default: false
  document:
    description:
      - The node document, where it has been read already. Only for check mode, and then the panel is not asked.
      - It holds the credentials of all services; give it to a task with C(no_log).
    type: dict
extends_documentation_fragment:
  - streamfleet
attributes:
  check_mode:
    description: Renders and compares; writes nothing on the node and reports nothing to the panel.
    support: full
  diff_mode:
    description: Returns a diff of every file, without secrets.
    support: full
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Converge the nodes
  hosts: streamfleet_nodes
  gather_facts: false
  become: true
  tasks:
    - name: Apply what the panel says
      streamfleet_converge:
        url: https://panel.example.net
        token: "{{ node_token }}"
        ca_path: /etc/streamfleet/ca/ca.pem
"""

RETURN = r"""
services:
  description: What became of every service, by slug.
  returned: always
  type: dict
  sample:
    rock-fm: {state: running, message: "", generation: 17, changed: true, actions: [start]}
summary:
  description: How many services there are, changed, failed, started, stopped, reloaded, restarted, purged.
  returned: always
  type: dict
generation:
  description: The generation that the node is at.
  returned: always
  type: int
skipped_older:
  description: True where something newer was applied already, and nothing was done.
  returned: always
  type: bool
unknown:
  description: Services on the node that the document does not name. They are left as they are.
  returned: always
  type: list
  elements: str
"""
