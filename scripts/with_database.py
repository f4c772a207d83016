"""Run a command with the panel's database on a real server of its own, which is gone afterwards.

    scripts/with_database.py postgresql|mariadb COMMAND…

The server is private: an unprivileged user's, in a temporary folder, on a unix socket and no port. The command finds
it as the panel does, in STREAMFLEET_PANEL_DATABASE_URL. Its exit code is this script's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "STREAMFLEET_PANEL_DATABASE_URL"
#: Seconds that a server may take to start, and to stop.
PATIENCE = 60.0
#: What fits into a unix socket's address, less the names of the socket below the folder.
MOST_CHARACTERS = 107 - len("/.s.PGSQL.5432.lock")


class DatabaseError(RuntimeError):
    """The server cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Kind:
    """How a server of one kind is made. Each function takes its temporary folder; commands run as the server's user."""

    #: Debian's packages. (That of PostgreSQL also makes a cluster of the machine's own, which is not touched here.)
    packages: tuple[str, ...]
    #: A shell command that succeeds where they are there.
    present: str
    #: The command that makes the server's data.
    make: Callable[[Path], list[str]]
    #: The command that is the server.
    serve: Callable[[Path], list[str]]
    #: The command that makes the panel's database; it fails while the server does not answer yet.
    create: Callable[[Path], list[str]]
    #: The panel's URL of that database.
    url: Callable[[Path], str]
    #: The signal at which the server ends at once, whoever is connected.
    stop: signal.Signals


def _postgresql_program(name: str) -> str:
    """A program of the newest PostgreSQL here: Debian keeps them out of PATH."""
    versions = sorted(Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name))
    return str(versions[-1] / "bin" / name)


# Nothing outlives the run, so nothing is forced onto the disk.
KINDS = {
    "postgresql": Kind(
        packages=("postgresql",),
        present="ls /usr/lib/postgresql/*/bin/initdb",
        make=lambda folder: [
            _postgresql_program("initdb"), f"--pgdata={folder}/data", "--username=streamfleet", "--auth=trust",
            "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
        ],
        serve=lambda folder: [
            _postgresql_program("postgres"), "-D", f"{folder}/data", "-k", str(folder), "-c", "listen_addresses=",
            "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off",
        ],
        create=lambda folder: [
            _postgresql_program("createdb"), f"--host={folder}", "--username=streamfleet", "streamfleet",
        ],
        url=lambda folder: f"postgres://streamfleet@/streamfleet?host={quote(str(folder))}",
        stop=signal.SIGINT,
    ),
    "mariadb": Kind(
        packages=("mariadb-server-core", "mariadb-client"),
        present="test -x /usr/sbin/mariadbd && command -v mariadb-install-db && command -v mariadb-dump",
        make=lambda folder: [
            "mariadb-install-db", "--no-defaults", f"--datadir={folder}/data", "--skip-test-db",
            "--auth-root-authentication-method=normal", "--innodb-flush-method=nosync", "--innodb-log-file-size=4M",
        ],
        serve=lambda folder: [
            "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={folder}/data", f"--socket={folder}/mariadb.sock",
            f"--pid-file={folder}/mariadb.pid", "--skip-networking",
            "--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0",
        ],
        create=lambda folder: [
            "mariadb", "--no-defaults", f"--socket={folder}/mariadb.sock", "--user=root",
            "--execute=CREATE DATABASE streamfleet CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        ],
        url=lambda folder: f"mysql://root@/streamfleet?unix_socket={quote(f'{folder}/mariadb.sock')}",
        stop=signal.SIGTERM,
    ),
}  # fmt: skip


@contextlib.contextmanager
def database(name: str) -> Iterator[str]:
    """A server of that kind; yields the panel's URL of its empty database. Raises DatabaseError."""
    kind = KINDS[name]
    # Not TemporaryDirectory: a server that dies late still writes into it.
    folder = Path(tempfile.mkdtemp(prefix="streamfleet-db-"))
    try:
        if len(str(folder)) > MOST_CHARACTERS:
            raise DatabaseError(
                f"TMPDIR: {folder.parent} is too long for a socket's address; set it to a shorter folder, e.g. /tmp"
            )
        user = _own(folder)
        with (folder / "log").open("wb") as log:
            _do([*user, *kind.make(folder)], folder)
            # The kernel ends the server with this process, however that ends.
            ended = f"--pdeathsig={kind.stop.name.removeprefix('SIG')}"
            command = ["setpriv", ended, *user[1:], *kind.serve(folder)]
            server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
            try:
                _answers([*user, *kind.create(folder)], server, folder)
                yield kind.url(folder)
            finally:
                _end(server, kind.stop)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own(folder: Path) -> list[str]:
    """Give the folder to the user that the server runs as; the beginning of a command of that user's."""
    if os.getuid() != 0:
        return ["setpriv"]
    # Both servers refuse to be root.
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


def _do(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)
    if done.returncode:
        raise DatabaseError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")


def _answers(create: list[str], server: subprocess.Popen[bytes], folder: Path) -> None:
    """Make the database as soon as the server answers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            _do(create, folder)
            return
        except DatabaseError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                log = (folder / "log").read_text(errors="replace")[-2000:]
                raise DatabaseError(f"The server did not start: {error}\nIts log:\n{log}") from error
            time.sleep(0.1)


def _end(server: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    server.send_signal(stop)
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main(arguments: list[str]) -> int:
    """Entry point; the command's exit code, as a shell gives it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND…")
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error("COMMAND is missing: say what to run, e.g. pytest tests")
    kind = KINDS[options.kind]
    if subprocess.run([ROOT / "scripts/need.sh", kind.present, *kind.packages], check=False).returncode:
        return 1
    # So that being told to stop leaves nothing behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with database(options.kind) as url:
            code = subprocess.run(options.command, env={**os.environ, VARIABLE: url}, check=False).returncode
            return 128 - code if code < 0 else code
    except DatabaseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
