#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Accounts, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_customer_info
short_description: List customers
version_added: 0.1.0
description:
  - Returns the customers that the token may see, all of them or those that the filters leave.
options:
  username:
    description: User name of one account.
    type: str
  status:
    description: Only accounts in this status.
    type: str
    choices: [enabled, disabled]
  account_type:
    description: Only accounts of this type.
    type: str
    choices: [customer, administrator]
  reseller:
    description: Only customers of this reseller, given by its user name.
    type: str
  reseller_plan:
    description: Only resellers with this plan.
    type: str
  deleted:
    description: Return accounts that are deleted and still kept, instead of those that are there.
    type: bool
    default: false
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_customer
"""

EXAMPLES = r"""
- name: One customer
  streamfleet_customer_info:
    username: alice
  register: result

- name: Who is disabled
  streamfleet_customer_info:
    status: disabled
  register: result
"""

RETURN = r"""
customers:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample: [{"username": "alice", "status": "enabled"}]
"""

from ansible.module_utils.streamfleet.info import run_info_module

FILTERS = {
    "status": {"type": "str", "choices": ["enabled", "disabled"]},
    "account_type": {"type": "str", "choices": ["customer", "administrator"]},
    "reseller": {"type": "str"},
    "reseller_plan": {"type": "str"},
    "deleted": {"type": "bool", "default": False},
}


def main() -> None:
    """Run the module."""
    run_info_module("customer", "username", FILTERS)


if __name__ == "__main__":
    main()
