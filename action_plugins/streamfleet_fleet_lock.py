"""Say to the module of the same name whose run this is, and whether the one that has the lock is alive."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

#: The root of the release (or of the collection) that this file belongs to.
RELEASE = next(folder for folder in Path(__file__).resolve().parents if (folder / "engines.yml").is_file())

# What modules import as ansible.module_utils.streamfleet is not on the controller's own path.
for _place in (RELEASE / "module_utils", RELEASE / "plugins" / "module_utils"):
    if _place.is_dir() and str(_place) not in sys.path:
        sys.path.append(str(_place))

from streamfleet.controller_process import gone, named


class ActionModule(ActionBase):
    """The controller knows its own processes, who runs them and which playbook that is; the host does not."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result."""
        super().run(tmp, task_vars)
        # Tasks run in children of the run itself.
        known = {"process": named(os.getppid()), "who": who(task_vars or {}), "what": what()}
        arguments = {**self._task.args, **known}
        try:
            result: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
            if result.get("failed") and gone(result.get("process", "")):
                result = self._execute_module(module_args={**arguments, "take_over": True}, task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            return self._away(str(error))
        return result

    def _away(self, why: str) -> dict[str, Any]:
        """The result where the panel's host cannot be reached. As an error of the connection it would name the node."""
        giving_back = self._task.args.get("state") == "released"
        if giving_back or boolean(self._task.args.get("optional", False)):
            return {"changed": False, "away": True, "released": False, "msg": why}
        return {
            "failed": True,
            "msg": (
                f"{self._task.delegate_to or 'The host'}, the panel's host, cannot be reached, so nobody can say "
                "whether somebody else changes the fleet just now. Nothing was changed. Bring it back, or mend its "
                f"ansible_host in the inventory, and run again. The connection says: {why}"
            ),
        }


def who(variables: dict[str, Any]) -> str:
    """Whom to ask: the job of AWX, else the account and its machine."""
    if variables.get("awx_job_id"):
        return f"job {variables['awx_job_id']} of AWX"
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = f"user {os.getuid()}"
    return f"{account} on {socket.gethostname()}"


def what() -> str:
    """The playbook that was asked for, which may have imported the one that is at work."""
    playbooks = context.CLIARGS.get("args") or ()
    return ", ".join(Path(one).name for one in playbooks) or "Ansible"
