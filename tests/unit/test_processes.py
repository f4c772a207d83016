"""What tests that kill runs rely on: all that a process has started stands still, goes on, and dies with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.live import processes

#: Starts itself in a session of its own, twice; the third one says who all are, and goes on saying it.
PROGRAM = """\
import os, subprocess, sys, time
out, *above = sys.argv[1:]
known = [*above, str(os.getpid())]
if len(known) < 3:
    subprocess.run([sys.executable, __file__, out, *known], start_new_session=True)
while True:
    with open(out, "a") as file:
        print(*known, file=file)
    time.sleep(0.002)
"""


def test_all_that_a_process_has_started_stops_goes_on_and_dies_with_it(tmp_path: Path) -> None:
    program, out = tmp_path / "program.py", tmp_path / "out"
    program.write_text(PROGRAM)
    out.touch()
    known: list[int] = []
    with subprocess.Popen([sys.executable, program, out], start_new_session=True) as process:
        try:
            until(lambda: "\n" in out.read_text())
            known = [int(number) for number in out.read_text().splitlines()[0].split()]
            assert len({os.getsid(number) for number in known}) == 3
            assert processes.stop(process.pid) == known
            size = out.stat().st_size
            time.sleep(0.05)
            assert out.stat().st_size == size
            processes.go_on(known)
            until(lambda: out.stat().st_size > size)
        finally:
            processes.kill(process.pid)
    until(lambda: not any(alive(number) for number in known))


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def alive(number: int) -> bool:
    """Whether there is such a process; one that has ended may be listed until whoever adopts it looks."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
