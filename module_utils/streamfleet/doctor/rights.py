"""What others than root must be able to read, and what lets converge in."""

from __future__ import annotations

import grp
import pwd
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import Finding

#: Path, owner, group, mode, and who needs it for what. Only those whose owner and group there are on the host count.
PLACES = (
    ("/etc/streamfleet/tls", "root", "www-data", 0o750, "the web server reads certificates there"),
    ("/etc/streamfleet/routes", "root", "www-data", 0o750, "the web server reads there where a stream is"),
    ("/etc/streamfleet/domains", "root", "www-data", 0o750, "the web server reads customers' own names there"),
    ("/etc/streamfleet/publish-keys", "root", "streamfleet-rtmp", 0o750, "the RTMP server reads stream keys there"),
    ("/run/streamfleet-panel", "streamfleet-panel", "www-data", 0o750, "the web server reaches the panel through it"),
    (
        "/var/lib/streamfleet/panel",
        "streamfleet-panel",
        "streamfleet-panel",
        0o2770,
        "panel and worker keep the database there",
    ),
    ("/run/streamfleet", "root", "root", 0o755, "converge keeps its lock there"),
    ("/var/lib/streamfleet/services", "root", "root", 0o755, "every service has its data there"),
)
SUDO = "/etc/sudoers.d/streamfleet-converge"
CONVERGE = "streamfleet-converge"
KEYS = "/var/lib/streamfleet-converge/.ssh/authorized_keys"


def gather(host: Host, about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``places``: path → mode and owners, None where it is missing; ``sudo``, ``user``, ``keys`` of converge."""
    found: dict[str, Any] = {}
    for path, owner, group, _mode, _who in PLACES:
        if not _known(owner, group) or not _meant(host, about, path):
            continue
        try:
            status = host.path(path).stat()
        except OSError:
            found[path] = None
            continue
        found[path] = {"mode": status.st_mode & 0o7777, "owner": _user(status.st_uid), "group": _group(status.st_gid)}
    node = bool(about.stream_host) and host.path(KEYS).parent.parent.is_dir()
    checked = host.run(["visudo", "-cqf", str(host.path(SUDO))], "", 10.0) if node else None
    return {
        "places": found,
        "sudo": "" if checked is None or checked.code == 0 else checked.last_words or "it is missing",
        "user": not node or _known(CONVERGE, CONVERGE),
        "keys": not node or (host.path(KEYS).is_file() and host.path(KEYS).stat().st_size > 0),
    }


def _meant(host: Host, about: About, path: str) -> bool:
    """Whether this host is to have it."""
    if "panel" in path:
        return bool(about.panel_host) and host.path("/etc/systemd/system/streamfleet-panel.service").is_file()
    if path == "/etc/streamfleet/publish-keys":
        return host.path("/etc/systemd/system/streamfleet-rtmp.service").is_file()
    return True


def _known(owner: str, group: str) -> bool:
    try:
        pwd.getpwnam(owner)
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    it = facts["rights"]
    found = []
    for path, owner, group, mode, who in PLACES:
        if path not in it["places"]:
            continue
        seen = it["places"][path]
        if seen is None:
            made = (("install", "-d", "-o", owner, "-g", group, "-m", f"{mode:04o}", path),)
            found.append(
                Finding(
                    "rights.missing",
                    path,
                    f"{path} is missing: {who}.",
                    "there is no such folder",
                    " ".join(made[0]) + ".",
                    commands=made,
                )
            )
            continue
        # Wider than it should be is no fault of this look; narrower, or another's, keeps somebody out.
        closed = (mode & 0o070) & ~seen["mode"] or (mode & 0o007) & ~seen["mode"] or (mode & 0o700) & ~seen["mode"]
        if closed or seen["owner"] != owner or seen["group"] != group:
            mend = (("chown", f"{owner}:{group}", path), ("chmod", f"{mode:04o}", path))
            found.append(
                Finding(
                    "rights.closed",
                    path,
                    f"{path} is closed to who needs it: {who}.",
                    f"{seen['owner']}:{seen['group']} {seen['mode']:04o}, expected {owner}:{group} {mode:04o}",
                    f"chown {owner}:{group} {path}; chmod {mode:04o} {path}.",
                    commands=mend,
                )
            )
    if not it["user"]:
        found.append(
            Finding(
                "rights.user",
                CONVERGE,
                f"User {CONVERGE} is missing, so the worker cannot log in.",
                "no such user",
                "Run install.yml for this host.",
            )
        )
    elif not it["keys"]:
        found.append(
            Finding(
                "rights.keys",
                KEYS,
                "The worker's key is missing, so the worker cannot log in.",
                f"{KEYS} is missing or empty",
                "Run install.yml for this host.",
            )
        )
    if it["sudo"]:
        found.append(
            Finding(
                "rights.sudo",
                SUDO,
                "Converge cannot become root, so no change reaches this host.",
                it["sudo"],
                "Run install.yml --tags common for this host.",
            )
        )
    return found
