#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Nodes, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_node_info
short_description: List nodes
version_added: 0.1.0
description:
  - Returns the nodes that the token may see, all of them or those that the filters leave.
options:
  name:
    description: Name of one node.
    type: str
  status:
    description: Only nodes in this status.
    type: str
    choices: [active, draining, disabled]
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_node
"""

EXAMPLES = r"""
- name: Nodes that take new stations
  streamfleet_node_info:
    status: active
  register: result
"""

RETURN = r"""
nodes:
  description: >-
    What was found; empty where there is none. C(collected_at) is when the worker last read what a node tells of its
    services, C(collection_message) why the last try failed; empty where it did not.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "node1", "status": "active", "engines": ["icecast"]}]
"""

from ansible.module_utils.streamfleet.info import run_info_module

FILTERS = {
    "status": {"type": "str", "choices": ["active", "draining", "disabled"]},
}


def main() -> None:
    """Run the module."""
    run_info_module("node", "name", FILTERS)


if __name__ == "__main__":
    main()
