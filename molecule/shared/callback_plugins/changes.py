"""Records what converge changed, and what check mode said that it would, for the test that compares the two."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: changes
type: notification
short_description: Record the tasks that changed something
description:
  - Writes changes-check.json or changes-converge.json, a sorted list of [host, task], to molecule's directory.
  - Only the first run of each kind counts; idempotence runs the same playbook again.
"""


class CallbackModule(CallbackBase):
    """One file for each kind of run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "changes"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._changed: set[tuple[str, str]] = set()
        self._target: Path | None = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Record only the playbook that installs."""
        if Path(playbook._file_name).name == "converge.yml":
            kind = "check" if context.CLIARGS.get("check") else "converge"
            self._target = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], f"changes-{kind}.json")

    def v2_runner_on_ok(self, result: Any) -> None:
        """Remember a task that changed something."""
        if result.is_changed():
            # The role's name is part of it: two roles may have a task of one name.
            self._changed.add((result._host.get_name(), result._task.get_name()))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the list, unless an earlier run of this kind has."""
        if self._target and not self._target.exists():
            self._target.write_text(json.dumps(sorted(self._changed), indent=1) + "\n")
