"""The demo's encoders: started once, known by process id and start time, ended by the demo's removal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from demo.stage import ROOT, Stage


def _start_time(pid: int) -> str | None:
    """When the kernel started ``pid`` (ticks since boot), so that a reused number is not mistaken for ours."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _file(stage: Stage) -> Path:
    return stage.state / "encoders.json"


def _known(stage: Stage) -> dict[str, dict[str, str | int]]:
    try:
        known: dict[str, dict[str, str | int]] = json.loads(_file(stage).read_text())
    except (OSError, ValueError):
        return {}
    return known


def running(stage: Stage, name: str) -> bool:
    """True while the encoder ``name`` that an earlier run started is alive."""
    entry = _known(stage).get(name)
    return bool(entry) and _start_time(int(entry["pid"])) == entry["start"]  # type: ignore[index]


def start(stage: Stage, name: str, command: Sequence[str]) -> None:
    """Start ``command`` in the demo's network as the encoder ``name``, unless it runs already."""
    if running(stage, name):
        return
    with (stage.state / f"encoder-{name}.log").open("ab") as log:
        process = subprocess.Popen(
            stage.inside(command),
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    known = _known(stage)
    known[name] = {"pid": process.pid, "start": _start_time(process.pid) or ""}
    _file(stage).write_text(json.dumps(known))


def stop(stage: Stage, name: str) -> None:
    """End the encoder ``name`` and what it started."""
    entry = _known(stage).get(name)
    if not entry or not running(stage, name):
        return
    pid = int(entry["pid"])
    os.killpg(pid, signal.SIGTERM)
    for _ in range(50):
        if _start_time(pid) != entry["start"]:
            return
        time.sleep(0.1)
    os.killpg(pid, signal.SIGKILL)


def stop_all(stage: Stage) -> None:
    """End every encoder of the demo."""
    for name in _known(stage):
        stop(stage, name)
    _file(stage).unlink(missing_ok=True)
