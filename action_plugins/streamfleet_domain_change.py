"""Say to the module of the same name whose run this is, and whether the one that it finds there is alive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """The controller knows its own processes; the host where the journal is does not."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result."""
        super().run(tmp, task_vars)
        # Tasks run in children of the run itself.
        arguments = {**self._task.args, "where": where(os.getppid())}
        result: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        if result.get("failed") and gone(result.get("holder", "")):
            result = self._execute_module(module_args={**arguments, "take_over": True}, task_vars=task_vars)
        return result


def where(process: int) -> str:
    """This controller as it was booted, a process of it, when that began (ticks); empty where that is not known.

    Containers of a machine are booted with it and have processes of their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()} {process} {_began(process)}"
    except (OSError, IndexError):
        return ""


def gone(holder: str) -> bool:
    """Whether the process was one of this controller's, and is no more. Of other controllers nothing is known here."""
    parts = holder.split()
    if len(parts) != 3 or not parts[1].isdecimal():
        return False
    own = where(os.getpid()).split()
    return bool(own) and own[0] == parts[0] and where(int(parts[1])) != holder


def _began(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
