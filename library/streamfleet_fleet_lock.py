#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lock of a fleet, on the panel's host. The work is in module_utils/streamfleet/fleet_lock.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_fleet_lock
short_description: Let one playbook at a time change what a fleet's hosts are
version_added: 0.3.0
description:
  - Notes on the panel's host which run works on the fleet, since when, and until when it is to be waited for. Playbooks
    that change hosts (C(install.yml), C(certificates.yml), C(domain_change.yml), C(upgrade.yml), C(restore.yml)) have
    the lock while they work, so two of them do not work at once.
  - A run that has the lock may take it again, which prolongs it. One that was started on the same controller, and whose
    process is gone, is taken for dead; one of another controller is when its time is over, or with O(take_over).
  - Also says what an earlier run has left unfinished on this host, which has to be finished or taken back first.
options:
  state:
    description: V(taken) has the lock from here on, V(released) gives it back, if this run has it.
    type: str
    choices: [taken, released]
    default: taken
  minutes:
    description: How long the run is waited for from here on, if nothing is known of its process.
    type: int
    default: 60
  take_over:
    description: Whether the run that has the lock is dead for certain.
    type: bool
    default: false
  optional:
    description:
      - Whether to go on without the lock where the host cannot be reached. Otherwise that is an error; of
        O(state=released) it never is.
    type: bool
    default: false
  process:
    description: The run's controller and process; filled in by the action plugin.
    type: str
    default: ""
  who:
    description: Who runs it; filled in by the action plugin.
    type: str
    default: somebody
  what:
    description: The playbook; filled in by the action plugin.
    type: str
    default: Ansible
  path:
    description: The lock.
    type: path
    default: /run/streamfleet/fleet.lock
  state_folder:
    description: Where changes of names and upgrades note what they have begun.
    type: path
    default: /var/lib/streamfleet
  held:
    description: What is there while a restore of the panel has begun and has not ended.
    type: path
    default: /var/lib/streamfleet-backup/held/streamfleet-panel.service
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
    details: In check mode it is looked whether another run has the lock, and it is not taken.
  diff_mode:
    description: Returns no diff.
    support: none
author:
  - Streamfleet (@streamfleet)
"""

EXAMPLES = r"""
- name: Have the fleet's lock
  streamfleet_fleet_lock:
  delegate_to: panel1
  run_once: true
  register: __lock

- name: Give it back
  streamfleet_fleet_lock:
    state: released
  delegate_to: panel1
  run_once: true
"""

RETURN = r"""
lock:
  description: The run that has it, as C(process), C(who), C(what), C(since) and C(until).
  returned: with O(state=taken)
  type: dict
  sample: {who: ops on control1, what: install.yml, since: "2026-11-28T05:40:00+00:00"}
domain_change:
  description: The change of host names that is unfinished, with C(from), C(to) and C(began); null where none is.
  returned: with O(state=taken)
  type: dict
upgrade:
  description: Whether an upgrade is under way, or was killed.
  returned: with O(state=taken)
  type: bool
restore:
  description: Whether a restore of the panel is under way, or was killed.
  returned: with O(state=taken)
  type: bool
panel_transfer:
  description: Where the panel has come from, or gone to (C(state), C(from) or C(to)); empty where it never did.
  returned: with O(state=taken)
  type: dict
released:
  description: Whether this run had it.
  returned: with O(state=released)
  type: bool
away:
  description: That the host could not be reached.
  returned: when it is so, and no error
  type: bool
process:
  description: Controller and process of the run that has it.
  returned: when it cannot be had
  type: str
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.streamfleet import fleet_lock, since_boot
from ansible.module_utils.streamfleet.domain_change.errors import DomainError
from ansible.module_utils.streamfleet.domain_change.journal import Journal
from ansible.module_utils.streamfleet.node_apply.host import Host
from ansible.module_utils.streamfleet.panel_transfer import marks
from ansible.module_utils.streamfleet.panel_transfer.places import TransferError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["taken", "released"], "default": "taken"},
            "minutes": {"type": "int", "default": 60},
            "take_over": {"type": "bool", "default": False},
            "optional": {"type": "bool", "default": False},
            "process": {"type": "str", "default": ""},
            "who": {"type": "str", "default": "somebody"},
            "what": {"type": "str", "default": "Ansible"},
            "path": {"type": "path", "default": "/run/streamfleet/fleet.lock"},
            "state_folder": {"type": "path", "default": "/var/lib/streamfleet"},
            "held": {"type": "path", "default": "/var/lib/streamfleet-backup/held/streamfleet-panel.service"},
        },
        supports_check_mode=True,
    )
    given, write = module.params, not module.check_mode
    path, state = Path(given["path"]), Path(given["state_folder"])
    run = fleet_lock.Run(given["process"], given["who"], given["what"])
    # The lock is about the run, not about the host: nothing of the latter is changed.
    try:
        if given["state"] == "released":
            module.exit_json(changed=False, released=write and fleet_lock.release(path, run))
        hold = timedelta(minutes=given["minutes"])
        take_over, now, moment = given["take_over"], datetime.now(UTC), since_boot.now()
        note = fleet_lock.take(path, run, hold, take_over=take_over, now=now, moment=moment, write=write)
        unfinished = Journal(state / "domain_change").unfinished()
        told = {name: unfinished[name] for name in ("from", "to", "began")} if unfinished else None
        upgrade = (state / "upgrade" / "journal.json").exists()
        restore = Path(given["held"]).exists()
        transfer = marks.read(Host(), str(state / "panel_transfer.json"))
    except fleet_lock.Held as error:
        module.fail_json(msg=str(error), process=error.process)
    except (DomainError, TransferError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or path}: {error.strerror or error}")
    module.exit_json(
        changed=False, lock=note, domain_change=told, upgrade=upgrade, restore=restore, panel_transfer=transfer
    )


if __name__ == "__main__":
    main()
