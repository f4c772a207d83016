#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Media users, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_media_user_info
short_description: List log-ins for media by SFTP and FTP over TLS
version_added: 0.2.0
description:
  - Returns the media users of the customers that the token may see, all of them or those that the filters leave. Those
    of deleted customers are not among them. Passwords are never returned.
options:
  customer:
    description: Only media users of this customer, given by its user name.
    type: str
  name:
    description: Name of one media user of O(customer).
    type: str
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_media_user
"""

EXAMPLES = r"""
- name: All media users of a customer
  streamfleet_media_user_info:
    customer: alice
  register: result
"""

RETURN = r"""
media_users:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample: [{"customer": "alice", "name": "studio", "login": "alice.studio", "read_only": false, "enabled": true}]
"""

from ansible.module_utils.streamfleet.info import run_info_module


def main() -> None:
    """Run the module."""
    run_info_module("media_user", "name", {}, within=["customer"])


if __name__ == "__main__":
    main()
