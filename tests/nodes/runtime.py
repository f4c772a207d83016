"""What this machine can do for a node, found out by trying, once per boot."""

from __future__ import annotations

import json
import resource
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.nodes import limits, packages, podman
from tests.nodes.errors import NodesError
from tests.nodes.paths import CACHE
from tests.nodes.proc import run

CAPABILITIES: dict[str, int] = {
    # Sandboxed units (ProtectSystem=, PrivateTmp=, DynamicUser=) mount; without it they end with 226/NAMESPACE.
    "SYS_ADMIN": 21,
    # nftables and network settings of units.
    "NET_ADMIN": 12,
    # sshd and sudo write audit records and refuse logins when they cannot.
    "AUDIT_WRITE": 29,
    # Root of a server sees whose a socket is (ss -p), which self checks use to name a cause.
    "SYS_PTRACE": 19,
}
"""Capability → its bit in CapBnd. Given only as far as this machine has them itself."""

_FACTS = CACHE / "nodes" / "runtime.json"


@dataclass(frozen=True)
class Runtime:
    """Options that make a container a node here."""

    runtime: str
    cgroup: str
    options: list[str] = field(default_factory=list)
    mtu: int = 1500


def detect(image: str) -> Runtime:
    """Find a runtime that starts systemd's kind of container from `image`; remembered until the next boot.

    Raises NodesError with what each runtime said when none works.
    """
    key = _key()
    try:
        facts = json.loads(_FACTS.read_text())
        if facts["key"] == key:
            return Runtime(**facts["runtime"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not detected yet, or by another version of this file
    options = node_options()
    said = []
    for name in packages.runtimes():
        trial = ["run", "--rm", "--systemd=always", "--network=none", *options, image, "/bin/true"]
        result = podman.call(trial, runtime=name, check=False, timeout=60)
        if result.returncode == 0:
            found = Runtime(runtime=name, cgroup=cgroup_version(), options=options, mtu=mtu())
            _FACTS.parent.mkdir(parents=True, exist_ok=True)
            _FACTS.write_text(json.dumps({"key": key, "runtime": asdict(found)}))
            return found
        said.append(f"{name}: {(result.stderr.strip().splitlines() or ['no message'])[-1][:300]}")
    raise NodesError(
        f"No container runtime works here ({'; '.join(said) or 'none is installed'}).",
        "Install runc or crun, and run as root outside of unprivileged containers.",
    )


def node_options() -> list[str]:
    """Options of `podman create` for limits, capabilities and confinement, fitted to this machine."""
    files = limits.open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    processes = limits.processes(resource.getrlimit(resource.RLIMIT_NPROC)[1])
    options = ["--ulimit", f"nofile={files}:{files}", "--ulimit", f"nproc={processes}:{processes}"]
    if _has_pids_controller():
        options += ["--pids-limit", str(limits.tasks(int(Path("/proc/sys/kernel/pid_max").read_text())))]
    bounding = _bounding_set()
    options += [f"--cap-add={name}" for name, bit in CAPABILITIES.items() if bounding >> bit & 1]
    if Path("/sys/kernel/security/apparmor").is_dir():
        # The stock container profile forbids the mounts that sandboxed units make.
        options.append("--security-opt=apparmor=unconfined")
    if Path("/sys/fs/selinux/enforce").exists():
        options.append("--security-opt=label=disable")
    return options


def cgroup_version() -> str:
    """`v2`, or `v1` (also for the hybrid layout, where the controllers are v1's)."""
    return "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"


def mtu() -> int:
    """Path size towards the outside: the interface of the default route, 1500 when there is none."""
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "default"]).stdout or "[]")
    if not routes:
        return 1500
    device = routes[0].get("dev", "")
    try:
        return min(1500, int(Path(f"/sys/class/net/{device}/mtu").read_text()))
    except (OSError, ValueError):
        return 1500


def _has_pids_controller() -> bool:
    if cgroup_version() == "v2":
        return "pids" in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    return Path("/sys/fs/cgroup/pids").is_dir()


def _bounding_set() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return 0


def _key() -> list[str]:
    """Changes whenever the answer could change."""
    return [
        Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        run(["podman", "--version"]).stdout.strip(),
        ",".join(packages.runtimes()),
        " ".join(node_options()),
    ]
