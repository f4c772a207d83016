#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_media_folder_info
short_description: Say what a customer's media library holds
version_added: 0.2.0
description:
  - Counts what can be played in the media library that a customer has on a node, and lists it.
  - On the node it looks as the customer's own system user, so nothing in a library leads it anywhere else. For that the
    user that Ansible connects as must be allowed C(sudo) without a password; O(ignore:become) is not needed.
options:
  customer:
    description: User name of the customer in the panel.
    type: str
    required: true
  folder:
    description: Folder of the library, as playlists name it; V(.) is the library itself.
    type: str
    default: .
  limit:
    description: How many files are listed at most, up to 10000. All are counted.
    type: int
    default: 1000
extends_documentation_fragment:
  - streamfleet
attributes:
  check_mode:
    description: Reads only, in check mode too.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
author:
  - Streamfleet (@streamfleet)
seealso:
  - module: streamfleet_media_folder
"""

EXAMPLES = r"""
- name: Look into the libraries of audio1
  hosts: audio1
  gather_facts: false
  tasks:
    - name: Count the music of the day
      streamfleet_media_folder_info:
        customer: alice
        folder: day
        limit: 0
      register: day
"""

RETURN = r"""
library:
  description: The customer's media library on the node.
  returned: success
  type: str
exists:
  description: Whether it is there. A station with an AutoDJ makes it.
  returned: success
  type: bool
disk_quota_mb:
  description: What the customer may store on this node, as the node is told it; null for unlimited, 0 where none of the
    customer's services there has a library and is switched on.
  returned: success
  type: int
count:
  description: Files in O(folder) and below that can be played.
  returned: success
  type: int
bytes:
  description: Their size.
  returned: success
  type: int
ignored:
  description: What there is else - files that cannot be played, hidden ones, links, folders that cannot be read or
    whose path is longer than 2000 bytes.
  returned: success
  type: int
complete:
  description: Whether all was looked at. A library of more than a million entries, or with tens of thousands of folders
    side by side, is not counted to its end.
  returned: success
  type: bool
files:
  description: The first of the files that can be played, folder by folder; C(path) is from the library on, as playlists
    name it.
  returned: success
  type: list
  elements: dict
  sample: [{"path": "day/a.mp3", "bytes": 4817612, "modified": "2026-11-02T17:20:11Z"}]
"""
