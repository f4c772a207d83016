"""Ask for a step of a move of media libraries; of the copy, say how far it is until it is through."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

#: The root of the release (or of the collection) that this file belongs to.
RELEASE = next(folder for folder in Path(__file__).resolve().parents if (folder / "engines.yml").is_file())

# What modules import as ansible.module_utils.streamfleet is not on the controller's own path.
for _place in (RELEASE / "module_utils", RELEASE / "plugins" / "module_utils"):
    if _place.is_dir() and str(_place) not in sys.path:
        sys.path.append(str(_place))

from streamfleet import progress

display = Display()


class ActionModule(ActionBase):
    """The module of the same name, as often as the copy goes on."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's last result."""
        super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "")

        def ask() -> dict[str, Any]:
            result: dict[str, Any] = self._execute_module(module_args=self._task.args, task_vars=task_vars)
            return result

        return progress.follow(ask, lambda status: progress.of_a_copy(host, status), display.display)
