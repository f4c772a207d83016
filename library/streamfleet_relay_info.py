#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Relays, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_relay_info
short_description: List relays
version_added: 0.2.0
description:
  - Returns the relays of the media services that the token may see, all of them or those that the filters leave; never
    a password. Those of deleted services are not among them.
options:
  media_service:
    description: Only relays of this media service, given by its slug.
    type: str
  name:
    description: Name of one relay of O(media_service).
    type: str
  direction:
    description: Only relays of this direction.
    type: str
    choices: [in, out]
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_relay
"""

EXAMPLES = r"""
- name: All relays of a station
  streamfleet_relay_info:
    media_service: rock-fm
  register: result

- name: All streams that the fleet sends to other servers
  streamfleet_relay_info:
    direction: out
  register: result
"""

RETURN = r"""
relays:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample: [{"media_service": "rock-fm", "name": "network", "direction": "in", "mount": "/stream", "enabled": true}]
"""

from ansible.module_utils.streamfleet.info import run_info_module

FILTERS = {"direction": {"type": "str", "choices": ["in", "out"]}}


def main() -> None:
    """Run the module."""
    run_info_module("relay", "name", FILTERS, within=["media_service"])


if __name__ == "__main__":
    main()
