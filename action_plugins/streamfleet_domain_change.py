"""Say to the module of the same name whose run this is, and whether the one that it finds there is alive."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

#: The root of the release (or of the collection) that this file belongs to.
RELEASE = next(folder for folder in Path(__file__).resolve().parents if (folder / "engines.yml").is_file())

# What modules import as ansible.module_utils.streamfleet is not on the controller's own path.
for _place in (RELEASE / "module_utils", RELEASE / "plugins" / "module_utils"):
    if _place.is_dir() and str(_place) not in sys.path:
        sys.path.append(str(_place))

from streamfleet.controller_process import gone, where


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
