#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an AutoDJ plays next."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_autodj_queue
short_description: Have an AutoDJ play recordings next
version_added: 0.2.0
description:
  - Puts recordings of the customer's media library into the queue of a media service with an AutoDJ, or takes them
    out of it.
  - A queue is consumed. Each entry is played once, after what plays when it arrives, and is then no longer there; so a
    task with O(state=queued) that runs again after that has them played again.
  - Jingles that are due, scheduled playlists in their hours and DJs go first.
options:
  media_service:
    description: Slug of the media service.
    type: str
    required: true
  files:
    description:
      - Files of the customer's media library, at most 100, in their order. Needed but for O(state=empty).
      - At most 100 entries wait; more are refused, all of the task together.
    type: list
    elements: str
  position:
    description: Where the first of them comes, V(1) being before all that waits. Left out, they come at the end.
    type: int
  state:
    description:
      - V(queued) adds each file that does not wait already; one that waits stays where it is, whatever O(position)
        says.
      - V(absent) takes every waiting entry of these files out, V(empty) all. What has begun plays on.
    type: str
    choices: [queued, absent, empty]
    default: queued
  wait:
    description:
      - Whether to wait until the node has looked at the files, also at those that wait already. A file that is not in
        the library, or holds no sound, then fails the task, and what the task has added is taken out again. Without,
        such a file is passed over.
      - Only a running AutoDJ looks. With one that is switched off or stopped, set it to V(false).
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait for that.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Says what would be added or taken out. Whether the files are there is not known then.
  diff_mode:
    support: full
    description: Returns the files that wait, before and after.
extends_documentation_fragment:
  - streamfleet
seealso:
  - module: streamfleet_autodj_queue_info
  - module: streamfleet_playlist
  - module: streamfleet_media_service_control
"""

EXAMPLES = r"""
- name: Play the news next
  streamfleet_autodj_queue:
    media_service: rock-fm
    files: [news/noon.mp3]
    position: 1

- name: Change one's mind
  streamfleet_autodj_queue:
    media_service: rock-fm
    files: [news/noon.mp3]
    state: absent

- name: Go back to the rotation
  streamfleet_autodj_queue:
    media_service: rock-fm
    state: empty
"""

RETURN = r"""
queue:
  description: What waits now, in the order in which it is played. In check mode what would.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 0f3a5c6b7d8e9fa0b1c2d3e4f5061728
      path: news/noon.mp3
      position: 1
      state: waiting
      message: ""
      created_at: "2026-11-27T12:00:00Z"
      done_at: null
"""

from ansible.module_utils.streamfleet.queued import run_queue_module


def main() -> None:
    """Run the module."""
    run_queue_module()


if __name__ == "__main__":
    main()
