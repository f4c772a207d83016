#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Starting and stopping media services."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_media_service_control
short_description: Start, stop or restart a media service
version_added: 0.1.0
description:
  - Asks the panel to start, stop or restart one media service, and waits until its node has done it.
  - A stopped service stays stopped, over a reboot too, until it is started.
options:
  slug:
    description: Slug of the service.
    type: str
    required: true
  state:
    description:
      - V(started) and V(stopped) change nothing if the service is so already; V(restarted) always restarts it.
      - V(skipped) always ends the track that its AutoDJ plays; the next one begins a second or two after the node has
        heard of it. Nobody is disconnected, and who hears a DJ hears nothing of it.
      - A service that is suspended, disabled or over its quota is refused.
    type: str
    choices: [started, stopped, restarted, skipped]
    required: true
  wait:
    description: Whether to wait until the node reports the outcome. A service that fails there fails the task.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait for the outcome.
    type: int
    default: 120
attributes:
  check_mode:
    support: full
    description: Compares what is wanted with what the panel wants of the service, and asks for nothing.
  diff_mode:
    support: full
    description: Returns the wanted state before and after.
extends_documentation_fragment:
  - streamfleet
seealso:
  - module: streamfleet_media_service
  - module: streamfleet_media_service_info
"""

EXAMPLES = r"""
- name: Take the station off the air
  streamfleet_media_service_control:
    slug: rock-fm
    state: stopped

- name: Restart the station, and wait no longer than half a minute
  streamfleet_media_service_control:
    slug: rock-fm
    state: restarted
    wait_timeout: 30

- name: Go on with the next track
  streamfleet_media_service_control:
    slug: rock-fm
    state: skipped
"""

RETURN = r"""
status:
  description: State of the service, wanted and observed.
  returned: success
  type: dict
  sample:
    slug: rock-fm
    state: running
    desired: running
    message: ""
    generation: 17
    observed_generation: 17
    node: node1
"""

from ansible.module_utils.streamfleet.control import run_control_module


def main() -> None:
    """Run the module."""
    run_control_module()


if __name__ == "__main__":
    main()
