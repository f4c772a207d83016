#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mounts, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_mount
short_description: Manage a mount of a media service
version_added: 0.2.0
description:
  - Creates, changes or deletes one mount of a media service, and leaves its other mounts as they are, also when several
    such tasks run at the same time.
  - The same mounts are the items of the service's own list (C(mounts) of Icecast, C(streams) of Shoutcast 2), which
    M(streamfleet_media_service) sets whole. Who names that list decides on every mount of the service.
  - O(default=true) makes it what players open, instead of the mount that was that before. Without any, it is the first.
  - Mounts have no label. Nothing prunes them but their service's own list.
  - Who listens to another mount notices nothing. Who listens to a mount that is deleted is disconnected.
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  media_service:
    description: Slug of the media service, part of the mount's key.
    type: str
    required: true
  name:
    description: Path of the mount, for example V(/low.aac); part of the key.
    type: str
    required: true
  state:
    description: Whether the mount is to be there. A service keeps at least one, those that others fall back to, and
      those that relays use.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: The panel plans the change in a dry run, with the same rules that decide the real one, and stores
      nothing.
  diff_mode:
    support: full
    description: Returns what has changed (or in check mode would change) field by field.
notes:
  - An option that is omitted leaves its field as it is; an explicit V(null) empties the field (for a limit, unlimited).
extends_documentation_fragment:
  - streamfleet
  - streamfleet.check
  - streamfleet_engines.mount
seealso:
  - module: streamfleet_apply
  - module: streamfleet_media_service
  - module: streamfleet_mount_info
"""

EXAMPLES = r"""
- name: A mount for small connections, which falls back to the big one
  streamfleet_mount:
    media_service: rock-fm
    name: /low.aac
    format: aac
    bitrate_kbps: 48
    fallback: /stream

- name: Players open it from now on
  streamfleet_mount:
    media_service: rock-fm
    name: /low.aac
    default: true

- name: Remove it
  streamfleet_mount:
    media_service: rock-fm
    name: /low.aac
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
  sample: {"bitrate_kbps": {"before": 48, "after": 64}}
mount:
  description: The mount as it is now, or would be.
  returned: success
  type: dict
  sample: {"media_service": "rock-fm", "name": "/low.aac", "format": "aac", "bitrate_kbps": 48, "fallback": "/stream"}
nodes:
  description: The generation of the service's node, if its document has changed.
  returned: success
  type: dict
  sample: {"node1": 42}
"""

from ansible.module_utils.streamfleet.engine_options import MOUNT_OPTIONS
from ansible.module_utils.streamfleet.objects import run_object_module

FIELDS = {
    "media_service": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    **MOUNT_OPTIONS,
}


def main() -> None:
    """Run the module."""
    run_object_module("mount", FIELDS, labelled=False)


if __name__ == "__main__":
    main()
