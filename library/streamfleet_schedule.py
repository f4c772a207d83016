#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Schedules, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_schedule
short_description: Manage an entry of a media service's calendar
version_added: 0.2.0
description:
  - Creates, changes or deletes an entry of a station's calendar. It adds a time to a playlist or to a DJ, beside those
    that these have themselves as C(active).
  - Entries are changed while the service is on the air; nothing is restarted for them. They go with their service, and
    come back when it is restored; deleted by themselves they are gone for good.
  - A playlist that is always played takes no entry; one of type V(scheduled), or one with times of its own, does. A
    playlist or DJ that an entry names cannot be deleted without it.
  - Where several scheduled playlists are on at once, they take turns; of several DJs the one with the highest priority
    is heard.
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  media_service:
    description: Slug of the media service, part of the entry's key.
    type: str
    required: true
  name:
    description: Name of the entry in its calendar, part of the key. Lower-case letters, digits and dashes.
    type: str
    required: true
  playlist:
    description: Name of the playlist that is played then. Either this or O(dj); to change from one to the other, set
      the first to V(null).
    type: str
  dj:
    description: User name of the DJ who is on then.
    type: str
  days:
    description: Days of the week on which it begins, of V(mon), V(tue), V(wed), V(thu), V(fri), V(sat) and V(sun);
      V(null) for every day.
    type: list
    elements: str
  start:
    description: Time of day as HH:MM, in quotes, since YAML reads C(22:00) as a number; in the time zone of the
      service's C(autodj). Needed for a new entry.
    type: str
  end:
    description: Time of day as HH:MM, in quotes. One before O(start) is on the next day. Needed for a new entry.
    type: str
  start_date:
    description: The first day on which it begins, as C(2026-12-24); V(null) for any.
    type: str
  end_date:
    description: The last day on which it begins; V(null) for any. The same as O(start_date) for one day alone.
    type: str
  enabled:
    description: V(false) keeps it from adding anything.
    type: bool
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.check
seealso:
  - module: streamfleet_apply
  - module: streamfleet_dj
  - module: streamfleet_playlist
  - module: streamfleet_schedule_info
"""

EXAMPLES = r"""
- name: Quiet music in the nights before Saturday and Sunday
  streamfleet_schedule:
    media_service: rock-fm
    name: weekend-nights
    playlist: night
    days: [fri, sat]
    start: "23:00"
    end: "04:00"

- name: Anna's show, on one evening only
  streamfleet_schedule:
    media_service: rock-fm
    name: christmas-eve
    dj: anna
    start: "18:00"
    end: "22:00"
    start_date: "2026-12-24"
    end_date: "2026-12-24"

- name: Remove it
  streamfleet_schedule:
    media_service: rock-fm
    name: christmas-eve
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
  sample: {"end": {"before": "04:00", "after": "05:00"}}
schedule:
  description: The entry as it is now, or would be.
  returned: success
  type: dict
  sample: {"media_service": "rock-fm", "name": "weekend-nights", "playlist": "night", "days": ["fri", "sat"]}
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
    "playlist": {"type": "str"},
    "dj": {"type": "str"},
    # Without choices, which would not let null through.
    "days": {"type": "list", "elements": "str"},
    "start": {"type": "str"},
    "end": {"type": "str"},
    "start_date": {"type": "str"},
    "end_date": {"type": "str"},
    "enabled": {"type": "bool"},
}


def main() -> None:
    """Run the module."""
    run_object_module("schedule", FIELDS)


if __name__ == "__main__":
    main()
