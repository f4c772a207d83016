#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""DJs, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_dj_info
short_description: List DJs
version_added: 0.2.0
description:
  - Returns the DJs of the media services that the token may see, all of them or those that the filters leave, with
    what they enter into their encoders under C(connection). Those of deleted services are not among them.
options:
  media_service:
    description: Only DJs of this media service, given by its slug.
    type: str
  username:
    description: User name of one DJ of O(media_service).
    type: str
  credentials:
    description:
      - Whether each DJ comes with the password under C(credentials). The panel keeps a record of who read it.
      - The output of such a task is hidden, as with C(no_log); the registered result holds the passwords.
    type: bool
    default: false
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_dj
"""

EXAMPLES = r"""
- name: All DJs of a station
  streamfleet_dj_info:
    media_service: rock-fm
  register: result

- name: What a DJ enters into the encoder, with the password
  streamfleet_dj_info:
    media_service: rock-fm
    username: anna
    credentials: true
  register: result
"""

RETURN = r"""
djs:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample: [{"media_service": "rock-fm", "username": "anna", "name": "Anna B.", "priority": 10, "enabled": true}]
"""

from ansible.module_utils.streamfleet.info import run_info_module


def main() -> None:
    """Run the module."""
    run_info_module("dj", "username", {}, within=["media_service"])


if __name__ == "__main__":
    main()
