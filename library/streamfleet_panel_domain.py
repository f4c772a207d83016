#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Resellers' own names for the panel, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_panel_domain
short_description: Manage a domain of a reseller's own for the panel
version_added: 0.2.0
description:
  - Creates, changes or deletes a domain under which a reseller and its customers find the panel, with the reseller's
    brand instead of the operator's. Nobody else can log in there, administrators neither.
  - A new domain is pending until a DNS record proves that it is the reseller's; RV(panel_domain.proof) says which. The
    panel looks for the record as it does for those of M(streamfleet_domain).
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  reseller:
    description: User name of the reseller, part of the domain's key.
    type: str
    required: true
  name:
    description:
      - The domain, part of the key. In lower case, an international one as an A-label (C(xn--)), no wildcard, at most
        128 characters.
      - Names of the installation itself are refused.
    type: str
    required: true
  brand:
    description: What the panel is called under the domain, at most 60 characters. V(null) for the reseller's own name.
    type: str
  enabled:
    description: V(false) has the domain stay proved, and the panel not answer under it.
    type: bool
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.check
seealso:
  - module: streamfleet_apply
  - module: streamfleet_panel_domain_info
  - module: streamfleet_reseller_plan
"""

EXAMPLES = r"""
- name: The panel under the reseller's own name
  streamfleet_panel_domain:
    reseller: shop
    name: panel.shop.example
    brand: Shop Radio Hosting
  register: result

- name: The record that proves it
  ansible.builtin.debug:
    msg: "{{ result.panel_domain.proof.txt.name }} TXT {{ result.panel_domain.proof.txt.value }}"

- name: Remove it
  streamfleet_panel_domain:
    reseller: shop
    name: panel.shop.example
    state: absent
"""

RETURN = r"""
operation:
  description: What was done, or would be in check mode. One of V(created), V(updated), V(unchanged), V(deleted).
  returned: success
  type: str
  sample: created
changes:
  description: Per changed field, its value before and after.
  returned: success
  type: dict
  sample: {"brand": {"before": null, "after": "Shop Radio Hosting"}}
panel_domain:
  description: The domain as it is now, or would be.
  returned: success
  type: dict
  contains:
    status:
      description: Whether it is V(pending), V(verified) or V(lost).
      returned: always
      type: str
      sample: pending
    message:
      description: What was found at the last look, and what to do.
      returned: always
      type: str
      sample: It has not been looked at yet.
    proof:
      description: The record that proves it. C(cname) is always V(null). In check mode all of it is V(null) for a
        reseller that is not there yet.
      returned: always
      type: dict
      sample: {"txt": {"name": "_streamfleet.panel.shop.example", "value": "streamfleet=5f1c…"}, "cname": null}
    points_to:
      description: The host that the domain itself has to lead to.
      returned: always
      type: str
      sample: panel.example.net
    cname:
      description: What its CNAME led to when it was looked at last; null where there was none.
      returned: always
      type: str
      sample: panel.example.com
    cname_change:
      description: >-
        What is to be changed of a CNAME that leads to a former name of the installation: C(from), what was seen; C(to);
        C(until), the last day on which the former name is kept, null where the panel is told none; C(txt), whether
        the TXT record must be set first, as what it is to lead to proves nothing. null where nothing is to be changed.
      returned: always
      type: dict
      sample: {"from": "panel.example.com", "to": "panel.example.net", "until": null, "txt": false}
nodes:
  description: Always empty, since no node has to do with it.
  returned: success
  type: dict
  sample: {}
"""

from ansible.module_utils.streamfleet.objects import run_object_module

FIELDS = {
    "reseller": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "brand": {"type": "str"},
    "enabled": {"type": "bool"},
}


def main() -> None:
    """Run the module."""
    run_object_module("panel_domain", FIELDS)


if __name__ == "__main__":
    main()
