"""The panel's database, whichever it is: one consistent dump, what is in it, and the way back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .errors import BackupError
from .settings import Database, read_environment

URL = "STREAMFLEET_PANEL_DATABASE_URL"
_MASK = (1 << 256) - 1


class NoTables(BackupError):
    """A database in which nothing is."""


@dataclass(frozen=True)
class Where:
    """A database: its kind (sqlite, postgresql, mariadb), and how it is reached."""

    kind: str
    name: str
    user: str = ""
    password: str = ""
    host: str = ""
    port: str = ""
    options: Mapping[str, str] | None = None


def where(url: str) -> Where:
    """What a URL of the panel's setting says. Raises BackupError."""
    parts = urlsplit(url)
    kinds = {"sqlite": "sqlite", "postgres": "postgresql", "postgresql": "postgresql", "mysql": "mariadb"}
    if parts.scheme not in kinds:
        raise BackupError(f"{URL} begins with {parts.scheme!r}; sqlite, postgres and mysql can be stored.")
    kind = kinds[parts.scheme]
    if kind == "sqlite":
        return Where(kind, unquote(parts.path)[1:])
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    # The user may hold what urlsplit takes for a host: a socket's folder is percent-encoded.
    host, _colon, port = parts.netloc.rpartition("@")[2].partition(":")
    if parts.netloc.rpartition("@")[2].startswith("["):
        host, port = parts.hostname or "", str(parts.port or "")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    # A socket may be named in the query as well.
    host = unquote(host) or options.get("host") or options.get("unix_socket") or ""
    return Where(kind, unquote(parts.path)[1:], user, password, host, port or options.get("port", ""), options)


class Panel:
    """The panel of this host, as its own user."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def where(self) -> Where:
        """Where its database is, by its settings as they are on this host."""
        settings = read_environment(self._database.settings)
        return where(settings.get(URL, "sqlite:////var/lib/streamfleet/panel/panel.sqlite3"))

    def dump(self, folder: Path) -> Path:
        """Write one consistent dump into ``folder``; its file. Others go on writing. Raises BackupError."""
        at = self.where
        target = folder / f"panel.{at.kind}"
        with target.open("wb") as stream:
            target.chmod(0o600)
            if at.kind == "sqlite":
                self._run([*_PYTHON, _COPY, at.name], stdout=stream)
            elif at.kind == "postgresql":
                with _postgresql(at) as environment:
                    self._run(
                        ["pg_dump", "--format=plain", "--no-owner", "--no-privileges"],
                        stdout=stream,
                        environment=environment,
                    )
            else:
                with self._mariadb(at) as options:
                    command = [
                        "mariadb-dump",
                        options,
                        "--single-transaction",
                        "--quick",
                        "--hex-blob",
                        "--skip-dump-date",
                    ]
                    command += ["--skip-extended-insert", "--order-by-primary", "--default-character-set=utf8mb4"]
                    self._run([*command, at.name], stdout=stream)
            stream.flush()
            os.fsync(stream.fileno())
        return target

    def absent(self) -> bool:
        """Whether there is no database: of SQLite no file; of others, which a server holds, one without tables."""
        at = self.where
        return at.kind == "sqlite" and not os.path.lexists(at.name)

    def keep(self, folder: Path, stamp: str) -> str:
        """Keep what is there before another takes its place; the file. Raises BackupError.

        SQLite's lies beside it, as it is, whether it can be read or not; of others a dump lies in ``folder``.
        """
        at = self.where
        if at.kind == "sqlite":
            kept = f"{at.name}.before-{stamp}"
            self._run([*_PYTHON, _KEEP, at.name, kept])
            return kept
        inner = folder / f"before-{stamp}"
        inner.mkdir(mode=0o700)
        dumped = self.dump(inner)
        if not ended(dumped):
            raise BackupError(
                f"the dump of the database that is here, {dumped}, is not complete. It was left as it is."
            )
        return str(dumped)

    def load(self, dump: Path) -> None:
        """Put a dump into the database's place; of SQLite and PostgreSQL all or nothing. Raises BackupError."""
        at = self.where
        if dump.suffix != f".{at.kind}":
            raise BackupError(
                f"the backup holds a database of {dump.suffix[1:]}, the panel here uses {at.kind}. Set"
                " streamfleet_panel_database_url to one of that kind, run database_move.yml, and restore again."
            )
        if at.kind == "sqlite":
            self._run([*_PYTHON, _PLACE, at.name], stdin=dump)
        elif at.kind == "postgresql":
            with _postgresql(at) as environment, tempfile.TemporaryFile() as script:
                # Whoever has tables in that schema loses them: it is the panel's own.
                script.write(b"DROP SCHEMA IF EXISTS public CASCADE;\nCREATE SCHEMA public;\n")
                with dump.open("rb") as stream:
                    for line in stream:
                        if line.rstrip() != b"CREATE SCHEMA public;":
                            script.write(line)
                script.seek(0)
                command = [
                    "psql",
                    "--no-psqlrc",
                    "--quiet",
                    "--set=ON_ERROR_STOP=1",
                    "--single-transaction",
                    "--output=/dev/null",
                ]
                self._run(command, stdin=script, environment=environment)
        else:
            with self._mariadb(at) as options, tempfile.TemporaryFile() as script:
                client = ["mariadb", options, "--default-character-set=utf8mb4"]
                ask = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
                tables = self._run([*client, "--batch", "--skip-column-names", f"--execute={ask}", at.name]).split()
                # Tables of a newer version, which the dump does not name, would be in the way of its migrations.
                script.write(b"SET FOREIGN_KEY_CHECKS = 0;\n")
                script.writelines(f"DROP TABLE `{table}`;\n".encode() for table in tables)
                with dump.open("rb") as stream:
                    shutil.copyfileobj(stream, script)
                script.seek(0)
                self._run([*client, at.name], stdin=script)

    def manage(self, *arguments: str, stdin: str = "") -> str:
        """Run the panel's own command; its output. Raises BackupError."""
        settings = {**read_environment(self._database.settings), **read_environment(self._database.secrets)}
        command = [str(self._database.venv / "bin" / "streamfleet-panel"), *arguments]
        with tempfile.TemporaryFile() as given:
            given.write(stdin.encode())
            given.seek(0)
            return self._run(command, stdin=given, environment=settings)

    def migrations(self) -> list[str]:
        """Those that the installed panel knows."""
        found = self._database.venv.glob("lib/python3*/site-packages/streamfleet_panel/migrations/[0-9]*.py")
        return sorted(path.stem for path in found)

    def _run(
        self,
        command: Sequence[str],
        *,
        stdin: Any = None,
        stdout: Any = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        source = stdin.open("rb") if isinstance(stdin, Path) else stdin
        try:
            done = subprocess.run(
                [*as_user(self._database.user), *command],
                stdin=source if source is not None else subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/", **(environment or {})},
                cwd="/",
                check=False,
            )
        except OSError as error:
            raise BackupError(
                f"{command[0]} cannot be started ({error.strerror}). Run install.yml for this host."
            ) from None
        finally:
            if isinstance(stdin, Path) and source is not None:
                source.close()
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())[-500:]
            raise BackupError(f"the panel's database: {Path(command[0]).name} failed and says: {said}")
        return done.stdout.decode() if done.stdout else ""

    @contextlib.contextmanager
    def _mariadb(self, at: Where) -> Iterator[str]:
        """The option that names a file with the log-in, which no list of processes shows."""
        values = {"user": at.user, "password": at.password, "port": at.port}
        values["socket" if at.host.startswith("/") else "host"] = at.host
        values["ssl-ca"] = (at.options or {}).get("ssl-ca", "")
        lines = [f"{name}={quoted(value)}\n" for name, value in values.items() if value]
        with tempfile.NamedTemporaryFile("w", suffix=".cnf") as stream:
            stream.write("[client]\n" + "".join(lines))
            stream.flush()
            if os.geteuid() == 0:
                shutil.chown(stream.name, self._database.user)
            yield f"--defaults-extra-file={stream.name}"


_PYTHON = ["/usr/bin/python3", "-P", "-c"]
#: Copies a database that is in use to standard output, through a file that has no name.
_COPY = """\
import os, sqlite3, sys, tempfile
with tempfile.NamedTemporaryFile(dir=os.path.dirname(sys.argv[1]), prefix='.backup-') as copy:
    source = sqlite3.connect(f'file:{sys.argv[1]}?mode=rw', uri=True, timeout=60)
    target = sqlite3.connect(copy.name)
    source.backup(target)
    target.execute('PRAGMA journal_mode=DELETE')
    fault = target.execute('PRAGMA quick_check').fetchone()[0]
    if fault != 'ok':
        sys.exit(f'the database is damaged: {fault}')
    target.close()
    with open(copy.name, 'rb') as stream:
        while piece := stream.read(1 << 20):
            sys.stdout.buffer.write(piece)
"""
#: Gives the files of a database, which nobody has open, a second name.
_KEEP = """\
import os, sys
for end in ('-wal', ''):
    if os.path.lexists(sys.argv[1] + end):
        os.link(sys.argv[1] + end, sys.argv[2] + end, follow_symlinks=False)
"""
#: Puts a database from standard input into its place; who reads it sees the old one or the new one.
_PLACE = """\
import os, sqlite3, sys
path = sys.argv[1]
new = f'{path}.restored'
with open(new, 'wb') as stream:
    os.fchmod(stream.fileno(), 0o660)
    while piece := sys.stdin.buffer.read(1 << 20):
        stream.write(piece)
    stream.flush()
    os.fsync(stream.fileno())
base = sqlite3.connect(f'file:{new}?mode=ro', uri=True)
fault = base.execute('PRAGMA integrity_check').fetchone()[0]
base.close()
if fault != 'ok':
    os.unlink(new)
    sys.exit(f'the database of the backup is damaged: {fault}')
for left in (f'{path}-wal', f'{path}-shm'):
    if os.path.exists(left):
        os.unlink(left)
os.replace(new, path)
folder = os.open(os.path.dirname(path), os.O_RDONLY)
os.fsync(folder)
"""


@contextlib.contextmanager
def _postgresql(at: Where) -> Iterator[dict[str, str]]:
    """libpq's environment."""
    names = {"PGHOST": at.host, "PGPORT": at.port, "PGUSER": at.user, "PGPASSWORD": at.password, "PGDATABASE": at.name}
    options = {f"PG{name.upper()}": value for name, value in (at.options or {}).items() if name.startswith("ssl")}
    yield {name: value for name, value in {**names, **options}.items() if value}


def quoted(value: str) -> str:
    """A value of an option file of MariaDB's. Raises BackupError for what it cannot hold."""
    if "\n" in value or "\0" in value:
        raise BackupError(f"{URL}: a line break in a value cannot be written into an option file")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def as_user(name: str) -> list[str]:
    """What is put before a command so that it runs as that user."""
    if os.geteuid() != 0 or name == "root":
        return []
    return ["setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups", "--no-new-privs", "--"]


def objects(dump: Path) -> dict[str, dict[str, Any]]:
    """Table → ``{"count", "digest"}`` of a dump. The order of rows does not count. Raises BackupError."""
    read = _READERS[dump.suffix]
    counts: dict[str, int] = {}
    sums: dict[str, int] = {}
    for table, row in read(dump):
        counts.setdefault(table, 0)
        sums.setdefault(table, 0)
        if row is not None:
            counts[table] += 1
            sums[table] = (sums[table] + int.from_bytes(hashlib.sha256(row).digest(), "big")) & _MASK
    if not counts:
        raise NoTables(f"{dump} holds no table: it is no database of a panel")
    return {table: {"count": counts[table], "digest": f"{sums[table]:064x}"} for table in sorted(counts)}


def is_installation(dump: Path, epoch: str) -> bool:
    """Whether a dump is of the installation with that epoch. Raises BackupError."""
    wanted = epoch.replace("-", "").encode()
    # Some write it with dashes, and some without.
    return any(
        table.endswith("_installation") and row is not None and wanted in row.replace(b"-", b"")
        for table, row in _READERS[dump.suffix](dump)
    )


def _sqlite_rows(dump: Path) -> Iterator[tuple[str, bytes | None]]:
    base = sqlite3.connect(f"file:{dump}?mode=ro&immutable=1", uri=True)
    try:
        tables = base.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        for (table,) in tables:
            yield table, None
            for row in base.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - names of the database itself
                yield table, repr(row).encode()
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{dump} cannot be read ({error}): the database is damaged") from None
    finally:
        base.close()


def _postgresql_rows(dump: Path) -> Iterator[tuple[str, bytes | None]]:
    table = ""
    with dump.open("rb") as stream:
        for line in stream:
            if table:
                if line == b"\\.\n":
                    table = ""
                else:
                    yield table, line
            elif begins := re.match(rb"COPY (?:public\.)?\"?([A-Za-z0-9_]+)\"? \(.*\) FROM stdin;\n", line):
                table = begins[1].decode()
                yield table, None


def _mariadb_rows(dump: Path) -> Iterator[tuple[str, bytes | None]]:
    with dump.open("rb") as stream:
        for line in stream:
            if made := re.match(rb"CREATE TABLE `([^`]+)`", line):
                yield made[1].decode(), None
            elif row := re.match(rb"INSERT INTO `([^`]+)`", line):
                yield row[1].decode(), line


_READERS = {".sqlite": _sqlite_rows, ".postgresql": _postgresql_rows, ".mariadb": _mariadb_rows}


def ended(dump: Path) -> bool:
    """Whether the program that wrote it came to its end."""
    marks = {".postgresql": b"PostgreSQL database dump complete", ".mariadb": b"Dump completed"}
    mark = marks.get(dump.suffix)
    if mark is None:
        return True
    with dump.open("rb") as stream:
        stream.seek(max(0, dump.stat().st_size - 400))
        return mark in stream.read()
