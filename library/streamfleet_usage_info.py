#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What media services use, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_usage_info
short_description: List what media services use
version_added: 0.2.0
description:
  - Returns, for each media service that the token may see, what its node has measured beside what it may use.
  - Nodes measure every 15 seconds and are asked about every 30. Null is what is not known, because an engine does not
    tell it or has not answered.
options:
  media_service:
    description: Only this media service, given by its slug.
    type: str
  customer:
    description: Only media services of this customer.
    type: str
  engine:
    description: Only media services of this engine.
    type: str
  node:
    description: Only media services on this node.
    type: str
  search:
    description: Only media services with this text in slug or name, in any case.
    type: str
extends_documentation_fragment:
  - streamfleet
seealso:
  - module: streamfleet_media_service_info
  - module: streamfleet_listener_session_info
attributes:
  check_mode:
    support: full
    description: It only reads.
"""

EXAMPLES = r"""
- name: What a station uses
  streamfleet_usage_info:
    media_service: rock-fm
  register: result

- name: Name stations of a node that are nearly full
  streamfleet_usage_info:
    node: node1
  register: result

- name: Show them
  ansible.builtin.debug:
    msg: "{{ item.media_service }}: {{ item.listeners }} of {{ item.max_listeners }} listeners"
  loop: "{{ result.usage | rejectattr('max_listeners', 'none') | rejectattr('listeners', 'none') }}"
  loop_control:
    label: "{{ item.media_service }}"
  when: item.listeners >= 0.9 * item.max_listeners
"""

RETURN = r"""
usage:
  description: What was found, by slug; empty where there is nothing.
  returned: success
  type: list
  elements: dict
  contains:
    media_service:
      description: Slug of the media service.
      type: str
      sample: rock-fm
    customer:
      description: Its owner.
      type: str
      sample: alice
    node:
      description: Its node.
      type: str
      sample: node1
    engine:
      description: Its engine.
      type: str
      sample: icecast
    listeners:
      description: How many listen or watch now.
      type: int
      sample: 12
    listeners_peak:
      description: The most at once in this month of UTC.
      type: int
      sample: 40
    max_listeners:
      description: How many may; null for unlimited.
      type: int
      sample: 50
    sources:
      description: >-
        What sends to it, with C(mount), C(kind) (encoder, relay or autodj), C(since), C(announced_kbps) and C(kbps) as
        measured over up to a minute.
      type: list
      elements: dict
      sample:
        - {mount: /stream, kind: encoder, since: "2026-11-27T10:00:00Z", announced_kbps: 128, kbps: 131}
    max_bitrate_kbps:
      description: What each source may send; null for unlimited.
      type: int
      sample: 128
    dropped_sources:
      description: >-
        The last sources that were sent away for sending more, with C(at), C(mount), C(kbps) and C(limit_kbps).
      type: list
      elements: dict
      sample:
        - {at: "2026-11-27T09:00:00Z", mount: /stream, kbps: 320, limit_kbps: 128}
    mounts:
      description: How many mounts it has; null for an engine without mounts.
      type: int
      sample: 2
    max_mounts:
      description: How many it may have; null for unlimited.
      type: int
      sample: 4
    transferred_mb:
      description: Whole megabytes that it has sent in this month of UTC.
      type: int
      sample: 5120
    monthly_transfer_mb:
      description: What it may send; null for unlimited.
      type: int
      sample: 100000
    own_files_mb:
      description: Megabytes of its own files, as recordings; begun ones count as whole.
      type: int
      sample: 12
    library_mb:
      description: Megabytes of its customer's media library on the node, which all the customer's services there share.
      type: int
      sample: 310
    library_quota_mb:
      description: >-
        What may be stored in that library, in MB; the sum of C(disk_quota_mb) of the services that use it. Null for
        unlimited, and where there is none.
      type: int
      sample: 2000
    disk_quota_mb:
      description: What the service adds to the library's limit; null for unlimited.
      type: int
      sample: 500
    reported_at:
      description: When the node told it; null where it has not yet.
      type: str
      sample: "2026-11-27T10:12:30Z"
"""

from typing import Any

from ansible.module_utils.streamfleet.runtime import Module, run

FILTERS = {name: {"type": "str"} for name in ("media_service", "customer", "engine", "node", "search")}


def _read(module: Module) -> dict[str, Any]:
    query = {name: module.params[name] for name in FILTERS if module.params[name] is not None}
    return {"changed": False, "usage": list(module.panel.items("usage", query))}


def main() -> None:
    """Run the module."""
    module = Module(argument_spec=dict(FILTERS), supports_check_mode=True)
    run(module, lambda _module: _read(module))


if __name__ == "__main__":
    main()
