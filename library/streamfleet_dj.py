#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""DJs, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_dj
short_description: Manage a DJ of a media service
version_added: 0.2.0
description:
  - Creates, changes or deletes a DJ of a media service, who connects with a user name and a password and is heard
    instead of the AutoDJ.
  - DJs are changed while the service is on the air. Nothing is restarted for them, and nobody is disconnected but a DJ
    who is deleted, disabled or gets another password. They go with their service, and come back when it is restored;
    deleted by themselves they are gone for good.
  - The service must have an AutoDJ, which is switched on with the option C(autodj) of M(streamfleet_media_service).
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  media_service:
    description: Slug of the media service, part of the DJ's key. Its C(autodj) must not be null.
    type: str
    required: true
  username:
    description: User name with which the DJ connects, and the name of the mount; part of the key. Lower-case letters,
      digits and dashes, at most 32.
    type: str
    required: true
  name:
    description: Name that people see; V(null) for none.
    type: str
  password:
    description:
      - Password with which the DJ's encoder connects. 8 to 64 letters, digits and C(. _ ~ -).
      - The panel makes one for a new DJ when it is omitted; M(streamfleet_dj_info) reads it.
    type: str
  priority:
    description: Of several DJs who are connected the one with the highest number is heard, and interrupts the others.
      From 1 to 100; the panel chooses 10 when it is omitted.
    type: int
  enabled:
    description: V(false) keeps the DJ from connecting, and ends a connection.
    type: bool
  scheduled_only:
    description: V(true) lets the DJ be connected at the times in O(active) only.
    type: bool
  active:
    description: Times for O(scheduled_only), in the service's time zone, beside those of M(streamfleet_schedule);
      V(null) for none.
    type: list
    elements: dict
    suboptions:
      days:
        description: Days of the week on which the time begins; V(null) for every day.
        type: list
        elements: str
        choices: [mon, tue, wed, thu, fri, sat, sun]
      start:
        description: Time of day as HH:MM, in quotes, since YAML reads C(22:00) as a number.
        type: str
        required: true
      end:
        description: Time of day as HH:MM, in quotes. One that is not after O(active[].start) is on the next day.
        type: str
        required: true
  grace_seconds:
    description: How long the air is kept for the DJ after a drop-out; nobody of the same priority takes it meanwhile.
      From 0 to 300; the panel chooses 10 when it is omitted.
    type: int
  record:
    description: Whether the node keeps what the DJ sends.
    type: bool
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.check
seealso:
  - module: streamfleet_apply
  - module: streamfleet_dj_info
  - module: streamfleet_media_service
"""

EXAMPLES = r"""
- name: A DJ who may go on the air at any time, with a password that the panel makes
  streamfleet_dj:
    media_service: rock-fm
    username: anna
    name: Anna B.

- name: The morning show, which interrupts other DJs, on weekdays only
  streamfleet_dj:
    media_service: rock-fm
    username: morning-show
    password: "{{ vault_morning_show_password }}"
    priority: 50
    scheduled_only: true
    active:
      - {days: [mon, tue, wed, thu, fri], start: "06:00", end: "10:00"}
    record: true

- name: Remove a DJ
  streamfleet_dj:
    media_service: rock-fm
    username: anna
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
  sample: {"priority": {"before": 10, "after": 50}}
dj:
  description: The DJ as it is now, or would be; never the password.
  returned: success
  type: dict
  sample: {"media_service": "rock-fm", "username": "anna", "name": "Anna B.", "priority": 10, "enabled": true}
nodes:
  description: The generation of the service's node, if its document has changed.
  returned: success
  type: dict
  sample: {"node1": 42}
"""

from ansible.module_utils.streamfleet.arguments import TIMES
from ansible.module_utils.streamfleet.objects import run_object_module

FIELDS = {
    "media_service": {"type": "str", "required": True},
    "username": {"type": "str", "required": True},
    "name": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "priority": {"type": "int"},
    "enabled": {"type": "bool"},
    "scheduled_only": {"type": "bool"},
    "active": TIMES,
    "grace_seconds": {"type": "int"},
    "record": {"type": "bool"},
}


def main() -> None:
    """Run the module."""
    run_object_module("dj", FIELDS)


if __name__ == "__main__":
    main()
