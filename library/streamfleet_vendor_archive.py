#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks or unpacks a program of a vendor's. The work is in module_utils/streamfleet/vendor_archive.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_vendor_archive
short_description: Check or unpack a program that the operator brings as an archive
version_added: 0.2.0
description:
  - Fails for an archive that is not the one that was meant, that does not hold the program, that holds links or paths
    that lead outside, or whose program is for another kind of machine.
  - With O(target) it is unpacked there, whole or not at all. Everything belongs to root, and only the program can be
    run. Versions beside O(target) go, unless C(current) links to them or a process runs them; and so does the archive.
options:
  path:
    description: The archive, a tar, compressed or not, on the host that the task runs on, which may be the controller.
    type: path
    required: true
  checksum:
    description: Its SHA-256, 64 small hexadecimal digits.
    type: str
    required: true
  program:
    description: Path of the program in the archive, or in the one folder that is all that the archive holds.
    type: str
    required: true
  machine:
    description: What kind of machine the node is, as C(uname -m) says.
    type: str
    required: true
  option:
    description: What the operator has said the checksum with, for the message.
    type: str
    default: checksum
  target:
    description: The folder to unpack to. When it is there, whole, nothing is looked at.
    type: path
  probe:
    description: >-
      Arguments with which the program must run and end well, as the user C(nobody), before O(target) appears. None for
      not trying it.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns no details.
    support: none
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Look into the archive on the controller
  streamfleet_vendor_archive:
    path: /srv/vendor/icecast-kh.tar.gz
    checksum: "{{ streamfleet_example_checksum }}"
    program: bin/icecast
    machine: "{{ ansible_facts['architecture'] }}"
    option: streamfleet_example_checksum
  delegate_to: localhost

- name: Unpack it on the node
  streamfleet_vendor_archive:
    path: /opt/streamfleet/example/archive
    checksum: "{{ streamfleet_example_checksum }}"
    program: bin/icecast
    machine: "{{ ansible_facts['architecture'] }}"
    target: /opt/streamfleet/example/first
    probe: [-v]
"""

RETURN = r""" # """

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.vendor_archive import Archive, install, is_installed, look
from ansible.module_utils.streamfleet.vendor_file import VendorFileError


def main() -> None:
    spec = {
        "path": {"type": "path", "required": True},
        "checksum": {"type": "str", "required": True},
        "program": {"type": "str", "required": True},
        "machine": {"type": "str", "required": True},
        "option": {"type": "str", "default": "checksum"},
        "target": {"type": "path"},
        "probe": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    given = module.params
    archive = Archive(
        Path(given["path"]), given["checksum"], given["program"], given["machine"], option=given["option"]
    )
    target = Path(given["target"]) if given["target"] else None
    if target is not None and is_installed(target):
        module.exit_json(changed=False)
    try:
        if target is None:
            look(archive)
        elif not module.check_mode:
            # In check mode the archive may not be there yet.
            install(archive, target, given["probe"])
    except VendorFileError as error:
        module.fail_json(msg=f"{given['path']}: {error}.")
    module.exit_json(changed=target is not None)


if __name__ == "__main__":
    main()
