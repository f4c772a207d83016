#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stations have played, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_played_info
short_description: List what a station has played, what it does not play, and who is on the air
version_added: 0.2.0
description:
  - Returns the history of a media service that plays by itself, the newest first, and its DJs who are connected.
  - And which files of the media library are passed over, as an AutoDJ's eco class does with those of another format,
    and a television channel with recordings that do not fit.
  - Nodes are asked for it every C(streamfleet_worker_collect_seconds), so it is that much behind.
options:
  media_service:
    description: Slug of the media service.
    type: str
    required: true
  since:
    description: Only what began at this time or later, for example C(2026-11-27T08:00:00Z).
    type: str
  limit:
    description: How many lines at most, from 1 to 1000.
    type: int
    default: 100
extends_documentation_fragment:
  - streamfleet
attributes:
  check_mode:
    description: Reads, as without it.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
seealso:
  - module: streamfleet_dj_info
"""

EXAMPLES = r"""
- name: The last ten tracks of a station, and whether a DJ is heard
  streamfleet_played_info:
    media_service: rock-fm
    limit: 10
  register: result
"""

RETURN = r"""
played:
  description: What was played by itself and titles of DJs, the newest first.
  returned: success
  type: list
  elements: dict
  sample: [{"at": "2026-11-27T08:03:12Z", "playlist": "hits", "path": "a.mp3", "title": "A", "artist": "B", "dj": null}]
passed_over:
  description: How many files of the media library are not played, and the first 50 of them with the reason.
  returned: success
  type: dict
  sample:
    media_service: rock-fm
    count: 1
    items: [{"path": "loud.mp3", "reason": "has 192 kbit/s, more than the 64 of the mount"}]
    reported_at: "2026-11-27T08:04:00Z"
air:
  description: The DJ who is heard, if any, and all DJs who are connected.
  returned: success
  type: dict
  sample: {"media_service": "rock-fm", "dj": null, "connected": [], "reported_at": "2026-11-27T08:04:00Z", "last": null}
"""

from ansible.module_utils.streamfleet.played import run_played_module


def main() -> None:
    """Run the module."""
    run_played_module()


if __name__ == "__main__":
    main()
