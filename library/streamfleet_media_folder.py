#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_media_folder
short_description: Bring a folder of music or videos into a customer's media library
version_added: 0.2.0
description:
  - Brings what can be played in a folder of the controller into the media library that a customer has on a node, with
    rsync over the connection that Ansible has. Only what differs in size or time is sent. A transfer that was cut goes
    on where it was, when it is run again.
  - On the node it runs as the customer's own system user, so nothing in a library leads it anywhere else. For that the
    user that Ansible connects as must be allowed C(sudo) without a password; O(ignore:become) is not needed.
  - Stations that play the library notice by themselves; nothing is restarted.
options:
  customer:
    description: User name of the customer in the panel.
    type: str
    required: true
  src:
    description:
      - The folder on the controller. All below it is brought that has the suffix of a format that an AutoDJ plays,
        or of a video (C(.mp4), C(.m4v), C(.mov)); hidden names and links are passed over.
    type: path
    required: true
  dest:
    description: Folder of the library that receives it, as playlists name it; V(.) is the library itself.
    type: str
    default: .
  delete:
    description:
      - Whether what can be played in O(dest) and is not in O(src) is deleted.
      - Refused where O(src) holds nothing that can be played.
    type: bool
    default: false
extends_documentation_fragment:
  - streamfleet
attributes:
  check_mode:
    description: Compares, and sends nothing.
    support: full
  diff_mode:
    description: Lists what is sent and deleted.
    support: full
author:
  - Streamfleet (@streamfleet)
seealso:
  - module: streamfleet_media_folder_info
"""

EXAMPLES = r"""
- name: Fill the libraries of audio1
  hosts: audio1
  gather_facts: false
  tasks:
    - name: Bring the music of the day
      streamfleet_media_folder:
        customer: alice
        src: media/alice/day
        dest: day
        delete: true
"""

RETURN = r"""
sent:
  description: Paths that were sent, below O(dest). rsync's way of writing odd characters is kept (C(\#012)).
  returned: success
  type: list
  elements: str
deleted:
  description: Paths that were deleted, below O(dest).
  returned: success
  type: list
  elements: str
bytes:
  description: Size of what was sent.
  returned: where the library is there
  type: int
ignored:
  description: Paths in O(src) that were passed over, since no AutoDJ plays them.
  returned: success
  type: list
  elements: str
library:
  description: The customer's media library on the node.
  returned: success
  type: str
"""
