#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Applies rendered instances on a node. The work is in module_utils/streamfleet/node_apply."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_node_apply
short_description: Apply rendered instances of media services on a node
version_added: 0.1.0
description:
  - Run by M(streamfleet_converge), which renders the node document and ships it here; not meant to be used by itself.
  - Takes the node's lock, compares, validates, writes atomically, updates the firewall's set, starts, stops, reloads
    and restarts units in bulk, and remembers what it did. A run that is killed is finished by the next.
  - A service that fails is reported and left as it was; the others proceed.
options:
  payload:
    description: The instances, as C(streamfleet.node_apply.encode) makes it.
    type: str
    required: true
  origin:
    description: Who converges, shown to whoever waits for the lock.
    type: str
    default: unknown
  lock_timeout:
    description: Seconds to wait for another converge of this node.
    type: float
    default: 60
  start_timeout:
    description: Seconds within which a unit must run and listen.
    type: float
    default: 10
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns a diff of every file, without secrets.
    support: full
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Apply a payload
  streamfleet_node_apply:
    payload: "{{ payload }}"
    origin: by hand
"""

RETURN = r"""
services:
  description: What became of every service, by slug.
  returned: always
  type: dict
  sample:
    rock-fm: {state: running, message: "", generation: 17, changed: true, actions: [start]}
summary:
  description: How many services there are, changed, failed, started, stopped, reloaded, restarted, purged.
  returned: always
  type: dict
generation:
  description: The generation that the node is at.
  returned: always
  type: int
skipped_older:
  description: True where the payload was older than what is applied, and nothing was done.
  returned: always
  type: bool
purged:
  description: Services of which the rest was removed, since their time of grace is over.
  returned: always
  type: list
  elements: str
unknown:
  description: Services on the node that the document does not name. They are left as they are.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.node_apply.apply import apply
from ansible.module_utils.streamfleet.node_apply.errors import ApplyError
from ansible.module_utils.streamfleet.node_apply.host import Host
from ansible.module_utils.streamfleet.node_apply.payload import decode
from ansible.module_utils.streamfleet.node_apply.run import Options


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "payload": {"type": "str", "required": True, "no_log": True},
            "origin": {"type": "str", "default": "unknown"},
            "lock_timeout": {"type": "float", "default": 60},
            "start_timeout": {"type": "float", "default": 10},
        },
        supports_check_mode=True,
    )
    options = Options(
        check=module.check_mode,
        diff=bool(module._diff),
        who=module.params["origin"],
        lock_timeout=module.params["lock_timeout"],
        start_timeout=module.params["start_timeout"],
    )
    # What the framework would search every result for, at every length of it.
    module.no_log_values.clear()
    try:
        result = apply(Host(), decode(module.params["payload"]), options)
    except ApplyError as error:
        module.fail_json(msg=str(error), services=error.services)
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or 'the node'}: {error.strerror or error}; the next run goes on from here"
        )
    if not result.get("diff"):
        result.pop("diff", None)
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
