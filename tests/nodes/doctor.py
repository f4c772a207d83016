"""What was detected on this machine, for people."""

from __future__ import annotations

import os
import resource

from tests.nodes import image, packages, podman, runtime
from tests.nodes.errors import NodesError
from tests.nodes.paths import CACHE, FLEETS
from tests.nodes.proc import run
from tests.nodes.spec import RELEASES


def report() -> int:
    """Print it; returns 0 when nodes can be started here, else 1."""
    wanted = packages.missing()
    problems = []
    if os.geteuid() != 0:
        problems.append("not root: run with sudo")
    if wanted:
        problems.append(f"not installed: {', '.join(wanted)} (as root on Debian, `up` installs them)")
    _line("user", "root" if os.geteuid() == 0 else f"uid {os.geteuid()}")
    _line("hard limits", ", ".join(f"{name} {_limit(kind)}" for name, kind in _LIMITS.items()))
    _line("cgroup", runtime.cgroup_version())
    _line("runtimes found", ", ".join(packages.runtimes()) or "none")
    _line("cache", str(CACHE))
    _line("fleets", str(FLEETS))
    if "podman" not in wanted:
        _line("podman", run(["podman", "--version"]).stdout.strip())
        _line("storage", podman.call(["info", "--format", "{{.Store.GraphDriverName}}"], check=False).stdout.strip())
        _line("node options", " ".join(runtime.node_options()))
        images = [image.name(release) for release in RELEASES]
        present = [name for name in images if podman.exists("image", name)] if os.geteuid() == 0 else []
        _line("images", ", ".join(present) or "none yet: python -m tests.nodes image")
        if present:
            try:
                found = runtime.detect(present[0])
                _line("runtime that works", f"{found.runtime}, MTU {found.mtu}")
            except NodesError as error:
                problems.append(str(error))
    for problem in problems:
        _line("problem", problem)
    return 1 if problems else 0


_LIMITS = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}


def _limit(kind: int) -> str:
    hard = resource.getrlimit(kind)[1]
    return "unlimited" if hard == resource.RLIM_INFINITY else str(hard)


def _line(name: str, value: str) -> None:
    print(f"{name:20} {value}")
