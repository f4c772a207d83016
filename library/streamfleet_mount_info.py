#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mounts, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_mount_info
short_description: List mounts
version_added: 0.2.0
description:
  - Returns the mounts of the media services that the token may see, all of them or those that the filters leave, with
    the addresses at which they are listened to. Those of one service are in the order of its list, the first of which
    players open unless another one is marked.
options:
  media_service:
    description: Only mounts of this media service, given by its slug.
    type: str
  name:
    description: Path of one mount of O(media_service), for example V(/stream).
    type: str
  label:
    description: Only mounts of media services with this ownership label.
    type: str
extends_documentation_fragment:
  - streamfleet
  - streamfleet.info
seealso:
  - module: streamfleet_mount
"""

EXAMPLES = r"""
- name: All mounts of a station
  streamfleet_mount_info:
    media_service: rock-fm
  register: result

- name: One of them
  streamfleet_mount_info:
    media_service: rock-fm
    name: /low.aac
  register: result
"""

RETURN = r"""
mounts:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample:
    - media_service: rock-fm
      name: /low.aac
      format: aac
      bitrate_kbps: 48
      fallback: /stream
      listen_urls: ["https://stream.example.net/listen/rock-fm/low.aac"]
"""

from ansible.module_utils.streamfleet.info import run_info_module


def main() -> None:
    """Run the module."""
    run_info_module("mount", "name", {}, within=["media_service"])


if __name__ == "__main__":
    main()
