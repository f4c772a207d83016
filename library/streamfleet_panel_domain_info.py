#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Resellers' own names for the panel, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_panel_domain_info
short_description: List domains of resellers' own for the panel
version_added: 0.2.0
description:
  - Returns the panel domains that the token may see, all of them or those that the filters leave, with the records that
    prove them and what was found of them. A reseller sees its own.
options:
  reseller:
    description: Only panel domains of this reseller, given by its user name.
    type: str
  name:
    description: Name of one panel domain of O(reseller).
    type: str
  status:
    description: Only panel domains of this status.
    type: str
    choices: [pending, verified, lost]
  leads_to:
    description:
      - Only panel domains whose CNAME, as it was seen last, leads to one of these names. One with a dot before it, as
        C(.cname.example.net), stands for every name below.
      - What leads somewhere by way of another name, or by addresses, is not found so.
    type: list
    elements: str
    version_added: 0.3.0
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_panel_domain
"""

EXAMPLES = r"""
- name: A reseller's names for the panel
  streamfleet_panel_domain_info:
    reseller: shop
  register: result

- name: Those that are not proved yet
  streamfleet_panel_domain_info:
    status: pending
  register: result
"""

RETURN = r"""
panel_domains:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample:
    - reseller: shop
      name: panel.shop.example
      brand: Shop Radio Hosting
      enabled: true
      status: verified
      message: Its record is there.
      verified_at: "2026-11-28T01:00:00Z"
      checked_at: "2026-11-28T01:00:00Z"
      proof:
        txt: {name: _streamfleet.panel.shop.example, value: streamfleet=5f1c0a2b3d4e5f60718293a4}
        cname: null
      points_to: panel.example.net
      cname: panel.example.com
      cname_change: {from: panel.example.com, to: panel.example.net, until: null, txt: false}
"""

from ansible.module_utils.streamfleet.info import run_info_module

FILTERS = {
    "status": {"type": "str", "choices": ["pending", "verified", "lost"]},
    "leads_to": {"type": "list", "elements": "str"},
}


def main() -> None:
    """Run the module."""
    run_info_module("panel_domain", "name", FILTERS, within=["reseller"])


if __name__ == "__main__":
    main()
