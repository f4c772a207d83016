"""ansible-playbook without its start: one process has imported ansible-core, and each run is a fork of that.

Short runs spend most of their time on Python's imports. A run here is the same command line with the same code,
arguments, environment, folder and exit status, in a process of its own; only the imports were made before. For tests
and checks, which run it by the hundred; not for what is measured or shown.

    done = playbook(["-i", "localhost,", "play.yml"], env={…}, timeout=60)
    done.returncode, done.stdout, done.stderr

What ansible-core finds in its environment while it is imported (its settings, among others) is the same for all forks
of a process. So there is one for each environment and folder; runs of one process may differ only in ``STREAMFLEET_*``,
which nobody but our own code reads, when it runs. All end with the process that asked for them.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = str(Path(sys.executable).with_name("ansible-playbook"))
COMMAND_LINE = "ansible.cli.playbook"
#: What runs load sooner or later, beside what the command line imports itself.
LOADED = (
    "ansible.executor.module_common",
    "ansible.plugins.action.normal",
    "ansible.plugins.callback.default",
    "ansible.plugins.callback.junit",
    "ansible.plugins.connection.local",
    "ansible.plugins.connection.ssh",
    "ansible.plugins.filter.core",
    "ansible.plugins.inventory.auto",
    "ansible.plugins.inventory.ini",
    "ansible.plugins.inventory.toml",
    "ansible.plugins.inventory.yaml",
    "ansible.plugins.shell.sh",
    "ansible.plugins.strategy.linear",
    "ansible.plugins.test.core",
    "ansible.plugins.vars.host_group_vars",
    "multiprocessing.popen_fork",
    "multiprocessing.shared_memory",
    "multiprocessing.synchronize",
    "xml.dom.minidom",
    "xml.etree.ElementTree",
)
START_SECONDS = 60


class Imported:
    """A process that has imported ansible-core, and forks when it is asked to. Several threads may ask."""

    def __init__(self, env: Mapping[str, str], cwd: Path) -> None:
        """Start it in this environment and folder. Raises RuntimeError, with what Python said, when it cannot."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with tempfile.TemporaryFile() as said, theirs:
            # -P: which modules are found is not to depend on where this file lies. The process ends when nobody is
            # left at this end of its standard input.
            command = [sys.executable, "-P", __file__]
            self._process = subprocess.Popen(
                command, env=dict(env), cwd=cwd, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=said,
                start_new_session=True,
            )  # fmt: skip
            theirs.close()
            self._control.settimeout(START_SECONDS)
            if not self._control.recv(1):
                said.seek(0)
                raise RuntimeError(f"ansible-core cannot be imported:\n{said.read().decode()[-3000:]}")
        atexit.register(self.end)

    def end(self) -> None:
        """Have it end, and wait for that."""
        self._control.close()
        self._process.wait(START_SECONDS)

    def run(self, arguments: Sequence[str], own: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        """The command line with ``arguments``, and ``own`` variables beside those of the process.

        Raises TimeoutExpired, as subprocess.run does, when it has not ended after that many seconds.
        """
        link, theirs = socket.socketpair()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, link:
            with theirs:
                socket.send_fds(self._control, [b"!"], [theirs.fileno(), out.fileno(), err.fileno()])
            link.settimeout(timeout)
            link.sendall(json.dumps({"arguments": list(arguments), "own": dict(own)}).encode())
            link.shutdown(socket.SHUT_WR)
            code = self._wait(link, [PROGRAM, *arguments], timeout)
            for stream in (out, err):
                stream.seek(0)
            return subprocess.CompletedProcess([PROGRAM, *arguments], code, out.read(), err.read())

    @staticmethod
    def _wait(link: socket.socket, command: list[str], timeout: float) -> int:
        """The exit status, which the fork itself tells when it ends; -SIGKILL where it was not to."""
        with link.makefile("r") as answers:
            pid = int(answers.readline())
            try:
                return int(answers.readline() or -signal.SIGKILL)
            except BaseException as fault:
                with contextlib.suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
                if isinstance(fault, TimeoutError):
                    raise subprocess.TimeoutExpired(command, timeout) from None
                raise


_IMPORTED: dict[tuple[str, ...], Imported] = {}
_LOCK = threading.Lock()


def playbook(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook with these arguments. ``env`` is its whole environment (None: that of this process).

    Raises TimeoutExpired when it has not ended after ``timeout`` seconds.
    """
    # pytest tells in its variable which test it is at: nothing that ansible-core would ask for.
    whole = {name: value for name, value in (env or os.environ).items() if name != "PYTEST_CURRENT_TEST"}
    own = {name: value for name, value in whole.items() if name.startswith("STREAMFLEET_")}
    common = {name: value for name, value in whole.items() if name not in own}
    key = (str(cwd), *(f"{name}={value}" for name, value in sorted(common.items())))
    with _LOCK:
        if key not in _IMPORTED:
            _IMPORTED[key] = Imported(common, cwd)
    return _IMPORTED[key].run(arguments, own, timeout)


# The process ----------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Import, say so, and fork until nobody is there any more."""
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    sys.argv = [PROGRAM]
    command_line = importlib.import_module(COMMAND_LINE).PlaybookCLI
    for name in LOADED:
        importlib.import_module(name)
    # What is there now stays: no fork need look for garbage in it.
    gc.collect()
    gc.freeze()
    control.send(b"!")
    while True:
        message, streams, _, _ = socket.recv_fds(control, 1, 3)
        # Each fork tells itself how it ended; here they are only cleared away.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            return
        if not os.fork():
            control.close()
            _run(command_line, *streams)
        for stream in streams:
            os.close(stream)


def _run(command_line: Any, link_number: int, out: int, err: int) -> NoReturn:
    """What the program does from its first line on, in a fork."""
    code = 250
    try:
        os.setpgid(0, 0)
        link = socket.socket(fileno=link_number)
        link.sendall(f"{os.getpid()}\n".encode())
        with link.makefile("r") as asked:
            order = json.load(asked)
        for stream, number in ((out, 1), (err, 2)):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.update(order["own"])
        random.seed()
        sys.argv = [PROGRAM, *order["arguments"]]
        try:
            command_line.cli_executor(sys.argv)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        link.sendall(f"{code}\n".encode())
    finally:
        # What is registered for the end is for that of the process that has imported all.
        os._exit(code)


if __name__ == "__main__":
    serve()
