#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_predict
short_description: Run a module; in check mode predict changed where what it needs is missing
version_added: 0.1.0
description:
  - Runs another module with the given arguments.
  - In check mode, when something in O(needs) is not on the host yet because an earlier step of the same run would
    have put it there, reports C(changed) instead of failing, so that C(--check) on a fresh host runs through and
    tells the truth.
options:
  module:
    description: Name of the module to run.
    type: str
    required: true
  args:
    description: Its arguments.
    type: dict
    default: {}
  needs:
    description:
      - What must be there for the module to run. Each key takes one name or a list of them.
      - Keys are C(unit), C(path), C(user), C(group), C(command).
    type: dict
    required: true
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns what the module returns.
    support: full
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Start nginx and enable it
  streamfleet_predict:
    needs:
      unit: nginx.service
    module: ansible.builtin.systemd_service
    args:
      name: nginx.service
      state: started
      enabled: true
"""

RETURN = r"""
predicted:
  description: True where the module was not run because something is not there yet.
  returned: in check mode, when something is missing
  type: bool
"""
