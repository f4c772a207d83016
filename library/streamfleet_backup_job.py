#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a backup or a restore of a host is at. The work is that of the role's own program on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: streamfleet_backup_job
short_description: Wait for a backup or a restore of a host, and say how far it is
version_added: 0.2.0
description:
  - Waits for a job that C(streamfleet-backup begin) has started on the host. The action says every few seconds how far
    it is, however long that takes. When it is ended, the job goes on.
options:
  job: {description: What it is., type: str, choices: [backup, restore], required: true}
  id: {description: The job's id., type: str, required: true}
  command:
    description: The program that the role C(backup) has put in place.
    type: path
    default: /usr/local/sbin/streamfleet-backup
  seconds:
    description: How long a step waits at most before the action says how far the job is.
    type: float
    default: 5
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
- name: Wait for the backup's end
  streamfleet_backup_job:
    job: backup
    id: 4f1c0d5c9c0e4b6f8a3f0a1f2b3c4d5e
"""

RETURN = r"""
status:
  description: What the job has told last; C(result) is there when it has succeeded.
  returned: always
  type: dict
  sample: {job: backup, state: succeeded, phase: end, percent: 100, result: {files: 120, bytes: 52428800}}
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def _told(output: str) -> dict[str, Any]:
    """What the program printed; empty where that is no status."""
    try:
        status = json.loads(output)
    except ValueError:
        return {}
    return status if isinstance(status, dict) and {"state", "phase", "message"} <= set(status) else {}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "job": {"type": "str", "choices": ["backup", "restore"], "required": True},
            "id": {"type": "str", "required": True},
            "command": {"type": "path", "default": "/usr/local/sbin/streamfleet-backup"},
            "seconds": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    asked = module.params
    command = [asked["command"], "wait", asked["job"], asked["id"], "--seconds", str(asked["seconds"])]
    code, output, errors = module.run_command(command)
    status = _told(output)
    if not status:
        said = (errors or output).strip()[-500:]
        module.fail_json(msg=f"{asked['command']} ended with {code} and says: {said}", status={})
    if status["state"] == "failed":
        module.fail_json(msg=f"{asked['job']} failed, phase {status['phase']}: {status['message']}", status=status)
    module.exit_json(changed=False, status=status)


if __name__ == "__main__":
    main()
