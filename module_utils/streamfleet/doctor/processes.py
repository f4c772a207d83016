"""Processes of our units: which are stopped, and which have nearly all the files open that they may."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from ..node_apply.host import Host
from .about import About
from .finding import ERROR, WARNING, Finding

#: Units of ours, and those of others that we run on.
OURS = re.compile(r"(?:streamfleet-[^/]+|nginx|flussonic)\.service$")
#: Part of the open files that a process may have, from which on it is about to refuse.
_NEARLY = 0.9


def unit_of(text: str) -> str:
    """The unit of ``/proc/<pid>/cgroup``, of both versions of cgroups; "" where it is in none."""
    for line in text.splitlines():
        _number, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        if controllers in ("", "name=systemd"):
            for part in reversed(path.split("/")):
                if part.endswith(".service"):
                    return part
    return ""


def gather(host: Host, _about: About, _seen: dict[str, Any]) -> dict[str, Any]:
    """``stopped``: processes that a signal holds; ``files``: processes with the most open files."""
    found: dict[str, Any] = {"stopped": [], "files": []}
    for folder in host.path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            unit = unit_of((folder / "cgroup").read_text())
            if not OURS.match(unit):
                continue
            name, _paren, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            process = {"unit": unit, "pid": int(folder.name), "name": name}
            if rest.split()[0] == "T":
                found["stopped"].append(process)
            used, most = _open_files(folder)
            if most and used >= most * _NEARLY:
                found["files"].append({**process, "used": used, "most": most})
    return found


def _open_files(folder: Path) -> tuple[int, int]:
    limit = re.search(r"^Max open files +(\d+)", (folder / "limits").read_text(), re.MULTILINE)
    return sum(1 for _entry in (folder / "fd").iterdir()), int(limit[1]) if limit else 0


def restart(unit: str) -> tuple[tuple[str, ...], ...]:
    """What brings back a unit whose processes answer nothing. What is stopped hears no other signal than KILL."""
    return (("systemctl", "kill", "--signal=KILL", unit), ("systemctl", "restart", unit))


def judge(facts: dict[str, Any]) -> list[Finding]:
    """Rules."""
    found = []
    for unit in sorted({process["unit"] for process in facts["processes"]["stopped"]}):
        held = [process for process in facts["processes"]["stopped"] if process["unit"] == unit]
        words = ", ".join(f"{process['name']} (process {process['pid']})" for process in held)
        found.append(
            Finding(
                "processes.stopped",
                unit,
                f"Processes of {unit} are held by a signal (SIGSTOP): they run no more, so they answer nobody.",
                f"state T: {words}",
                f"systemctl kill --signal=CONT {unit} lets them go on. A debugger has stopped them, or somebody by "
                "hand.",
                ERROR,
                (("systemctl", "kill", "--signal=CONT", unit),),
            )
        )
    for process in facts["processes"]["files"]:
        found.append(
            Finding(
                "processes.files",
                process["unit"],
                f"{process['unit']} has nearly all the files open that it may, so it takes no further connections.",
                f"process {process['pid']} ({process['name']}): {process['used']} of {process['most']}",
                "Raise the unit's limit by its role's option, if it has that many clients; else restart it, and see "
                "what it "
                f"has open: ls -l /proc/{process['pid']}/fd.",
                WARNING if process["used"] < process["most"] else ERROR,
            )
        )
    return found
