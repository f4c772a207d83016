#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_verify_engine
short_description: Verify from outside that an engine does what it promises
version_added: 0.2.0
description:
  - Makes a customer with two services of one engine through the panel, publishes to them with ffmpeg from the
    controller, plays them, and decodes what comes back. One service is changed, suspended, deleted and restored; of
    the other nothing may be lost meanwhile.
  - These are the checks that the project's own tests run. Where a test has a double of a vendor's program, this shows
    how the program itself behaves.
  - What it has made is not removed. Let a task of an C(always) section remove O(customer), as C(verify_engine.yml)
    does; what is deleted is kept for the panel's grace period, as everything is.
options:
  engine:
    description: Name of the engine.
    type: str
    required: true
  customer:
    description:
      - User name of the customer that is made. There must be none of this name.
      - The services are called like it, with C(-a) and C(-b) behind it.
    type: str
    required: true
  node:
    description: Name of the node in the panel; one that the panel chooses, when omitted.
    type: str
  address:
    description:
      - Address of the node to connect to, in place of what the node's stream host resolves to. Certificates are
        verified for the stream host all the same.
    type: str
  stream_ca_path:
    description:
      - Authority (PEM) of the streams' certificates, beside those that the controller trusts. O(ca_path), when omitted.
    type: path
  wait_timeout:
    description: Seconds to wait for the node to apply each change.
    type: int
    default: 120
extends_documentation_fragment:
  - streamfleet
attributes:
  check_mode:
    description: Makes nothing, so it verifies nothing, and is skipped.
    support: none
  diff_mode:
    description: Returns no diff.
    support: none
requirements:
  - ffmpeg and ffprobe on the controller, with libmp3lame and libx264
seealso:
  - module: streamfleet_customer
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Verify Wowza on node7
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Verify, and leave nothing
      block:
        - name: Verify
          streamfleet_verify_engine:
            engine: wowza
            customer: verify-wowza-1
            node: node7
          register: verified
      always:
        - name: Remove what was made
          streamfleet_customer:
            username: verify-wowza-1
            state: absent
          when: verified.made | default(false)
"""

RETURN = r"""
checks:
  description: All checks, in the order in which they were made. Where no service could be made, no more than that.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: What was checked.
      type: str
    ok:
      description: Whether it was as promised.
      type: bool
    evidence:
      description: What showed it, or the reason why it was not.
      type: str
  sample:
    - name: published and played
      ok: true
      evidence: 440 Hz in 4.9 s of sound (78642 bytes of audio/mpeg), 5.4 s after the encoder began
made:
  description: Whether the customer was made, and is to be removed. It is not where one of this name was there already.
  returned: always
  type: bool
table:
  description: The checks as lines of text.
  returned: when services were made
  type: list
  elements: str
"""
