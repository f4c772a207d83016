#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Customers, resellers and administrators, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_customer
short_description: Manage a customer, a reseller or an administrator
version_added: 0.1.0
description:
  - Creates, changes or deletes an account of the panel.
  - A deleted customer's media services go off the air at once; their data is kept for the panel's grace period.
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  username:
    description: Name that the account logs in with, its key.
    type: str
    required: true
  password:
    description:
      - Login password, at least 5 characters. When it is set is decided by O(update_password).
      - Without one the account cannot log in until a password is set.
    type: str
  name:
    description: The person's or the company's name.
    type: str
  email:
    description: E-mail address, for notices and password resets.
    type: str
  contact_number:
    description: Telephone number, for the administrators' information.
    type: str
  status:
    description: A V(disabled) account cannot log in, its tokens are refused, and its services are off the air.
    type: str
    choices: [enabled, disabled]
  api_access:
    description: With V(false) every API call of this account is refused.
    type: bool
  accessibility_features:
    description: Adds aids for screen readers to the pages of this account.
    type: bool
  send_welcome_email:
    description: Send the welcome message when the account is created. Without effect on an account that exists.
    type: bool
  account_type:
    description: An V(administrator) may do everything.
    type: str
    choices: [customer, administrator]
  reseller_plan:
    description: Name of the plan that makes this account a reseller; V(null) for none.
    type: str
  reseller:
    description: User name of the reseller that this customer belongs to; V(null) for none.
    type: str
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.passwords
  - streamfleet.check
seealso:
  - module: streamfleet_apply
  - module: streamfleet_customer_info
"""

EXAMPLES = r"""
- name: A customer
  streamfleet_customer:
    username: alice
    password: "{{ vault_alice_password }}"
    name: Alice Example
    email: alice@example.net

- name: A reseller
  streamfleet_customer:
    username: resell-ltd
    password: "{{ vault_resell_password }}"
    reseller_plan: bronze

- name: No log in and no streams until the bill is paid
  streamfleet_customer:
    username: alice
    status: disabled

- name: Delete the customer
  streamfleet_customer:
    username: alice
    state: absent
"""

RETURN = r"""
operation:
  description: What was done, or would be in check mode. One of V(created), V(updated), V(unchanged), V(deleted).
  returned: success
  type: str
  sample: updated
changes:
  description: Per changed field, its value before and after. The password is masked.
  returned: success
  type: dict
  sample: {"status": {"before": "enabled", "after": "disabled"}}
customer:
  description: The account as it is now, or would be; never its password.
  returned: success
  type: dict
  sample: {"username": "alice", "status": "disabled"}
nodes:
  description: The generation of every node whose services are touched.
  returned: success
  type: dict
  sample: {"node1": 42}
"""

from ansible.module_utils.streamfleet.objects import run_object_module

FIELDS = {
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "no_log": True},
    "name": {"type": "str"},
    "email": {"type": "str"},
    "contact_number": {"type": "str"},
    "status": {"type": "str", "choices": ["enabled", "disabled"]},
    "api_access": {"type": "bool"},
    "accessibility_features": {"type": "bool"},
    "send_welcome_email": {"type": "bool"},
    "account_type": {"type": "str", "choices": ["customer", "administrator"]},
    "reseller_plan": {"type": "str"},
    "reseller": {"type": "str"},
}


def main() -> None:
    """Run the module."""
    run_object_module("customer", FIELDS, passwords=True)


if __name__ == "__main__":
    main()
