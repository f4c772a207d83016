#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Schedules, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_schedule_info
short_description: List entries of media services' calendars
version_added: 0.2.0
description:
  - Returns the entries of the calendars of the media services that the token may see, all of them or those that the
    filters leave. Those of deleted services are not among them.
options:
  media_service:
    description: Only entries of this media service, given by its slug.
    type: str
  name:
    description: Name of one entry of O(media_service).
    type: str
  playlist:
    description: Only entries for playlists of this name.
    type: str
  dj:
    description: Only entries for DJs of this user name.
    type: str
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_schedule
"""

EXAMPLES = r"""
- name: The calendar of a station
  streamfleet_schedule_info:
    media_service: rock-fm
  register: result

- name: When Anna is on, on all stations
  streamfleet_schedule_info:
    dj: anna
  register: result
"""

RETURN = r"""
schedules:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample: [{"media_service": "rock-fm", "name": "weekend-nights", "playlist": "night", "start": "23:00"}]
"""

from ansible.module_utils.streamfleet.info import run_info_module

FILTERS = {"playlist": {"type": "str"}, "dj": {"type": "str"}}


def main() -> None:
    """Run the module."""
    run_info_module("schedule", "name", FILTERS, within=["media_service"])


if __name__ == "__main__":
    main()
