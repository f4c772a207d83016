#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Media services, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_media_service_info
short_description: List media services
version_added: 0.1.0
description:
  - Returns the media services that the token may see, all of them or those that the filters leave.
options:
  slug:
    description: Slug of one service.
    type: str
  customer:
    description: Only services of this customer, given by its user name.
    type: str
  engine:
    description: Only services of this engine.
    type: str
  node:
    description: Only services on this node.
    type: str
  state:
    description: Only services that are meant to be in this state, or, with V(failed), that are reported so.
    type: str
    choices: [running, stopped, suspended, disabled, over_quota, failed]
  deleted:
    description: Return services that are deleted and still kept, instead of those that are there.
    type: bool
    default: false
  credentials:
    description:
      - Whether each service comes with its stream credentials under C(credentials). The panel keeps a record of who
        read them.
      - The output of such a task is hidden, as with C(no_log); the registered result holds the credentials.
    type: bool
    default: false
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_media_service
"""

EXAMPLES = r"""
- name: All services of a customer
  streamfleet_media_service_info:
    customer: alice
  register: result

- name: One service with its stream credentials, for the broadcaster
  streamfleet_media_service_info:
    slug: rock-fm
    credentials: true
  register: result
"""

RETURN = r"""
media_services:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample: [{"slug": "rock-fm", "customer": "alice", "engine": "icecast", "node": "node1", "port": 8000}]
"""

from ansible.module_utils.streamfleet.info import run_info_module

FILTERS = {
    "customer": {"type": "str"},
    "engine": {"type": "str"},
    "node": {"type": "str"},
    "state": {
        "type": "str",
        "choices": ["running", "stopped", "suspended", "disabled", "over_quota", "failed"],
    },
    "deleted": {"type": "bool", "default": False},
}


def main() -> None:
    """Run the module."""
    run_info_module("media_service", "slug", FILTERS)


if __name__ == "__main__":
    main()
