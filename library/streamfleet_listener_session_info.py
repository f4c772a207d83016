#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sessions of listeners, to read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_listener_session_info
short_description: List sessions of listeners
version_added: 0.2.0
description:
  - Returns who listened to or watched the media services that the token may see, the latest first. A session is there
    about half a minute after it has ended, for as long as the panel keeps sessions.
  - The addresses are personal data.
options:
  media_service:
    description: Only sessions of this media service, given by its slug.
    type: str
  source:
    description: >-
      Only sessions through the web server (V(web)), on the engine's own port (V(direct)) or by HLS (V(hls)).
    type: str
    choices: [web, direct, hls]
  mount:
    description: Only sessions of this mount.
    type: str
  address:
    description: Only sessions from this address, written as the panel keeps it.
    type: str
  since:
    description: Only sessions that ended then or later (RFC 3339).
    type: str
  until:
    description: Only sessions that ended before (RFC 3339).
    type: str
  search:
    description: Only sessions with this text in the address or the player's name, in any case.
    type: str
  running:
    description:
      - Sessions of those who listen to O(media_service) now instead, as its node told it last; at most 200. Their
        C(ended_at) is null, and C(bytes) where that is not known yet.
      - Of those who come through the web server to Icecast the address is known when they have gone; it is empty until
        then.
    type: bool
    default: false
  limit:
    description: How many are returned at most.
    type: int
    default: 1000
extends_documentation_fragment:
  - streamfleet
seealso:
  - module: streamfleet_media_service_info
attributes:
  check_mode:
    support: full
    description: It only reads.
"""

EXAMPLES = r"""
- name: Who listened to a station today
  streamfleet_listener_session_info:
    media_service: rock-fm
    since: "2026-11-27T00:00:00Z"
  register: result

- name: Who listens to it now
  streamfleet_listener_session_info:
    media_service: rock-fm
    running: true
  register: result

- name: What an address has listened to
  streamfleet_listener_session_info:
    address: 203.0.113.7
    limit: 50
  register: result
"""

RETURN = r"""
listener_sessions:
  description: What was found; empty where there is none.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 0f343b0931126a20f133d67c2b018a3b
      media_service: rock-fm
      source: web
      mount: /stream
      address: 203.0.113.7
      agent: VLC/3.0.20
      started_at: "2026-11-27T10:00:00.250Z"
      ended_at: "2026-11-27T11:12:30Z"
      seconds: 4349.75
      bytes: 69596000
"""

from itertools import islice
from typing import Any

from ansible.module_utils.streamfleet.errors import BadOption
from ansible.module_utils.streamfleet.runtime import Module, run

FILTERS = {
    "media_service": {"type": "str"},
    "source": {"type": "str", "choices": ["web", "direct", "hls"]},
    "mount": {"type": "str"},
    "address": {"type": "str"},
    "since": {"type": "str"},
    "until": {"type": "str"},
    "search": {"type": "str"},
}


def _read(module: Module) -> dict[str, Any]:
    limit = module.params["limit"]
    if limit < 1:
        raise BadOption(f"limit is {limit}; give at least 1.")
    query = {name: module.params[name] for name in FILTERS if module.params[name] is not None}
    if module.params["running"]:
        query["running"] = "true"
    found = module.panel.items("listener_session", query, page=min(limit, 1000))
    return {"changed": False, "listener_sessions": list(islice(found, limit))}


def main() -> None:
    """Run the module."""
    spec = {**FILTERS, "running": {"type": "bool", "default": False}, "limit": {"type": "int", "default": 1000}}
    module = Module(argument_spec=spec, supports_check_mode=True)
    run(module, lambda _module: _read(module))


if __name__ == "__main__":
    main()
