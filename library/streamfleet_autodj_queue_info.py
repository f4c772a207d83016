#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an AutoDJ plays next, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_autodj_queue_info
short_description: List what waits in the queue of an AutoDJ
version_added: 0.2.0
description:
  - Returns what waits in the queue of a media service, in the order in which it is played, and what was played or
    refused lately.
  - Nodes are asked for it every C(streamfleet_worker_collect_seconds), so what was played is known that much later.
options:
  media_service:
    description: Slug of the media service.
    type: str
    required: true
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
  - module: streamfleet_autodj_queue
  - module: streamfleet_played_info
"""

EXAMPLES = r"""
- name: See what is played next, and what was refused
  streamfleet_autodj_queue_info:
    media_service: rock-fm
  register: result
"""

RETURN = r"""
queue:
  description:
    - What waits, in the order in which it is played. Its state is V(sent) until the node has looked at it, then
      V(waiting).
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
done:
  description: What was V(played) or has V(failed), the newest first, at most 100. The message says why it has failed.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 1f3a5c6b7d8e9fa0b1c2d3e4f5061728
      path: news/non.mp3
      position: null
      state: failed
      message: is not in the media library
      created_at: "2026-11-27T11:58:00Z"
      done_at: "2026-11-27T11:58:09Z"
"""

from ansible.module_utils.streamfleet.queued import run_queue_info_module


def main() -> None:
    """Run the module."""
    run_queue_info_module()


if __name__ == "__main__":
    main()
