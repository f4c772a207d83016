"""The machine that is applied to: where things lie, how programs are run. Tests give it others."""

from __future__ import annotations

import contextlib
import os
import signal as signals
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Finished:
    """A program that has ended."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def last_words(self) -> str:
        """The last line that it wrote to standard error, else to standard output."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1] if lines else f"exit code {self.code}"


Run = Callable[[Sequence[str], str, float], Finished]


def run_program(argv: Sequence[str], stdin: str, timeout: float, pass_fds: Sequence[int] = ()) -> Finished:
    """Run ``argv`` with plain English output, for at most ``timeout`` seconds. ``pass_fds``: locks that it has, too."""
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "SYSTEMD_COLORS": "0",
    }
    try:
        done = subprocess.run(
            list(argv), input=stdin, capture_output=True, text=True, timeout=timeout, env=environment, check=False,
            pass_fds=pass_fds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finished(124, err=f"{argv[0]} did not end within {timeout:g} seconds")
    except OSError as error:
        return Finished(127, err=f"{argv[0]}: {error.strerror}")
    return Finished(done.returncode, done.stdout, done.stderr)


def send_signal(pid: int, number: int, is_meant: Callable[[], bool]) -> None:
    """Signal a process, if it is there still and ``is_meant`` says that it is the right one.

    Its number may have become another's since it was looked at. It is held while that is asked, so that it cannot.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if is_meant():
            with contextlib.suppress(ProcessLookupError):
                signals.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def _no_checkpoint(_name: str) -> None:
    """Nothing: only tests stop here."""


@dataclass(frozen=True)
class Host:
    """Root of the file system, and the programs. ``own`` False neither compares nor sets owners."""

    root: Path = Path("/")
    run: Run = run_program
    own: bool = True
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    signal: Callable[[int, int, Callable[[], bool]], None] = send_signal
    checkpoint: Callable[[str], None] = field(default=_no_checkpoint)

    def path(self, absolute: str) -> Path:
        """``absolute`` below the root."""
        return self.root / absolute.lstrip("/")

    @property
    def lock(self) -> Path:
        """The lock of the node."""
        return self.path("/run/streamfleet/converge.lock")

    @property
    def state(self) -> Path:
        """What was applied last."""
        return self.path("/var/lib/streamfleet/node/state.json")

    @property
    def journal(self) -> Path:
        """What a run has begun; there only while one works, or after one was killed."""
        return self.path("/var/lib/streamfleet/node/journal.json")

    @property
    def firewall(self) -> Path:
        """The elements of the firewall's set, loaded when the node boots."""
        return self.path("/var/lib/streamfleet/node/tenant-ports.nft")

    def listening(self) -> set[tuple[int, int]]:
        """Who listens where: ``(uid, TCP port)``, IPv4 and IPv6."""
        found: set[tuple[int, int]] = set()
        for name in ("/proc/net/tcp", "/proc/net/tcp6"):
            try:
                lines = self.path(name).read_text().splitlines()[1:]
            except OSError:
                continue
            for line in lines:
                fields = line.split()
                if len(fields) > 7 and fields[3] == "0A":
                    found.add((int(fields[7]), int(fields[1].rpartition(":")[2], 16)))
        return found

    def sync(self) -> None:
        """Have the kernel write everything to disk: cheaper than an fsync for each of thousands of files."""
        os.sync()
