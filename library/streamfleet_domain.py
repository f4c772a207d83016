#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Custom domains, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_domain
short_description: Manage a custom domain of a media service
version_added: 0.2.0
description:
  - Creates, changes or deletes a domain of the customer's own, under which a media service is heard or watched.
  - A new domain is pending until a DNS record proves that it is the customer's; RV(domain.proof) says which. The panel
    looks for the record by itself, soon and then less and less often for 30 days. Verified domains are looked at daily;
    one whose record has gone for three days is lost, and is not served any more.
  - Several customers may claim a name. Who proves it first holds it.
  - Domains go with their service, and come back when it is restored; deleted by themselves they are gone for good.
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  media_service:
    description: Slug of the media service, part of the domain's key.
    type: str
    required: true
  name:
    description:
      - The domain, part of the key. In lower case, an international one as an A-label (C(xn--)), no wildcard, at most
        128 characters.
      - A customer has a name once, whatever the service. Names of the installation itself are refused.
    type: str
    required: true
  enabled:
    description: V(false) has the domain stay proved, and not be served.
    type: bool
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.check
seealso:
  - module: streamfleet_apply
  - module: streamfleet_domain_info
  - module: streamfleet_media_service
"""

EXAMPLES = r"""
- name: A domain of the station's own
  streamfleet_domain:
    media_service: rock-fm
    name: radio.example.com
  register: result

- name: The record that proves it
  ansible.builtin.debug:
    msg: "{{ result.domain.proof.txt.name }} TXT {{ result.domain.proof.txt.value }}"

- name: Remove it
  streamfleet_domain:
    media_service: rock-fm
    name: radio.example.com
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
  sample: {"enabled": {"before": true, "after": false}}
domain:
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
      description: The records of which one proves it. C(cname) is V(null) where the operator has set no target for
        CNAMEs. In check mode V(null) for a customer that is not there yet.
      returned: always
      type: dict
      sample: {"txt": {"name": "_streamfleet.radio.example.com", "value": "streamfleet=5f1c…"}, "cname": null}
    points_to:
      description: The host that the domain itself has to lead to.
      returned: always
      type: str
      sample: stream.example.net
    cname:
      description: What its CNAME led to when it was looked at last; null where there was none.
      returned: always
      type: str
      sample: 5f1c0a2b3d4e5f60718293a4.cname.example.net
    cname_change:
      description: >-
        What is to be changed of a CNAME that leads to a former name of the installation: C(from), what was seen; C(to);
        C(until), the last day on which the former name is kept, null where the panel is told none; C(txt), whether
        the TXT record must be set first, as what it is to lead to proves nothing. null where nothing is to be changed.
      returned: always
      type: dict
      sample:
        from: 5f1c0a2b3d4e5f60718293a4.cname.example.net
        to: 5f1c0a2b3d4e5f60718293a4.cname.example.org
        until: "2027-03-01"
        txt: false
nodes:
  description: The generation of the service's node, if its document has changed. It has for verified domains only.
  returned: success
  type: dict
  sample: {"node1": 42}
"""

from ansible.module_utils.streamfleet.objects import run_object_module

FIELDS = {
    "media_service": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "enabled": {"type": "bool"},
}


def main() -> None:
    """Run the module."""
    run_object_module("domain", FIELDS)


if __name__ == "__main__":
    main()
