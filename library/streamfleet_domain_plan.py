#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_domain_plan
short_description: Say what a change of host names means for hosts and for the inventory's files
version_added: 0.3.0
description:
  - Runs on the controller, and writes nothing. Names are checked, and the hosts that have them are found.
  - Files of the inventory are the sources with which Ansible was started, and C(group_vars) and C(host_vars) beside
    them and beside the playbook. Of these, what is YAML and not encrypted is read line by line, and a unified diff is
    made.
options:
  hosts:
    description: >-
      The hosts, each with C(name), C(panel_host), C(stream_host), C(domain_target), C(former_panel_hosts),
      C(former_stream_hosts), C(former_domain_targets), in C(extra) other variables whose text may hold a host name, and
      in C(noted) what M(streamfleet_domain_change) has noted on it.
    type: list
    elements: dict
    required: true
  from:
    description: The name that is replaced, or C(.streams.example.net) for all names that end so.
    type: str
  to:
    description: What takes its place.
    type: str
  release:
    description: A former name that is given up, or as in O(from) all below one, instead of O(from) and O(to).
    type: str
  last_day:
    description: The last day on which old names are served, C(2027-03-01).
    type: str
    default: ""
  sources:
    description: Sources of the inventory.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns no diff of the host; that of the inventory is returned as RV(patch).
    support: none
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Say what would change
  streamfleet_domain_plan:
    hosts: "{{ __hosts }}"
    from: stream.example.net
    to: stream.example.org
    last_day: "2027-03-01"
    sources: "{{ ansible_inventory_sources }}"
  register: __plan
"""

RETURN = r"""
renames:
  description: Every name that is replaced, with C(host), C(kind) (panel, streams, target), C(old) and C(new).
  returned: success
  type: list
  elements: dict
variables:
  description: By host the variables C(before) and after the change (C(target)).
  returned: success
  type: dict
patch:
  description: Unified diff of the inventory's files, for C(patch -p1) in RV(folder); empty where they say it already.
  returned: success
  type: str
folder:
  description:
    - The folder from which the paths of RV(patch) are written. The working directory, where all files are below it,
      else the deepest one that has them all; empty where there is no patch.
  returned: success
  type: str
by_hand:
  description: What no file says as such, in sentences.
  returned: success
  type: list
  elements: str
"""
