"""Calls of podman: global options in one place, answers as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.nodes.proc import Result, run


def command(runtime: str | None = None) -> list[str]:
    """`podman` with the global options that this machine needs."""
    argv = ["podman"]
    if not Path("/run/systemd/system").exists():
        # Without systemd as process 1 there is nobody who could make scopes for containers.
        argv += ["--cgroup-manager", "cgroupfs"]
    if runtime:
        argv += ["--runtime", runtime]
    return argv


def call(args: Sequence[str], *, runtime: str | None = None, check: bool = True, timeout: float = 120.0) -> Result:
    """Run podman with args; see proc.run."""
    return run([*command(runtime), *args], check=check, timeout=timeout)


def data(args: Sequence[str], *, check: bool = True) -> Any:
    """Parsed JSON that podman printed; None when it failed and check is off."""
    result = call(args, check=check)
    if result.returncode != 0:
        return None
    return json.loads(result.stdout or "null")


def exists(kind: str, name: str) -> bool:
    """Whether a container, image or network of that name exists."""
    return call([kind, "exists", name], check=False).returncode == 0
