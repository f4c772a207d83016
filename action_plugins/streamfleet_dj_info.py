"""DJs' passwords that a playbook asks for are for the playbook, not for whoever watches it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Runs the module of the same name and hides the output, as ``no_log`` does, when it holds a secret.

    A module cannot ask for that itself, and masking the value in the result would make it useless.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; a failure is never hidden, it holds no secret."""
        super().run(tmp, task_vars)
        result: dict[str, Any] = self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
        if any("credentials" in item for item in result.get("djs", [])):
            result["_ansible_no_log"] = True
        return result
