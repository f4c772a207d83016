#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Playlists, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_playlist_info
short_description: List playlists
version_added: 0.2.0
description:
  - Returns the playlists of the media services that the token may see, all of them or those that the filters leave.
    Those of deleted services are not among them.
options:
  media_service:
    description: Only playlists of this media service, given by its slug.
    type: str
  name:
    description: Name of one playlist of O(media_service).
    type: str
  type:
    description: Only playlists of this type.
    type: str
    choices: [rotation, scheduled, jingle]
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_playlist
"""

EXAMPLES = r"""
- name: All playlists of a station
  streamfleet_playlist_info:
    media_service: rock-fm
  register: result

- name: All jingles of the fleet
  streamfleet_playlist_info:
    type: jingle
  register: result
"""

RETURN = r"""
playlists:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample: [{"media_service": "rock-fm", "name": "all", "type": "rotation", "folder": ".", "weight": 1}]
"""

from ansible.module_utils.streamfleet.info import run_info_module

FILTERS = {"type": {"type": "str", "choices": ["rotation", "scheduled", "jingle"]}}


def main() -> None:
    """Run the module."""
    run_info_module("playlist", "name", FILTERS, within=["media_service"])


if __name__ == "__main__":
    main()
