#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks a file of a vendor that the operator brings. The work is in module_utils/streamfleet/vendor_file.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_vendor_file
short_description: Check a vendor's file that the operator brings
version_added: 0.2.0
description:
  - Fails for a file that is not the one that was meant, or that the node cannot use. Changes nothing.
options:
  path:
    description: The file, on the host that the task runs on, which may be the controller.
    type: path
    required: true
  checksum:
    description: Its SHA-256, 64 small hexadecimal digits.
    type: str
    required: true
  kind:
    description:
      - What it must be. C(program) is one for Linux, or a script; C(package) is one of Debian; C(any) is not looked
        into.
    type: str
    choices: [program, package, any]
    default: any
  machine:
    description: What kind of machine the node is, as C(uname -m) says. Needed unless O(kind=any).
    type: str
  option:
    description: What the operator has said the checksum with, for the message.
    type: str
    default: checksum
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Look into the package on the controller
  streamfleet_vendor_file:
    path: /srv/vendor/flussonic_24.09_amd64.deb
    checksum: "{{ streamfleet_example_checksum }}"
    kind: package
    machine: "{{ ansible_facts['architecture'] }}"
    option: streamfleet_example_checksum
  delegate_to: localhost
"""

RETURN = r""" # """

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.vendor_file import KINDS, VendorFileError, check


def main() -> None:
    spec = {
        "path": {"type": "path", "required": True},
        "checksum": {"type": "str", "required": True},
        "kind": {"type": "str", "choices": list(KINDS), "default": "any"},
        "machine": {"type": "str"},
        "option": {"type": "str", "default": "checksum"},
    }
    module = AnsibleModule(
        argument_spec=spec,
        required_if=[("kind", "program", ("machine",)), ("kind", "package", ("machine",))],
        supports_check_mode=True,
    )
    given = module.params
    try:
        check(Path(given["path"]), given["checksum"], given["kind"], given["machine"] or "", given["option"])
    except VendorFileError as error:
        module.fail_json(msg=f"{given['path']}: {error}.")
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
