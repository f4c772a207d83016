#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Puts what a role has on a host into its place. The work is in module_utils/streamfleet/host_files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_host_files
short_description: Put users, directories, files and links of a role on a host, in one step
version_added: 0.2.0
description:
  - Makes system users and directories, removes what must not be there, then makes files and links, and removes what is
    left of earlier versions, in this order and each in the order of its list. What is as it should be is not touched.
  - Files appear whole or not at all. A link that others have put into the place of a file or directory is not followed.
  - When something below C(/etc/systemd/system) has changed, systemd reads its units again, also after a run that was
    killed before it came to that.
  - Check mode takes users and groups that are not there for some that an earlier step would have made.
options:
  users:
    description: System users, each with a group of its own name. Made, or corrected; a password is never changed.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name of user and group., type: str, required: true}
      comment: {description: What it is for., type: str, default: ""}
      home: {description: Its home directory., type: path, default: /nonexistent}
      shell: {description: Its shell., type: path, default: /usr/sbin/nologin}
      create_home: {description: Whether its home directory is made together with it., type: bool, default: false}
      keys_only:
        description: Whether it logs in by SSH key. It has no password either way; SSH may refuse a locked account.
        type: bool
        default: false
      groups:
        description: Further groups that it is put into.
        type: list
        elements: str
        default: []
  directories:
    description: Directories. The parent of each must be there, or stand before it.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Its absolute path., type: str, required: true}
      owner: {description: Its owner., type: str, default: root}
      group: {description: Its group., type: str, default: root}
      mode: {description: "Its mode, in octal.", type: str, default: "0755"}
  files:
    description: Files. Exactly one of O(files[].content), O(files[].generate) and O(files[].edits) says what is in it.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Its absolute path., type: str, required: true}
      owner: {description: Its owner., type: str, default: root}
      group: {description: Its group., type: str, default: root}
      mode: {description: "Its mode, in octal.", type: str, default: "0644"}
      content: {description: Its whole text., type: str}
      fill:
        description:
          - Texts in O(files[].content) that are replaced by what another file of the host holds, without white space
            at both ends. So a secret that was made there never leaves it.
        type: dict
        default: {}
      generate:
        description:
          - The text with which it is made where it is missing; one that is there keeps what is in it. Each
            C(<secret hex 24>), C(<secret urlsafe 24>) and C(<secret base64 32>) in it becomes that many random bytes.
        type: str
      edits:
        description: Replacements, line by line, in a file that a package has brought; it keeps its owner and mode.
        type: list
        elements: dict
        suboptions:
          regexp: {description: Regular expression of Python., type: str, required: true}
          replace: {description: What takes the place of a match; C(\1) is its first group., type: str, required: true}
      validate:
        description: Program and its arguments that check the new file, C(%s), before it takes its place.
        type: list
        elements: str
        default: []
      show: {description: Whether diff mode shows it; secrets made here are never shown., type: bool, default: true}
  links:
    description: Symbolic links.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Where the link is., type: str, required: true}
      to: {description: What it points to., type: str, required: true}
  aside:
    description:
      - What is moved to another place of the same file system, since it is in the way, or is not any more. Where
        something is at that place already, it stays, and what was to be moved is removed.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Where it is; nothing is done where there is nothing., type: str, required: true}
      to: {description: Where it is moved., type: str, required: true}
  absent:
    description: Paths that are removed, directories with all that is in them.
    type: list
    elements: str
    default: []
  leftovers:
    description: Files of earlier versions that are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      directory: {description: Where they are., type: str, required: true}
      pattern: {description: Shell pattern of their names., type: str, required: true}
      keep:
        description: Paths that stay.
        type: list
        elements: str
        default: []
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns a diff of every file that may be shown.
    support: full
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Put the helper in its place
  streamfleet_host_files:
    users:
      - name: streamfleet-example
        comment: Streamfleet example
    directories:
      - path: /etc/streamfleet/example
        group: streamfleet-example
        mode: "0750"
    files:
      - path: /etc/streamfleet/example/secret
        mode: "0600"
        generate: "<secret hex 24>\n"
      - path: /etc/streamfleet/example/example.conf
        content: "{{ lookup('ansible.builtin.template', 'example.conf.j2') }}"
        fill:
          "@SECRET@": /etc/streamfleet/example/secret
        show: false
"""

RETURN = r"""
users:
  description: Users that were made or corrected.
  returned: always
  type: list
  elements: str
paths:
  description: What was made, changed or removed, in order.
  returned: always
  type: list
  elements: str
daemon_reload:
  description: Whether systemd has read its units again.
  returned: always
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.host_files.apply import apply
from ansible.module_utils.streamfleet.host_files.errors import HostError
from ansible.module_utils.streamfleet.host_files.wanted import Wanted
from ansible.module_utils.streamfleet.node_apply.host import Host

_PLACE: dict[str, Any] = {
    "path": {"type": "str", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}


def _many(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options, **more}


def main() -> None:
    texts: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "users": _many(
                {
                    "name": {"type": "str", "required": True},
                    "comment": {"type": "str", "default": ""},
                    "home": {"type": "path", "default": "/nonexistent"},
                    "shell": {"type": "path", "default": "/usr/sbin/nologin"},
                    "create_home": {"type": "bool", "default": False},
                    "keys_only": {"type": "bool", "default": False, "no_log": False},
                    "groups": texts,
                }
            ),
            "directories": _many({**_PLACE, "mode": {"type": "str", "default": "0755"}}),
            "files": _many(
                {
                    **_PLACE,
                    "mode": {"type": "str", "default": "0644"},
                    "content": {"type": "str"},
                    "fill": {"type": "dict", "default": {}},
                    "generate": {"type": "str"},
                    "edits": {
                        "type": "list",
                        "elements": "dict",
                        "options": {
                            "regexp": {"type": "str", "required": True},
                            "replace": {"type": "str", "required": True},
                        },
                    },
                    "validate": texts,
                    "show": {"type": "bool", "default": True},
                },
                # Neither into the journal nor into the result: they are long, and some hold passwords.
                no_log=True,
            ),
            "links": _many({"path": {"type": "str", "required": True}, "to": {"type": "str", "required": True}}),
            "aside": _many({"path": {"type": "str", "required": True}, "to": {"type": "str", "required": True}}),
            "absent": texts,
            "leftovers": _many(
                {
                    "directory": {"type": "str", "required": True},
                    "pattern": {"type": "str", "required": True},
                    "keep": texts,
                }
            ),
        },
        supports_check_mode=True,
    )
    # What the framework would search every result for, and would show as the invocation: only paths are shown.
    module.no_log_values.clear()
    invocation = {"module_args": {**module.params, "files": [item["path"] for item in module.params["files"]]}}
    try:
        result = apply(Host(), Wanted.of(module.params), module.check_mode, bool(module._diff))
    except HostError as error:
        module.fail_json(msg=str(error), invocation=invocation)
    if not module._diff:
        result.pop("diff")
    module.exit_json(invocation=invocation, **result)


if __name__ == "__main__":
    main()
