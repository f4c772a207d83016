#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Custom domains, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_domain_info
short_description: List custom domains
version_added: 0.2.0
description:
  - Returns the domains of the media services that the token may see, all of them or those that the filters leave, with
    the records that prove them and what was found of them. Those of deleted services are not among them.
options:
  media_service:
    description: Only domains of this media service, given by its slug.
    type: str
  name:
    description: Name of one domain of O(media_service).
    type: str
  status:
    description: Only domains of this status.
    type: str
    choices: [pending, verified, lost]
  leads_to:
    description:
      - Only domains whose CNAME, as it was seen last, leads to one of these names. One with a dot before it, as
        C(.cname.example.net), stands for every name below.
      - What leads somewhere by way of another name, or by addresses, is not found so.
    type: list
    elements: str
    version_added: 0.3.0
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_domain
"""

EXAMPLES = r"""
- name: All domains of a station
  streamfleet_domain_info:
    media_service: rock-fm
  register: result

- name: Domains whose owners took their record away
  streamfleet_domain_info:
    status: lost
  register: result
"""

RETURN = r"""
domains:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample:
    - media_service: rock-fm
      name: radio.example.com
      enabled: true
      status: verified
      message: Its record is there.
      verified_at: "2026-11-28T01:00:00Z"
      checked_at: "2026-11-28T01:00:00Z"
      proof:
        txt: {name: _streamfleet.radio.example.com, value: streamfleet=5f1c0a2b3d4e5f60718293a4}
        cname: {name: radio.example.com, value: 5f1c0a2b3d4e5f60718293a4.cname.example.org}
      points_to: stream.example.net
      cname: 5f1c0a2b3d4e5f60718293a4.cname.example.net
      cname_change:
        from: 5f1c0a2b3d4e5f60718293a4.cname.example.net
        to: 5f1c0a2b3d4e5f60718293a4.cname.example.org
        until: "2027-03-01"
        txt: false
"""

from ansible.module_utils.streamfleet.info import run_info_module

FILTERS = {
    "status": {"type": "str", "choices": ["pending", "verified", "lost"]},
    "leads_to": {"type": "list", "elements": "str"},
}


def main() -> None:
    """Run the module."""
    run_info_module("domain", "name", FILTERS, within=["media_service"])


if __name__ == "__main__":
    main()
