#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""API tokens."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_token
short_description: Make or revoke a token of the panel's API
version_added: 0.1.0
description:
  - Makes a token, or revokes it. The panel stores only its hash, so the token itself is returned once, when it is made.
  - The output of a task that makes one is hidden, as with C(no_log); the registered result holds the token.
options:
  name:
    description: What the token is called; with O(scope) and O(account) its key.
    type: str
    required: true
  state:
    description: V(present) makes the token unless there is a valid one; V(absent) revokes all of this name.
    type: str
    choices: [present, absent]
    default: present
  scope:
    description:
      - V(account) may do what its account may. V(node:NAME), V(worker) and V(metrics) are for machines and belong
        to no account; only administrators can make them.
    type: str
    default: account
  account:
    description: User name of the account that the token is for. By default the account of O(token).
    type: str
  expires_at:
    description: When the token stops working, as RFC 3339 date and time. By default never. Looked at on making only.
    type: str
  replace:
    description: Make a new token even if there is a valid one, and then revoke the old one.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says whether a token would be made or revoked, and does neither.
  diff_mode:
    support: full
    description: Returns names, scopes and expiry, never a token.
extends_documentation_fragment:
  - streamfleet
"""

EXAMPLES = r"""
- name: A token for the billing system
  streamfleet_token:
    name: billing
    account: resell-ltd
    expires_at: "2027-12-31T00:00:00Z"
  register: result

- name: Keep it where the billing system finds it
  ansible.builtin.copy:
    content: "{{ result.token }}"
    dest: /etc/billing/streamfleet-token
    mode: "0600"
  when: result.token is defined

- name: Revoke it
  streamfleet_token:
    name: billing
    account: resell-ltd
    state: absent
"""

RETURN = r"""
token:
  description: The token. It cannot be read again.
  returned: when one was made
  type: str
  sample: sft_********
info:
  description: What the panel knows of the token, without the token.
  returned: state is present, outside check mode or when there is one
  type: dict
  sample: {"id": "a1b2c3d4", "name": "billing", "scope": "account", "account": "resell-ltd", "expires_at": null}
revoked:
  description: Ids of the tokens that were revoked, or would be.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.streamfleet.tokens import run_token_module


def main() -> None:
    """Run the module."""
    run_token_module()


if __name__ == "__main__":
    main()
