#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Playlists, one at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_playlist
short_description: Manage a playlist of a media service
version_added: 0.2.0
description:
  - Creates, changes or deletes a playlist of a media service, by which its AutoDJ plays the customer's media library;
    or of a television channel (O(streamfleet_media_service#module:service_type=tv_station)), which plays videos of it.
  - Playlists are changed while the service is on the air; nothing is restarted for them. They go with their service,
    and come back when it is restored; deleted by themselves they are gone for good.
  - The AutoDJ is switched on with the option C(autodj) of M(streamfleet_media_service).
  - For many objects at once, M(streamfleet_apply) does the same in one request.
options:
  media_service:
    description: Slug of the media service that plays it, part of its key. Its engine must have an AutoDJ, or
      it be a V(tv_station).
    type: str
    required: true
  name:
    description: Name of the playlist, part of its key. Lower-case letters, digits and dashes.
    type: str
    required: true
  enabled:
    description: V(false) keeps it from being played.
    type: bool
  type:
    description:
      - V(rotation), which the panel chooses when it is omitted, is played in turn with the others of this type.
      - V(scheduled) is played instead of them at its times.
      - V(jingle) gives one file in between, every so often.
    type: str
    choices: [rotation, scheduled, jingle]
  folder:
    description:
      - Folder of the customer's media library as a relative path, with all folders below it; V(.) is the whole
        library.
      - Either this or O(files); to change from one to the other, set the first to V(null).
    type: str
  files:
    description: Files of the customer's media library as relative paths, in their order. At most 10,000. Of a
      V(tv_station) they end in V(.mp4), V(.m4v) or V(.mov).
    type: list
    elements: str
  order:
    description: Order in which the files are played; V(shuffle), which the panel chooses when it is omitted, repeats
      none too soon.
    type: str
    choices: [shuffle, sequential]
  weight:
    description: How often its turn comes, beside the other playlists of type V(rotation). From 1, the panel's default,
      to 100.
    type: int
  active:
    description: Times at which it is played, in the service's time zone, beside those of M(streamfleet_schedule);
      V(null) for always, of type V(scheduled) for those of schedules only.
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
  every_tracks:
    description: Play a V(jingle) after so many tracks, 1 to 1000. Either this or O(every_minutes).
    type: int
  every_minutes:
    description: Play a V(jingle) after so many minutes, 1 to 1440.
    type: int
extends_documentation_fragment:
  - streamfleet
  - streamfleet.object
  - streamfleet.check
seealso:
  - module: streamfleet_apply
  - module: streamfleet_media_service
  - module: streamfleet_playlist_info
"""

EXAMPLES = r"""
- name: Everything that the customer has, shuffled
  streamfleet_playlist:
    media_service: rock-fm
    name: all
    folder: "."

- name: Quiet music in the nights before Saturday and Sunday
  streamfleet_playlist:
    media_service: rock-fm
    name: night
    type: scheduled
    folder: music/quiet
    active:
      - {days: [fri, sat], start: "23:00", end: "04:00"}

- name: One of three jingles after every fourth track
  streamfleet_playlist:
    media_service: rock-fm
    name: jingles
    type: jingle
    files: [jingles/one.mp3, jingles/two.mp3, jingles/three.mp3]
    order: sequential
    every_tracks: 4

- name: The evening news of a television channel, at eight
  streamfleet_playlist:
    media_service: ada-tv
    name: news
    type: scheduled
    files: [news/evening.mp4]
    active:
      - {start: "20:00", end: "20:15"}

- name: Remove the night programme
  streamfleet_playlist:
    media_service: rock-fm
    name: night
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
  sample: {"weight": {"before": 1, "after": 5}}
playlist:
  description: The playlist as it is now, or would be.
  returned: success
  type: dict
  sample: {"media_service": "rock-fm", "name": "all", "type": "rotation", "folder": ".", "weight": 5}
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
    "name": {"type": "str", "required": True},
    "enabled": {"type": "bool"},
    "type": {"type": "str", "choices": ["rotation", "scheduled", "jingle"]},
    "folder": {"type": "str"},
    "files": {"type": "list", "elements": "str"},
    "order": {"type": "str", "choices": ["shuffle", "sequential"]},
    "weight": {"type": "int"},
    "active": TIMES,
    "every_tracks": {"type": "int"},
    "every_minutes": {"type": "int"},
}


def main() -> None:
    """Run the module."""
    run_object_module("playlist", FIELDS)


if __name__ == "__main__":
    main()
