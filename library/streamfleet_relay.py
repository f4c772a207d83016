#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Relays, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_relay
short_description: Manage a relay of a media service
version_added: 0.2.0
description:
  - Creates, changes or deletes a relay of a media service. A relay in takes a stream of the public Internet over into a
    mount of the service; a relay out sends what is heard on a mount to another server.
  - Relays are changed while the service is on the air. Only the relay that changes connects anew. They go with their
    service, and come back when it is restored; deleted by themselves they are gone for good.
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  media_service:
    description: Slug of the media service, part of the relay's key.
    type: str
    required: true
  name:
    description: Name of the relay in its service, part of the key. Lower-case letters, digits and dashes.
    type: str
    required: true
  direction:
    description: V(in) takes a stream over, V(out) sends the service's own. Needed for a new relay; fixed afterwards.
    type: str
    choices: [in, out]
  address:
    description:
      - The other side, on the public Internet, without user name and password. At most 255 characters. Needed for a
        new relay.
      - Of a relay in, where the stream is, C(http://) or C(https://). Of a relay out, server, port and mount of an
        Icecast, C(icecast://), or C(icecasts://) for TLS.
      - When it leads to another server than before, O(password) must be named, too.
    type: str
  mount:
    description: The service's own mount that is relayed into, or from. The panel takes what players open when a new
      relay names none.
    type: str
  username:
    description: User name for the other side; V(null) for none, of a relay out for C(source).
    type: str
  password:
    description: Password for the other side, which a relay out needs; V(null) for none. Never shown again.
    type: str
  enabled:
    description: V(false) stops the relay.
    type: bool
  djs_first:
    description: Whether a relay in steps aside while a DJ is on the air. Otherwise DJs are heard when it is not. The
      panel takes V(true) when it is omitted.
    type: bool
  silence_seconds:
    description: How long nothing may come before the relay connects anew. From 5 to 300; the panel chooses 15 when it
      is omitted.
    type: int
  reconnect_seconds:
    description: Longest wait between two attempts, of which the first are sooner. From 1 to 3600; the panel chooses 30
      when it is omitted.
    type: int
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.check
seealso:
  - module: streamfleet_apply
  - module: streamfleet_relay_info
  - module: streamfleet_media_service
"""

EXAMPLES = r"""
- name: The network's programme, whenever the station has no live source of its own
  streamfleet_relay:
    media_service: rock-fm
    name: network
    direction: in
    address: https://radio.example.net/live.mp3

- name: The station's stream, also on another server
  streamfleet_relay:
    media_service: rock-fm
    name: mirror
    direction: out
    address: icecasts://mirror.example.net:8443/rock
    password: "{{ vault_mirror_password }}"

- name: Remove a relay
  streamfleet_relay:
    media_service: rock-fm
    name: mirror
    state: absent
"""

RETURN = r"""
operation:
  description: What was done, or would be in check mode. One of V(created), V(updated), V(unchanged), V(deleted).
  returned: success
  type: str
  sample: created
changes:
  description: Per changed field, its value before and after. The password is masked.
  returned: success
  type: dict
  sample: {"silence_seconds": {"before": 15, "after": 30}}
relay:
  description: The relay as it is now, or would be; never the password.
  returned: success
  type: dict
  sample: {"media_service": "rock-fm", "name": "network", "direction": "in", "mount": "/stream", "enabled": true}
nodes:
  description: The generation of the service's node, if its document has changed.
  returned: success
  type: dict
  sample: {"node1": 42}
"""

from ansible.module_utils.streamfleet.objects import run_object_module

FIELDS = {
    "media_service": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "direction": {"type": "str", "choices": ["in", "out"]},
    "address": {"type": "str"},
    "mount": {"type": "str"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "enabled": {"type": "bool"},
    "djs_first": {"type": "bool"},
    "silence_seconds": {"type": "int"},
    "reconnect_seconds": {"type": "int"},
}


def main() -> None:
    """Run the module."""
    run_object_module("relay", FIELDS)


if __name__ == "__main__":
    main()
