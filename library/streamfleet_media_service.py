#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Media services, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_media_service
short_description: Manage a radio station or a video channel
version_added: 0.1.0
description:
  - Creates, changes or deletes a media service of the panel. The panel's worker brings the change to the service's
    node.
  - A deleted service goes off the air at once; its data is kept for the panel's grace period.
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  slug:
    description: Name of the service in addresses, its key. Lower-case letters, digits and dashes.
    type: str
    required: true
  name:
    description: Name for people.
    type: str
  customer:
    description: User name of the customer that the service belongs to.
    type: str
  engine:
    description: Program that carries the stream, for example V(icecast) or V(nginx_rtmp). Fixed after creation.
    type: str
  service_type:
    description: Kind of service that the engine offers. Fixed after creation; by default the engine's first.
    type: str
  node:
    description: Node that runs the service. By default the active node with this engine and the fewest services.
    type: str
  port:
    description: Port of the service, for engines that need one. By default the next free one of the node.
    type: int
  enabled:
    description: V(false) takes the service off the air.
    type: bool
  suspended:
    description: V(true) takes the service off the air and keeps its owner from starting it.
    type: bool
  suspend_reason:
    description: Why, for the owner to read.
    type: str
  suspended_until:
    description: End of the suspension as RFC 3339 date and time, for example V(2027-01-31T12:00:00Z); V(null) for no
      end.
    type: str
  monthly_transfer_mb:
    description:
      - Transfer in a month of UTC, in megabytes; V(null) for unlimited, as with every limit here.
      - A service that has reached it is over quota, off the air, until the next month, or until the limit is raised.
    type: int
  disk_quota_mb:
    description: Disk space, in megabytes.
    type: int
  max_mounts:
    description: Number of mounts.
    type: int
  max_domains:
    description: Number of custom domains. The panel takes 5 for a new service that names none.
    type: int
  max_renditions:
    description: Number of O(renditions), smaller pictures that are encoded on the node.
    type: int
  max_transcode_mpixels:
    description: Megapixels that are encoded in a second for O(renditions), counted at 16:9 and 30 pictures a second;
      720 lines are 27.6, 480 are 12.3. The encoder decides how many pictures really come.
    type: int
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.check
  - streamfleet_engines
seealso:
  - module: streamfleet_apply
  - module: streamfleet_media_service_control
  - module: streamfleet_media_service_info
  - module: streamfleet_dj
  - module: streamfleet_domain
  - module: streamfleet_mount
  - module: streamfleet_playlist
  - module: streamfleet_relay
"""

EXAMPLES = r"""
- name: A radio station with two mounts
  streamfleet_media_service:
    slug: rock-fm
    name: Rock FM
    customer: alice
    engine: icecast
    max_listeners: 200
    mounts:
      - {name: /high.mp3, format: mp3, bitrate_kbps: 192}
      - {name: /low.aac, format: aac, bitrate_kbps: 48}
    source_password: "{{ vault_rock_fm_source_password }}"

- name: A video channel; the panel makes its stream key
  streamfleet_media_service:
    slug: town-tv
    name: Town TV
    customer: bob
    engine: nginx_rtmp

- name: A television channel that plays the customer's library by itself, by playlists of M(streamfleet_playlist)
  streamfleet_media_service:
    slug: ada-tv
    customer: bob
    engine: wowza
    service_type: tv_station
    timezone: Europe/Prague

- name: Suspend the station
  streamfleet_media_service:
    slug: rock-fm
    suspended: true
    suspend_reason: Invoice 2026-113 is overdue
    suspended_until: "2026-12-31T12:00:00Z"

- name: Delete the channel
  streamfleet_media_service:
    slug: town-tv
    state: absent
"""

RETURN = r"""
operation:
  description: What was done, or would be in check mode. One of V(created), V(updated), V(unchanged), V(deleted).
  returned: success
  type: str
  sample: updated
changes:
  description: Per changed field, its value before and after. Stream credentials are masked.
  returned: success
  type: dict
  sample: {"suspended": {"before": false, "after": true}}
media_service:
  description: The service as it is now, or would be; never its credentials (see M(streamfleet_media_service_info)).
  returned: success
  type: dict
  sample: {"slug": "rock-fm", "customer": "alice", "engine": "icecast", "node": "node1", "port": 8000}
nodes:
  description: The generation of the service's node, if its document has changed.
  returned: success
  type: dict
  sample: {"node1": 42}
"""

from ansible.module_utils.streamfleet.engine_options import ENGINE_OPTIONS
from ansible.module_utils.streamfleet.objects import run_object_module

FIELDS = {
    "slug": {"type": "str", "required": True},
    "name": {"type": "str"},
    "customer": {"type": "str"},
    "engine": {"type": "str"},
    "service_type": {"type": "str"},
    "node": {"type": "str"},
    "port": {"type": "int"},
    "enabled": {"type": "bool"},
    "suspended": {"type": "bool"},
    "suspend_reason": {"type": "str"},
    "suspended_until": {"type": "str"},
    "max_listeners": {"type": "int"},
    "max_bitrate_kbps": {"type": "int"},
    "monthly_transfer_mb": {"type": "int"},
    "disk_quota_mb": {"type": "int"},
    "max_mounts": {"type": "int"},
    "max_domains": {"type": "int"},
    "max_renditions": {"type": "int"},
    "max_transcode_mpixels": {"type": "int"},
    **ENGINE_OPTIONS,
}


def main() -> None:
    """Run the module."""
    run_object_module("media_service", FIELDS)


if __name__ == "__main__":
    main()
