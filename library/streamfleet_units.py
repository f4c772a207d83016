#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sees that units run as they are installed. The work is in module_utils/streamfleet/host_units.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_units
short_description: Have units run, start with the host, and run with what is on disk
version_added: 0.2.0
description:
  - Enables and starts all units that are not, and restarts or reloads those that run with something older than what is
    on disk. The host itself is asked what is due, so a run that was killed loses nothing.
  - In check mode a unit that is not there yet is foretold to be started.
options:
  units:
    description: The units. All are asked about at once, and acted on at once.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: "Its whole name, such as C(nginx.service).", type: str, required: true}
      stale:
        description: What makes a running one out of date.
        type: list
        elements: dict
        default: []
        suboptions:
          stamp: {description: File that the unit touches when it starts or reloads., type: path, required: true}
          paths:
            description: It is out of date when one of these is newer. Links are not followed.
            type: list
            elements: path
            required: true
          verb:
            description: What is done then.
            type: str
            choices: [restart, reload]
            default: restart
      ask:
        description: Program and arguments that print one word about how a running one runs.
        type: list
        elements: str
        default: []
      answers:
        description: Word of O(units[].ask) to C(restart) or C(reload); any other word asks for nothing.
        type: dict
        default: {}
      pending:
        description: What the caller knows to be due for a running one.
        type: str
        choices: [nothing, reload, restart]
        default: nothing
      idle:
        description:
          - Whether nobody uses it now, and that is asked again before it is restarted, so that nobody is interrupted.
            Told in the facts.
        type: bool
        default: false
  written:
    description:
      - Paths that earlier steps of the same run have written. In check mode they have not, so a unit is foretold to be
        restarted or reloaded where O(units[].stale) names one of them.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns no diff.
    support: none
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Have the example run
  streamfleet_units:
    units:
      - name: streamfleet-example.service
        stale:
          - stamp: /run/streamfleet-example/started
            paths: [/etc/streamfleet/example.env, /etc/systemd/system/streamfleet-example.service]
    written: "{{ example_files.paths }}"
"""

RETURN = r"""
units:
  description: What was done, by unit.
  returned: always
  type: dict
  sample:
    streamfleet-example.service: [enable, start]
ansible_facts:
  description:
    - Of each unit what would be done with it, by its name behind C(streamfleet_unit_), with underscores. A number at
      the end tells tasks apart that have one unit in common.
  returned: in check mode
  type: dict
  sample:
    streamfleet_unit_streamfleet_example_service_2839161570:
      unit: streamfleet-example.service
      verbs: [restart]
      idle: false
daemon_reload:
  description: Whether systemd has read its units again.
  returned: always
  type: bool
"""

import json
import re
import zlib
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.host_units import Unit, UnitsError, ensure
from ansible.module_utils.streamfleet.node_apply.host import Host

#: What the facts are called in which check mode tells what is due.
FORETOLD = "streamfleet_unit_"


def _fact(unit: dict[str, Any]) -> str:
    """What a fact is called: another where another task sees to the same unit, for another reason."""
    reasons = json.dumps([unit["stale"], unit["ask"]], sort_keys=True)
    return f"{FORETOLD}{re.sub(r'[^A-Za-z0-9]', '_', unit['name'])}_{zlib.crc32(reasons.encode())}"


def main() -> None:
    stale = {
        "stamp": {"type": "path", "required": True},
        "paths": {"type": "list", "elements": "path", "required": True},
        "verb": {"type": "str", "choices": ["restart", "reload"], "default": "restart"},
    }
    unit = {
        "name": {"type": "str", "required": True},
        "stale": {"type": "list", "elements": "dict", "default": [], "options": stale},
        "ask": {"type": "list", "elements": "str", "default": []},
        "answers": {"type": "dict", "default": {}},
        "pending": {"type": "str", "choices": ["nothing", "reload", "restart"], "default": "nothing"},
        "idle": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "dict", "required": True, "options": unit},
            "written": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        units = [Unit.of(item) for item in module.params["units"]]
        result = ensure(Host(), units, module.check_mode, frozenset(module.params["written"]))
    except UnitsError as error:
        module.fail_json(msg=str(error))
    if module.check_mode:
        # For a playbook that says beforehand what many roles would do, each with a task of its own.
        result["ansible_facts"] = {
            _fact(unit): {
                "unit": unit["name"],
                "verbs": result["units"].get(unit["name"], []),
                "idle": unit["idle"],
            }
            for unit in module.params["units"]
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
