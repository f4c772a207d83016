"""ansible-lint, the same in all but its time: its syntax checks are forked (``forked_ansible``).

It runs ``ansible-playbook --syntax-check`` for each playbook and each role, and most of that is starting it. Arguments
and exit status are those of ansible-lint.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import forked_ansible

SECONDS = 300
_run: Callable[..., subprocess.CompletedProcess[Any]] = subprocess.run


def run(command: Any, *rest: Any, **options: Any) -> subprocess.CompletedProcess[Any]:
    """subprocess.run, but for syntax checks, of which ansible-lint wants the status and the captured text."""
    if not isinstance(command, list) or command[:2] != ["ansible-playbook", "--syntax-check"]:
        return _run(command, *rest, **options)
    cwd = Path(options["cwd"]) if options.get("cwd") else Path.cwd()
    return forked_ansible.playbook(command[1:], env=options["env"], cwd=cwd, timeout=SECONDS)


def main() -> int:
    """Command line."""
    subprocess.run = run  # type: ignore[assignment]
    # From where the program of this name would be started: it looks for its companions there.
    sys.argv[0] = str(Path(sys.executable).with_name("ansible-lint"))
    status: int = importlib.import_module("ansiblelint.__main__").main(sys.argv)
    return status


if __name__ == "__main__":
    sys.exit(main())
