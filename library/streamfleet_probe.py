#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_probe
short_description: Publish to a service and hear it
version_added: 0.2.0
description:
  - Publishes a tone to a service that is there, with ffmpeg from the controller, plays it as a listener would, and
    decodes what comes back. Fails with the reason where the tone is not heard.
  - Changes nothing, and asks no panel. Use a service that is there for this, since whoever is on the air is in the way.
options:
  engine:
    description: Name of the service's engine.
    type: str
    required: true
  slug:
    description: The service's slug, for messages.
    type: str
    required: true
  connection:
    description: What a broadcaster pastes, as the panel shows it, secrets filled in; each with C(label) and C(value).
    type: list
    elements: dict
    required: true
  listen_url:
    description: Address that listeners open.
    type: str
    required: true
  address:
    description:
      - Address of the node to connect to, in place of what host names resolve to. Certificates are verified for the
        names all the same.
    type: str
  stream_ca:
    description: Authorities (PEM, the text itself) of the stream's certificate, beside those the controller trusts.
    type: str
attributes:
  check_mode:
    description: Publishes nothing, and is skipped.
    support: none
  diff_mode:
    description: Returns no diff.
    support: none
requirements:
  - ffmpeg and ffprobe on the controller, with libmp3lame and libx264
seealso:
  - module: streamfleet_verify_engine
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Look up how the service is reached
  streamfleet_media_service_info:
    slug: probe-fm
    credentials: true
  register: found

- name: Publish to it, and hear it
  streamfleet_probe:
    engine: icecast
    slug: probe-fm
    connection: "{{ found.media_services[0].connection }}"
    listen_url: "{{ found.media_services[0].listen_urls[0] }}"
"""

RETURN = r"""
evidence:
  description: What showed that it was heard.
  returned: success
  type: str
  sample: 440 Hz in 4.9 s of sound (78642 bytes of audio/mpeg), 5.4 s after the encoder began
"""
