"""Ask for a step of a copy of media services; of the copy, say how far it is until it is through."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

#: Seconds for which a node that copies by itself is asked again, when it cannot be reached.
PATIENCE = 600.0
#: Seconds between two tries.
PAUSE = 10.0


class ActionModule(ActionBase):
    """The module of the same name, as often as the copy goes on.

    A node that cannot be reached is a failure, not a host that drops out of the play: what was begun is taken back.
    """

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's last result."""
        super().run(tmp, task_vars)
        host, told = self._task.delegate_to or (task_vars or {}).get("inventory_hostname", ""), ""
        patience = PATIENCE if self._task.args.get("state") == "copied" else 0.0
        until = time.monotonic() + patience
        while True:
            try:
                result: dict[str, Any] = self._execute_module(module_args=self._task.args, task_vars=task_vars)
            except AnsibleConnectionFailure as error:
                if time.monotonic() >= until:
                    return {"failed": True, "changed": False, "msg": f"{host} cannot be reached: {error}"}
                line = f"{host} cannot be reached, and copies by itself: it is asked again"
                time.sleep(PAUSE)
            else:
                until = time.monotonic() + patience
                status = result.get("status") or {}
                if result.get("failed") or not status.get("running"):
                    return result
                line = f"{host}: {status['step']} {status['percent']:.0f} % {status['words']}".rstrip()
            if line != told:
                display.display(line)
            told = line
