"""Run a module, or, in check mode on a host where what it needs is not installed yet, predict ``changed``."""

from __future__ import annotations

import shlex
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

_TESTS = {
    "unit": "systemctl cat --no-pager -- {} >/dev/null 2>&1",
    "path": "test -e {}",
    "user": "getent passwd {} >/dev/null",
    "group": "getent group {} >/dev/null",
    "command": "command -v {} >/dev/null",
}


class ActionModule(ActionBase):
    """The one place that answers "this is not here yet" in check mode, so that every role predicts alike."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("module", "args", "needs"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result, or ``changed`` and what is missing."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _result, arguments = self.validate_argument_spec(
            argument_spec={
                "module": {"type": "str", "required": True},
                "args": {"type": "dict", "default": {}},
                "needs": {"type": "dict", "required": True},
            },
        )
        if self._task.check_mode:
            missing = self._missing(arguments["needs"])
            if missing:
                return {"changed": True, "predicted": True, "msg": f"not there yet: {', '.join(missing)}"}
        # The task's own values: validation may have turned them into text.
        module_args = dict(self._task.args.get("args") or {})
        return self._delegate(arguments["module"], module_args, task_vars)

    def _missing(self, needs: dict[str, Any]) -> list[str]:
        """Ask the host for every need in one command; return those that it lacks, as ``kind name``."""
        wanted: list[tuple[str, str]] = []
        for kind, names in needs.items():
            if kind not in _TESTS:
                raise AnsibleActionFail(f"needs: unknown kind {kind!r}; use one of {', '.join(sorted(_TESTS))}")
            wanted += [(kind, str(name)) for name in (names if isinstance(names, list) else [names])]
        script = "; ".join(
            f"{_TESTS[kind].format(shlex.quote(name))} || echo missing:{index}"
            for index, (kind, name) in enumerate(wanted)
        )
        answer = self._low_level_execute_command(f"{script}; true", executable="/bin/sh")
        if answer["rc"] != 0:
            raise AnsibleActionFail(f"cannot look at the host: {answer['stderr'].strip() or answer['stdout'].strip()}")
        found = {line.strip() for line in answer["stdout"].splitlines()}
        return [f"{kind} {name}" for index, (kind, name) in enumerate(wanted) if f"missing:{index}" in found]

    def _delegate(self, name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run ``name`` as the task itself would: through its action plugin where it has one."""
        task = self._task.copy()
        task.args = module_args
        task.action = name
        loader = self._shared_loader_obj.action_loader
        action = loader.get(
            name if loader.has_plugin(name) else "ansible.legacy.normal",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        result: dict[str, Any] = action.run(task_vars=task_vars)
        return result
