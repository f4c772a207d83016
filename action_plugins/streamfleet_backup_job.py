"""Wait for a backup or a restore on a host, and say how far it is."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()


class ActionModule(ActionBase):
    """The module of the same name, as often as the job goes on."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's last result."""
        super().run(tmp, task_vars)
        host, told = (task_vars or {}).get("inventory_hostname", ""), ""
        while True:
            result: dict[str, Any] = self._execute_module(module_args=self._task.args, task_vars=task_vars)
            status = result.get("status") or {}
            if result.get("failed") or status.get("state") != "running":
                return result
            percent = f" {status['percent']:.0f} %" if status.get("percent") else ""
            line = f"{host}: {status['phase']}{percent} {status['message']}".rstrip()
            if line != told:
                display.display(line)
            told = line
