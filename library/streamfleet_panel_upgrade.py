#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The steps of an upgrade on the panel's host. The work is in module_utils/streamfleet/upgrade."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_panel_upgrade
short_description: Save, gate and put back a panel while it is upgraded
version_added: 0.2.0
description:
  - The steps that C(upgrade.yml) takes on the panel's host around what the role C(panel) does there. Every step notes
    what it begins, so that a run that was killed is finished or undone by the next.
  - While an upgrade is under way the panel can be read and not written; worker and jobs begin nothing. A release that
    cannot be read-only (0.1.0) is stopped meanwhile.
  - The database is saved with SQLite's online backup, C(pg_dump) or C(mariadb-dump), and the settings with it, in
    C(/var/lib/streamfleet/upgrade), where both stay until the next upgrade.
options:
  step:
    description:
      - V(look) says what would be done, and changes nothing; a downgrade is refused here.
      - V(claim) has nobody else begin; nothing is changed by it.
      - V(begin) holds worker and jobs, makes the panel read-only, and saves database and settings. Where that fails,
        all runs on as before.
      - V(renew) notes that the run is still at work, and fails where another one has ended it.
      - V(open) looks whether the new release answers, and has every object that there was. Then it lets the writes of
        the installation's own token through, and the worker work, for a probe.
      - V(finish) lets everybody write again.
      - V(undo) puts code, settings and database back, or finishes an upgrade that had passed its gate.
      - V(drain) notes that O(nodes) are going to be set draining, and V(undrain) that they take services again. What
        was noted and not taken back, V(look) tells to the next run.
    type: str
    choices: [look, claim, begin, renew, open, finish, undo, drain, undrain]
    required: true
  run:
    description:
      - Name of the run. Needed for all steps but V(look) and V(undrain); only the run that has claimed the host goes
        on to V(begin), V(renew), V(open) and V(finish), and is undone.
    type: str
  by:
    description: Who upgrades, for whoever finds it under way.
    type: str
    default: somebody
  release:
    description: Folder of the new release. Needed for V(look) and V(claim).
    type: path
  venv:
    description: Folder of the new virtual environment. Needed for V(look) and V(claim).
    type: path
  nodes:
    description: Names of nodes. Needed for V(drain) and V(undrain).
    type: list
    elements: str
attributes:
  check_mode:
    description: V(look) runs; the other steps are skipped.
    support: partial
    details: There is nothing that could be foretold of the other steps.
  diff_mode:
    description: Returns no diff.
    support: none
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Look what an upgrade would do
  streamfleet_panel_upgrade:
    step: look
    release: /opt/streamfleet/releases/0.2.0-0123456789abcdef
    venv: /opt/streamfleet/venvs/0.2.0-fedcba9876543210
  register: found
"""

RETURN = r"""
plan:
  description: What was found and what is to be done.
  returned: for V(look)
  type: dict
  contains:
    from:
      description: What is installed.
      type: dict
      sample:
        version: 0.1.0
        release: /opt/streamfleet/releases/0.1.0-5f2d5c0de9a4b7e1
        venv: /opt/streamfleet/venvs/0.1.0-66b1a40ad20f1c3d
    to:
      description: What is to be.
      type: dict
    changes:
      description: Whether there is anything to do.
      type: bool
    migrations:
      description: What is done to the database; none where the new release is not there to be asked.
      type: list
      elements: str
      sample: [panel.0004_limits_not_held]
    read_only:
      description: Whether the installed release can be read while it is upgraded. It is stopped otherwise.
      type: bool
    database:
      description: Kind of the database.
      type: str
    database_mb:
      description: Room that saving takes, in MB, as large as the database is.
      type: int
    back_mb:
      description: Room on this host that going back takes, in MB; 0 where the database is another host's.
      type: int
    free_mb:
      description: Free space under C(/var/lib), in MB.
      type: int
    begun:
      description: What another run has begun and not ended.
      type: dict
    draining:
      description: Nodes that an earlier run has set draining, and has not given back.
      type: list
      elements: str
result:
  description:
    - What the step found; of V(undo) whether the release of before is there (C(undone)), and whether anything had to
      be put back (C(restored)).
  returned: for the other steps
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet.node_apply.host import Host
from ansible.module_utils.streamfleet.upgrade import draining, steps
from ansible.module_utils.streamfleet.upgrade.errors import UpgradeError

CHOICES = ["look", "claim", "begin", "renew", "open", "finish", "undo", "drain", "undrain"]
STEPS = {
    "begin": steps.begin,
    "renew": steps.renew,
    "open": steps.open_gate,
    "finish": steps.finish,
    "undo": steps.undo,
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "step": {"type": "str", "choices": CHOICES, "required": True},
            "run": {"type": "str"},
            "by": {"type": "str", "default": "somebody"},
            "release": {"type": "path"},
            "venv": {"type": "path"},
            "nodes": {"type": "list", "elements": "str"},
        },
        required_if=[
            ("step", "look", ("release", "venv")),
            ("step", "claim", ("run", "release", "venv")),
            ("step", "begin", ("run",)),
            ("step", "renew", ("run",)),
            ("step", "open", ("run",)),
            ("step", "finish", ("run",)),
            ("step", "undo", ("run",)),
            ("step", "drain", ("run", "nodes")),
            ("step", "undrain", ("nodes",)),
        ],
        supports_check_mode=True,
    )
    given = module.params
    try:
        if given["step"] == "look":
            module.exit_json(changed=False, plan=steps.look(Host(), given["release"], given["venv"]))
        if module.check_mode:
            module.exit_json(changed=False, skipped=True, msg=f"Check mode does not {given['step']} an upgrade.")
        result: dict[str, Any] = {}
        if given["step"] == "claim":
            result = steps.claim(Host(), given["run"], given["by"], given["release"], given["venv"])
        elif given["step"] == "drain":
            draining.note(Host(), given["run"], given["nodes"])
        elif given["step"] == "undrain":
            draining.forget(Host(), given["nodes"])
        else:
            result = STEPS[given["step"]](Host(), given["run"]) or {}
    except (UpgradeError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, result=result)


if __name__ == "__main__":
    main()
