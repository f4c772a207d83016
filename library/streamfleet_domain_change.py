#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The journal of a change of host names. The work is in module_utils/streamfleet/domain_change/journal.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_domain_change
short_description: Note on the panel's host how far a change of host names has come
version_added: 0.3.0
description:
  - Keeps the journal of C(playbooks/domain_change.yml), so that a run that was killed can be finished or taken back by
    the next one, and that two runs do not work at once.
  - A run that was started on the same controller, and whose process is gone, is taken for dead; one of another
    controller is after twenty minutes without a step, or with O(take_over).
options:
  state:
    description:
      - C(begun) begins a change, or goes on with the same one that was left; C(taken_back) goes on with the one that
        was left, backwards.
      - C(stepped) notes that a step begins. C(finished) and C(returned) end the change; C(stuck) leaves it, for a run
        to come.
      - C(recorded) notes on a host that it is called otherwise, so that an inventory of before is not taken for a wish.
      - C(looked) only says what there is.
    type: str
    choices: [begun, taken_back, stepped, finished, returned, stuck, recorded, looked]
    required: true
  run:
    description: What this run is told apart by. Needed but for O(state=recorded) and O(state=looked).
    type: str
  from:
    description: For O(state=begun), the name that is replaced, or given up.
    type: str
  to:
    description: For O(state=begun), the new name; empty where one is given up.
    type: str
  last_day:
    description: For O(state=begun), the last day on which old names are served.
    type: str
  hosts:
    description: For O(state=begun), what is to be known of each host to finish the change, or to take it back.
    type: dict
    default: {}
  names:
    description:
      - For O(state=recorded), of some of C(panel), C(streams) and C(target) the name (C(host)), the one before
        (C(old), empty where it is as it was), and the former ones that are served (C(kept)).
    type: dict
    default: {}
  step:
    description: For O(state=stepped), the step that begins.
    type: str
  take_over:
    description: Whether the run that has the change is dead for certain.
    type: bool
    default: false
  where:
    description: The run's controller and process; filled in by the action plugin.
    type: str
    default: ""
  folder:
    description: Where the journal is.
    type: path
    default: /var/lib/streamfleet/domain_change
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
- name: Begin
  streamfleet_domain_change:
    state: begun
    run: "{{ __run }}"
    from: stream.example.net
    to: stream.example.org
    last_day: "2027-03-01"
    hosts: "{{ __hosts }}"
  delegate_to: panel1
  register: __journal

- name: Note that the web server comes
  streamfleet_domain_change:
    state: stepped
    run: "{{ __run }}"
    step: web
  delegate_to: panel1
"""

RETURN = r"""
journal:
  description: >-
    The change with its C(state), C(step), C(began), C(until) and C(hosts); with O(state=looked) null where none is
    unfinished.
  returned: with O(state=begun), O(state=taken_back) and O(state=looked)
  type: dict
names:
  description: >-
    What the host is called by the last change; of C(panel), C(streams) and C(target) C(host), C(since), C(former),
    C(kept).
  returned: with O(state=looked)
  type: dict
resumed:
  description: Whether it was begun by an earlier run.
  returned: with O(state=begun) and O(state=taken_back)
  type: bool
holder:
  description: Controller and process of the run that has the change.
  returned: when it cannot be had
  type: str
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.domain_change.errors import DomainError
from ansible.module_utils.streamfleet.domain_change.journal import Holder, Journal


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["begun", "taken_back", "stepped", "finished", "returned", "stuck", "recorded", "looked"],
                "required": True,
            },
            "run": {"type": "str"},
            "from": {"type": "str"},
            "to": {"type": "str"},
            "last_day": {"type": "str"},
            "hosts": {"type": "dict", "default": {}},
            "names": {"type": "dict", "default": {}},
            "step": {"type": "str"},
            "take_over": {"type": "bool", "default": False},
            "where": {"type": "str", "default": ""},
            "folder": {"type": "path", "default": "/var/lib/streamfleet/domain_change"},
        },
        required_if=[
            ("state", "begun", ["run", "from", "to", "last_day"]),
            ("state", "stepped", ["run", "step"]),
            *[("state", state, ["run"]) for state in ("taken_back", "finished", "returned", "stuck")],
        ],
        supports_check_mode=True,
    )
    journal = Journal(Path(module.params["folder"]))
    try:
        module.exit_json(**_do(module, journal))
    except DomainError as error:
        there = journal.unfinished() or {}
        module.fail_json(msg=str(error), holder=there.get("where", ""))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or journal.folder}: {error.strerror or error}")


def _do(module: AnsibleModule, journal: Journal) -> dict[str, Any]:
    options, now = module.params, datetime.now(UTC)
    if options["state"] == "looked":
        return {"changed": False, "journal": journal.unfinished(), "names": journal.names()}
    write = not module.check_mode
    if options["state"] == "recorded":
        return {"changed": journal.record(options["names"], now, write=write)}
    holder = Holder(options["run"], options["where"])
    if options["state"] in ("begun", "taken_back"):
        if options["state"] == "begun":
            change = {name: options[name] for name in ("from", "to", "hosts")} | {"until": options["last_day"]}
            found = journal.begin(holder, change, take_over=options["take_over"], now=now, write=write)
        else:
            found = journal.take_back(holder, take_over=options["take_over"], now=now, write=write)
        resumed = found.pop("resumed")
        return {"changed": False, "journal": found, "resumed": resumed}
    if write:
        state = None if options["state"] == "stepped" else options["state"]
        journal.step(options["run"], options["step"] or options["state"], now, state)
    # The journal is about the run, not about the host.
    return {"changed": False}


if __name__ == "__main__":
    main()
