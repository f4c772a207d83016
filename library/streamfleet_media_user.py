#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Media users, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_media_user
short_description: Manage a log-in for media by SFTP and FTP over TLS
version_added: 0.2.0
description:
  - Creates, changes or deletes a log-in with which a customer brings media into the own library and takes them out, by
    SFTP and by FTP over TLS. A customer has none until one is made.
  - It works on every node where the customer has a media library and the role C(file_transfer) is installed. Nothing
    is reloaded for it. Sessions of a log-in that is deleted, disabled or changed end, those of others do not.
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  customer:
    description: User name of the customer, part of the key.
    type: str
    required: true
  name:
    description: Name among the customer's media users, part of the key. Lower-case letters, digits and dashes, at most
      32. What is entered as user name is the customer's, a dot and this, such as C(alice.studio).
    type: str
    required: true
  password:
    description:
      - Password of the log-in, 8 to 128 characters; kept as a hash, never shown again. Without one nobody can log in.
      - When it is set is decided by O(update_password).
    type: str
  read_only:
    description: V(true) for a log-in that may fetch files and change nothing.
    type: bool
  protocols:
    description: Ways in; the panel chooses both when it is omitted. V(ftps) is FTP over TLS.
    type: list
    elements: str
    choices: [sftp, ftps]
  enabled:
    description: V(false) keeps everybody from logging in with it, and ends sessions.
    type: bool
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.passwords
  - streamfleet.check
seealso:
  - module: streamfleet_apply
  - module: streamfleet_media_user_info
  - module: streamfleet_media_folder
"""

EXAMPLES = r"""
- name: A log-in for alice's studio
  streamfleet_media_user:
    customer: alice
    name: studio
    password: "{{ vault_studio_password }}"

- name: One for an archive, which only fetches files, by SFTP
  streamfleet_media_user:
    customer: alice
    name: archive
    password: "{{ vault_archive_password }}"
    read_only: true
    protocols: [sftp]

- name: Remove a log-in
  streamfleet_media_user:
    customer: alice
    name: studio
    state: absent
"""

RETURN = r"""
operation:
  description: What was done, or would be in check mode. One of V(created), V(updated), V(unchanged), V(deleted).
  returned: success
  type: str
  sample: created
changes:
  description: Per changed field, its value before and after. The password is masked.
  returned: success
  type: dict
  sample: {"read_only": {"before": false, "after": true}}
media_user:
  description: The media user as it is now, or would be; never the password.
  returned: success
  type: dict
  sample: {"customer": "alice", "name": "studio", "login": "alice.studio", "read_only": false, "enabled": true}
nodes:
  description: Generations of the nodes with the customer's library, if their documents have changed.
  returned: success
  type: dict
  sample: {"node1": 42}
"""

from ansible.module_utils.streamfleet.objects import run_object_module

FIELDS = {
    "customer": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "password": {"type": "str", "no_log": True},
    "read_only": {"type": "bool"},
    "protocols": {"type": "list", "elements": "str", "choices": ["sftp", "ftps"]},
    "enabled": {"type": "bool"},
}


def main() -> None:
    """Run the module."""
    run_object_module("media_user", FIELDS, passwords=True)


if __name__ == "__main__":
    main()
