#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks at a host once for all roles. The work is in module_utils/streamfleet/host_facts.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_host_facts
short_description: Look at a host before anything is changed on it
version_added: 0.2.0
description:
  - Reads what the roles' preflight asks about, all in one look, into the fact C(streamfleet_host).
options: {}
attributes:
  facts:
    description: Action returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Look at the host
  streamfleet_host_facts:

- name: Say whether it speaks IPv6
  ansible.builtin.debug:
    msg: "{{ ansible_facts.streamfleet_host.ipv6 }}"
"""

RETURN = r"""
ansible_facts:
  description: What was seen.
  returned: always
  type: dict
  contains:
    streamfleet_host:
      description: This host.
      returned: always
      type: dict
      contains:
        uid:
          description: Number of the user that tasks run as.
          returned: always
          type: int
        time:
          description: The host's clock, in seconds since 1970, UTC.
          returned: always
          type: int
        cores:
          description: Processors that a process here may run on.
          returned: always
          type: int
        memory_mb:
          description: Memory in MiB.
          returned: always
          type: int
        free_mb:
          description: Free disk in MiB, by directory.
          returned: always
          type: dict
          sample: {"/": 20480, "/etc": 20480, "/var/lib": 51200}
        ipv6:
          description: Whether the kernel speaks IPv6.
          returned: always
          type: bool
        python_apt:
          description: Whether python3-apt is there.
          returned: always
          type: bool
        apt_lists:
          description: Whether apt has lists of packages.
          returned: always
          type: bool
        open_files:
          description: How many files a service may have open without raising the limit.
          returned: always
          type: int
        open_files_most:
          description: How many it may have open at most, on hosts where systemd may raise the limit.
          returned: always
          type: int
        media_path:
          description: The folder that customers' media libraries are in.
          returned: always
          type: str
          sample: /srv/media/libraries
        media_libraries:
          description: Whether there are libraries.
          returned: always
          type: bool
        panel_database:
          description: Where a panel of this host has its data, without user and password; empty where there is none.
          returned: always
          type: str
          sample: sqlite:////var/lib/streamfleet/panel/panel.sqlite3
        mounts_propagate:
          description: Whether a mount made later is seen by units that have a view of the mounts of their own.
          returned: always
          type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.host_facts import look


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        module.exit_json(changed=False, ansible_facts={"streamfleet_host": look()})
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"The host cannot be looked at: {error}")


if __name__ == "__main__":
    main()
