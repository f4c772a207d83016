"""Change a host's firewall, come back by a new connection, and only then keep the change."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

#: Seconds that a host may take, after the change has taken itself back, until it is said that it does not answer.
PATIENCE = 30.0
EVERY = 3.0


class ActionModule(ActionBase):
    """Two steps of the module of the same name, over two connections."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result. ``failed`` when the change has locked this controller out, after it was taken back."""
        super().run(tmp, task_vars)
        arguments = {**self._task.args, "needs_ssh": self._connection.transport != "local"}
        began = time.monotonic()
        result = self._step({**arguments, "step": "change"}, task_vars)
        token = result.pop("unconfirmed", "")
        if not token or result.get("failed"):
            return result
        # What the rules let in is asked of a connection that they have not seen begin.
        self._connection.reset()
        try:
            confirmed = self._step({**arguments, "step": "confirm", "token": token}, task_vars)
        except AnsibleConnectionFailure as error:
            return self._locked_out(str(error), began + float(arguments.get("confirm_seconds", 60)))
        return {**result, **confirmed} if confirmed.get("failed") else result

    def _step(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        return result

    def _locked_out(self, why: str, until: float) -> dict[str, Any]:
        """Wait until the host has taken the change back, and say whether it answers again."""
        time.sleep(max(0.0, until - time.monotonic()))
        deadline, back = time.monotonic() + PATIENCE, False
        while not back and time.monotonic() < deadline:
            try:
                self._connection.reset()
                back = self._low_level_execute_command("true")["rc"] == 0
            except AnsibleConnectionFailure:
                time.sleep(EVERY)
        now = "The host has taken it back and answers again." if back else "The host does not answer yet."
        return {
            "failed": True,
            "changed": False,
            "reverted": back,
            "msg": f"The new firewall keeps this controller out: {why.strip()[-300:]} {now} "
            "Look at ssh_sources, and at the port that is logged in to.",
        }
