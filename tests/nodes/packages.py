"""What this machine must have to run test nodes, and how it comes by it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.nodes.errors import NodesError
from tests.nodes.paths import LOCKS
from tests.nodes.proc import locked, run

_HELPERS = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/libexec/podman")

REQUIRED: dict[str, str] = {
    "podman": "podman",
    "mmdebstrap": "mmdebstrap",
    "netavark": "netavark",
    "iptables": "iptables",
    "nft": "nftables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "unshare": "util-linux",
    "mount": "mount",
}
"""Command → Debian package. A runtime (runc or crun) is needed besides; either will do."""


def _present(command: str) -> bool:
    if shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return True
    return any(Path(directory, command).exists() for directory in _HELPERS)


def missing() -> list[str]:
    """Debian packages that are needed and not here, sorted."""
    wanted = {package for command, package in REQUIRED.items() if not _present(command)}
    if not runtimes():
        wanted.add("runc")
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        wanted.add("debian-archive-keyring")
    return sorted(wanted)


def runtimes() -> list[str]:
    """OCI runtimes found, the preferred one first; whether they work is found out by trying (see runtime.py)."""
    return [name for name in ("crun", "runc") if _present(name)]


def ensure(install: bool = True) -> None:
    """Make sure that everything needed is installed; as root on Debian, install what is missing.

    Raises NodesError that names the packages when it may not.
    """
    if os.geteuid() != 0:
        raise NodesError(
            "Test nodes need root: they have networks and system services of their own.", "Run it with sudo."
        )
    wanted = missing()
    if not wanted:
        return
    if not install or not shutil.which("apt-get"):
        raise NodesError(f"Not installed: {', '.join(wanted)}.", f"Install them: apt-get install {' '.join(wanted)}")
    with locked(LOCKS / "streamfleet-nodes-packages.lock", 900, "installing packages"):
        wanted = missing()
        if not wanted:
            return
        apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        run([*apt, "update"], env=env, timeout=300)
        run([*apt, "install", "--no-install-recommends", *wanted], env=env, timeout=900)
    still = missing()
    if still:
        raise NodesError(f"Still missing after apt-get install: {', '.join(still)}.")
