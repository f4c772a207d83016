#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tells packages that roles have brought from others. The work is in module_utils/streamfleet/packages.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_packages
short_description: Tell packages that roles have brought from those that were there before
version_added: 0.3.0
description:
  - Before a role installs packages it notes, in C(/var/lib/streamfleet/packages.json), which of them are not there yet.
    When it is uninstalled, it removes these only; what was there before is the operator's, with its settings.
  - A package that was removed and whose settings were kept counts as one that is there.
  - A host without that note that has the platform was installed by a version that kept none. All packages are held to
    be brought by roles there.
options:
  names:
    description: Names of packages; a version (C(nginx=1.22)) or architecture is passed over.
    type: list
    elements: str
    required: true
  state:
    description:
      - V(noted) is for before they are installed, V(own) only looks.
      - V(kept) forgets all packages but those of O(names) that are there still. So a later installation finds that they
        were brought by roles. The note is removed where none is left.
    type: str
    choices: [noted, own, kept]
    required: true
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Note whether Icecast was there before
  streamfleet_packages:
    names: [icecast2]
    state: noted

- name: Look which packages are of the role's own
  streamfleet_packages:
    names: [icecast2]
    state: own
  register: found

- name: Remove them
  ansible.builtin.apt:
    name: "{{ found.own }}"
    state: absent
    purge: true
  when: found.own | length > 0
"""

RETURN = r"""
own:
  description: Those of O(names) that were brought by roles, whether they are there still or not.
  returned: when O(state) is V(own)
  type: list
  elements: str
  sample: [icecast2]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.packages import PackagesError, keep, note, own, present


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["noted", "own", "kept"], "required": True},
        },
        supports_check_mode=True,
    )
    names = module.params["names"]
    try:
        if module.params["state"] == "own":
            module.exit_json(changed=False, own=own(names))
        if module.params["state"] == "kept":
            module.exit_json(changed=keep(names, present(), write=not module.check_mode))
        module.exit_json(changed=note(names, present(), write=not module.check_mode))
    except (PackagesError, OSError) as error:
        module.fail_json(msg=f"{error}")


if __name__ == "__main__":
    main()
