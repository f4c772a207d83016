"""Ask for a step of a copy of media services; of the copy, say how far it is until it is through."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()


class ActionModule(ActionBase):
    """The module of the same name, as often as the copy goes on."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's last result."""
        super().run(tmp, task_vars)
        host, told = (task_vars or {}).get("inventory_hostname", ""), ""
        while True:
            result: dict[str, Any] = self._execute_module(module_args=self._task.args, task_vars=task_vars)
            status = result.get("status") or {}
            if result.get("failed") or not status.get("running"):
                return result
            line = f"{host}: {status['step']} {status['percent']:.0f} % {status['words']}".rstrip()
            if line != told:
                display.display(line)
            told = line
