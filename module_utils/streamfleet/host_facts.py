"""What roles want to know of a host before they change anything, in one look."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from .media_move.storage import holds_libraries, noted
from .node_apply.host import Host
from .upgrade.databases import settings_of

#: Bit of CAP_SYS_RESOURCE in a process's capabilities (linux/capability.h): with it limits may be raised.
_SYS_RESOURCE = 1 << 24


def look(root: Path = Path("/")) -> dict[str, Any]:
    """See RETURN of the module streamfleet_host_facts. ``root`` is for tests."""
    status = (root / "proc/1/status").read_text()
    limits = (root / "proc/1/limits").read_text()
    memory = re.search(r"^MemTotal: +(\d+) kB$", (root / "proc/meminfo").read_text(), re.MULTILINE)
    capabilities = re.search(r"^CapEff:\s+([0-9a-f]+)$", status, re.MULTILINE)
    open_files = re.search(r"^Max open files +\S+ +(\d+)", limits, re.MULTILINE)
    hard = int(open_files[1]) if open_files else 1024
    raises = bool(capabilities and int(capabilities[1], 16) & _SYS_RESOURCE)
    lists = root / "var/lib/apt/lists"
    host = Host(root)
    return {
        "uid": os.geteuid(),
        "time": int(time.time()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": int(memory[1]) // 1024 if memory else 0,
        "free_mb": {path: _free(root / path.lstrip("/")) for path in ("/", "/etc", "/var/lib")},
        "ipv6": (root / "proc/net/if_inet6").exists(),
        "python_apt": (root / "usr/lib/python3/dist-packages/apt").exists(),
        "apt_lists": lists.is_dir() and any("_Packages" in path.name for path in lists.iterdir()),
        "open_files": hard,
        "open_files_most": int((root / "proc/sys/fs/nr_open").read_text()) if raises else hard,
        "media_path": noted(host),
        "media_libraries": holds_libraries(host),
        "panel_database": _panel_database(root),
        "mounts_propagate": bool(
            re.search(r"^[^\n]* / / [^\n]* shared:[0-9]+", (root / "proc/1/mountinfo").read_text(), re.MULTILINE)
        ),
    }


def _panel_database(root: Path) -> str:
    """Where a panel here has its data, without who logs in there; empty where there is none."""
    try:
        url = settings_of((root / "etc/streamfleet/panel/panel.env").read_text())["STREAMFLEET_PANEL_DATABASE_URL"]
    except (OSError, ValueError, KeyError):
        return ""
    return re.sub("^([a-z]+)://(?:[^/]*@)?", r"\1://", url)


def _free(path: Path) -> int:
    """MiB that are free there for others than root, too."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize >> 20
