"""Ask for a step of a copy of media services; of the copy, say how far it is until it is through."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
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
        host = self._task.delegate_to or (task_vars or {}).get("inventory_hostname", "")
        patience = PATIENCE if self._task.args.get("state") == "copied" else 0.0
        until = time.monotonic() + patience

        def ask() -> dict[str, Any]:
            nonlocal until
            try:
                result: dict[str, Any] = self._execute_module(module_args=self._task.args, task_vars=task_vars)
            except AnsibleConnectionFailure as error:
                if time.monotonic() >= until:
                    return {"failed": True, "changed": False, "msg": f"{host} cannot be reached: {error}"}
                time.sleep(PAUSE)
                return {"status": {"lost": True}}
            until = time.monotonic() + patience
            return result

        return progress.follow(ask, lambda status: _words(host, status), display.display)


def _words(host: str, status: Mapping[str, Any]) -> str:
    if status.get("lost"):
        return f"{host} cannot be reached, and copies by itself: it is asked again"
    return progress.of_a_copy(host, status)
