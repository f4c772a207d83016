#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reseller plans, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_reseller_plan
short_description: Manage a reseller plan
version_added: 0.1.0
description:
  - Creates, changes or deletes a reseller plan of the panel, the limits that a reseller's customers and services share.
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  name:
    description: Name of the plan, its key.
    type: str
    required: true
  max_customers:
    description: How many customers the reseller may have; V(null) for unlimited, as with every limit here.
    type: int
  max_media_services:
    description: How many media services the reseller and its customers may have in all.
    type: int
  max_listeners:
    description: Sum of the O(streamfleet_media_service#module:max_listeners) of all these services. Those whose engine
      holds no such limit do not count; O(allowed_engines) can leave such engines out.
    type: int
  max_disk_mb:
    description: Sum of their disk quotas, in megabytes.
    type: int
  max_transfer_mb:
    description: Sum of their monthly transfer, in megabytes.
    type: int
  max_mounts:
    description: Sum of their mounts.
    type: int
  max_mounts_per_service:
    description: Mounts of each single service.
    type: int
  max_bitrate_kbps:
    description: Highest bit rate of each single service whose engine holds that limit, in kbit/s.
    type: int
  max_panel_domains:
    description: Domains of its own under which a reseller's customers find the panel. The panel's default is V(1).
    type: int
  max_renditions:
    description: Most O(streamfleet_media_service#module:max_renditions) of each single service for which something
      can be encoded.
    type: int
  max_transcode_mpixels:
    description: Most O(streamfleet_media_service#module:max_transcode_mpixels) of each single service for which
      something can be encoded.
    type: int
  allowed_engines:
    description: Engines that the services may use; V(null) for all.
    type: list
    elements: str
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.check
seealso:
  - module: streamfleet_apply
  - module: streamfleet_reseller_plan_info
"""

EXAMPLES = r"""
- name: A plan for small resellers
  streamfleet_reseller_plan:
    name: bronze
    max_customers: 10
    max_media_services: 10
    max_listeners: 1000
    allowed_engines: [icecast]

- name: Lift the limit on customers
  streamfleet_reseller_plan:
    name: bronze
    max_customers: null

- name: Remove the plan
  streamfleet_reseller_plan:
    name: bronze
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
  sample: {"max_customers": {"before": 10, "after": null}}
reseller_plan:
  description: The plan as it is now, or would be.
  returned: success
  type: dict
  sample: {"name": "bronze", "max_customers": 10}
nodes:
  description: The generation of every node whose services are touched.
  returned: success
  type: dict
  sample: {}
"""

from ansible.module_utils.streamfleet.objects import run_object_module

FIELDS = {
    "name": {"type": "str", "required": True},
    "max_customers": {"type": "int"},
    "max_media_services": {"type": "int"},
    "max_listeners": {"type": "int"},
    "max_disk_mb": {"type": "int"},
    "max_transfer_mb": {"type": "int"},
    "max_mounts": {"type": "int"},
    "max_mounts_per_service": {"type": "int"},
    "max_bitrate_kbps": {"type": "int"},
    "max_panel_domains": {"type": "int"},
    "max_renditions": {"type": "int"},
    "max_transcode_mpixels": {"type": "int"},
    "allowed_engines": {"type": "list", "elements": "str"},
}


def main() -> None:
    """Run the module."""
    run_object_module("reseller_plan", FIELDS)


if __name__ == "__main__":
    main()
