"""The panel's database: saved whole, and put back whole. Of each kind by its own means.

A database is put back while nobody uses it. Doing so twice, or after the first time was cut off, ends the same.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from ..node_apply.host import Host
from . import places
from .errors import UpgradeError

#: Seconds that a server's own program may take, and for an answer about its size.
PATIENCE, SHORT_PATIENCE = 3600.0, 60.0
#: Words of libpq's that a URL may bring, besides those of TLS. A key's password would be seen on a command line.
_LIBPQ = frozenset({"channel_binding", "connect_timeout", "gssencmode", "hostaddr", "options", "target_session_attrs"})
_SIZES = {
    "postgresql": "SELECT pg_database_size(current_database())",
    "mariadb": "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables"
    " WHERE table_schema = DATABASE()",
}
USER = "streamfleet-panel"

#: The password comes by standard input: no command line and no file shows it. $1: the file; the rest: the program.
_WITH_FILE = 'umask 077; IFS= read -r {variable}; export {variable}; file=$1; shift; exec "$@" {redirect} "$file"'
_DROP_POSTGRESQL = (
    "DO $$ DECLARE r record; BEGIN FOR r IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LOOP"
    " EXECUTE format('DROP TABLE IF EXISTS %I CASCADE', r.tablename); END LOOP; END $$"
)


@dataclass(frozen=True)
class Database:
    """``kind``: sqlite, postgresql or mariadb. ``file`` is the path of SQLite's; the rest is a server's."""

    kind: str
    file: str = ""
    host: str = ""
    port: int = 0
    name: str = ""
    user: str = ""
    password: str = ""
    #: What the URL says of the connection, as the panel's own driver reads it.
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_here(self) -> bool:
        """Whether it takes room of this host."""
        return self.host in ("", "localhost", "127.0.0.1", "::1", "[::1]") or self.host.startswith("/")

    @property
    def programs(self) -> tuple[str, ...]:
        """What of its own is needed on this host."""
        return {"postgresql": ("pg_dump", "pg_restore", "psql"), "mariadb": ("mariadb-dump", "mariadb")}.get(
            self.kind, ()
        )

    @property
    def package(self) -> str:
        """The package of Debian that they are in."""
        return {"postgresql": "postgresql-client", "mariadb": "mariadb-client"}.get(self.kind, "")


#: The server that streamfleet_panel_database_install makes, by its socket and without a password.
OWN_SERVER = Database("postgresql", host="/var/run/postgresql", name="streamfleet")


def stays(database: Database) -> str:
    """Why a database does not go along when the panel goes to another host; empty where it does.

    Where a server is that an address or a socket of this host leads to nobody knows: a proxy may listen there, and what
    would be dropped before it is filled were the former host's own tables.
    """
    if database.kind == "sqlite" or database == OWN_SERVER:
        return ""
    return (
        f"streamfleet_panel_database_url: the database is of kind {database.kind}, on a server that is not"
        " streamfleet_panel_database_install's, and which may be one for both hosts. Move it by database_move.yml to"
        " SQLite, or to the server of streamfleet_panel_database_install, first"
    )


def settings_of(text: str) -> dict[str, str]:
    """The variables of an environment file as the role panel writes it."""
    found = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if sign and not name.lstrip().startswith("#"):
            found[name.strip()] = "".join(shlex.split(value))
    return found


def database_of(host: Host) -> Database:
    """The database that the panel uses. Raises UpgradeError."""
    try:
        url = settings_of(host.path(places.PANEL_ENV).read_text())["STREAMFLEET_PANEL_DATABASE_URL"]
    except (OSError, ValueError, KeyError) as error:
        raise UpgradeError(f"{places.PANEL_ENV} does not say where the database is: {error}. Run install.yml") from None
    return parse(url)


def parse(url: str) -> Database:
    """A database of its URL, which is never shown: it may hold a password. Raises UpgradeError."""
    scheme, _colon, rest = url.partition(":")
    if scheme == "sqlite":
        return Database("sqlite", file="/" + unquote(rest.partition("?")[0]).lstrip("/"))
    kind = {"postgres": "postgresql", "postgresql": "postgresql", "mysql": "mariadb"}.get(scheme)
    if kind is None:
        raise UpgradeError(f"A database of kind {scheme!r} cannot be saved: use sqlite, postgres or mysql")
    netloc = urlsplit(url).netloc
    login, _at, place = netloc.rpartition("@")
    user, _colon, password = login.partition(":")
    try:
        port = urlsplit(url).port or 0
    except ValueError:
        raise UpgradeError("The port in streamfleet_panel_database_url is none: use a number") from None
    server = unquote(place.rpartition(":")[0] if port else place)
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    server = options.get("unix_socket", options.get("host", server))
    name = unquote(parts.path.lstrip("/"))
    return Database(kind, "", server, port, name, unquote(user), unquote(password), options)


def size_mb(host: Host, database: Database) -> int:
    """Room that a snapshot may take, in MB. Raises UpgradeError where a server does not say how much it has."""
    if database.kind != "sqlite":
        question = _SIZES[database.kind]
        if database.kind == "postgresql":
            command = ["psql", *_postgresql(database), "--no-psqlrc", "--tuples-only", "--no-align"]
            command.append(f"--command={question}")
        else:
            command = ["mariadb", *_mariadb(database), "--batch", "--skip-column-names", f"--execute={question}"]
            command.append(database.name)
        told = _run(host, database, command, "/dev/null", "<", SHORT_PATIENCE).strip()
        try:
            return int(float(told)) // 2**20 + 1
        except ValueError:
            raise UpgradeError(f"The database server does not say how large the panel's database is: {told}") from None
    total = 0
    for suffix in ("", "-wal"):
        with contextlib.suppress(OSError):
            total += Path(f"{host.path(database.file)}{suffix}").stat().st_size
    return total // 2**20 + 1


def missing(host: Host, database: Database) -> list[str]:
    """Programs that this host has not, and without which the database could not be put back."""
    return [name for name in database.programs if host.run(["sh", "-c", f"command -v {name}"], "", 30.0).code != 0]


def save(host: Host, database: Database, folder: str) -> None:
    """Write the whole database into ``folder``. Raises UpgradeError."""
    if database.kind == "sqlite":
        _copy(str(host.path(database.file)), _sqlite(host, folder))
        return
    if database.kind == "postgresql":
        command = ["pg_dump", *_postgresql(database), "--format=custom", "--no-owner", "--no-privileges"]
    else:
        command = ["mariadb-dump", *_mariadb(database), "--single-transaction", "--hex-blob", database.name]
    _run(host, database, command, f"{folder}/database.dump", ">")


def restore(host: Host, database: Database, folder: str) -> None:
    """Have the database be again what ``save`` found. Raises UpgradeError."""
    if database.kind == "sqlite":
        _copy(_sqlite(host, folder), str(host.path(database.file)))
        return
    dump = f"{folder}/database.dump"
    if not host.path(dump).exists():
        raise UpgradeError(f"{dump} is not there, so the database cannot be put back")
    empty(host, database)
    if database.kind == "postgresql":
        command = ["pg_restore", *_postgresql(database), "--no-owner", "--single-transaction", "--exit-on-error"]
        _run(host, database, command, dump, "<")
        return
    mariadb = ["mariadb", *_mariadb(database), "--batch", "--skip-column-names"]
    _run(host, database, [*mariadb, database.name], dump, "<")


def empty(host: Host, database: Database) -> None:
    """Have no table be left, and of SQLite no file. Nobody uses it. Raises UpgradeError."""
    if database.kind == "sqlite":
        # The file last: who is killed before that leaves one that is whole.
        for suffix in ("-shm", "-wal", ""):
            host.path(f"{database.file}{suffix}").unlink(missing_ok=True)
        return
    if database.kind == "postgresql":
        psql = ["psql", *_postgresql(database), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        _run(host, database, [*psql, f"--command={_DROP_POSTGRESQL}"], "/dev/null", "<")
        return
    mariadb = ["mariadb", *_mariadb(database), "--batch", "--skip-column-names"]
    listed = _run(host, database, [*mariadb, "--execute=SHOW TABLES", database.name], "/dev/null", "<")
    tables = ", ".join(f"`{name.replace('`', '``')}`" for name in listed.splitlines() if name)
    if tables:
        drop = f"--execute=SET FOREIGN_KEY_CHECKS=0; DROP TABLE {tables}"
        _run(host, database, [*mariadb, drop, database.name], "/dev/null", "<")


def _sqlite(host: Host, folder: str) -> str:
    return str(host.path(f"{folder}/database.sqlite3"))


def _copy(source: str, target: str) -> None:
    """By SQLite's own online backup: one transaction of the target, whoever reads or has written the source."""
    if not Path(source).is_file():
        raise UpgradeError(f"{source} is not there, so there is no database to copy")
    if not Path(target).exists():
        _like(source, target)
    try:
        with (
            contextlib.closing(sqlite3.connect(source, timeout=60)) as here,
            contextlib.closing(sqlite3.connect(target, timeout=60)) as there,
        ):
            here.backup(there)
            (verdict,) = there.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        raise UpgradeError(f"{source} cannot be copied to {target}: {error}") from None
    if verdict != "ok":
        raise UpgradeError(f"{target}, copied from {source}, is damaged: {verdict}")


def _like(source: str, target: str) -> None:
    """An empty file with the owner and mode of another: the panel writes as its own user, and this is root."""
    like = Path(source).stat()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, like.st_mode & 0o7777)
    finally:
        os.close(descriptor)


def _postgresql(database: Database) -> list[str]:
    options = {
        name: value
        for name, value in database.options.items()
        if name in _LIBPQ or (name.startswith("ssl") and name != "sslpassword")
    }
    where = database.name
    if options:
        # What libpq reads as words of its own is quoted.
        where = " ".join(f"{name}={_quoted(value)}" for name, value in {"dbname": where, **options}.items())
    words = [f"--dbname={where}", "--no-password"]
    if database.host:
        words.append(f"--host={database.host}")
    if database.port:
        words.append(f"--port={database.port}")
    if database.user:
        words.append(f"--username={database.user}")
    return words


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _mariadb_tls(options: Mapping[str, str]) -> list[str]:
    """As strict as the panel's own driver: ``ssl-ca`` has it verify the server's certificate and name."""
    authority = options.get("ssl-ca") or options.get("ssl_ca", "")
    words = [f"--ssl-ca={authority}"] if authority else []
    for name in ("cert", "key"):
        if path := options.get(f"ssl_{name}"):
            words.append(f"--ssl-{name}={path}")
    if options.get("ssl-ca") or options.get("ssl_verify_identity") or options.get("ssl_verify_cert"):
        words.append("--ssl-verify-server-cert")
    return ["--ssl", *words] if words else []


def _mariadb(database: Database) -> list[str]:
    words = ["--default-character-set=utf8mb4"]
    if database.host.startswith("/"):
        words.append(f"--socket={database.host}")
    elif database.host:
        words += [f"--host={database.host}", "--protocol=tcp"]
    if database.port:
        words.append(f"--port={database.port}")
    if database.user:
        words.append(f"--user={database.user}")
    if not database.host.startswith("/"):
        words += _mariadb_tls(database.options)
    # Its own file of options might name another server.
    return ["--no-defaults", *words]


def _run(
    host: Host, database: Database, command: list[str], path: str, redirect: str, patience: float = PATIENCE
) -> str:
    """What a server's program says, run as the panel's user, whom a local server knows. Raises UpgradeError."""
    variable = {"postgresql": "PGPASSWORD", "mariadb": "MYSQL_PWD"}[database.kind]
    drop = (
        ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--no-new-privs", "--"] if host.own else []
    )
    script = _WITH_FILE.format(variable=variable, redirect=redirect)
    done = host.run(
        ["sh", "-c", script, "sh", str(host.path(path)) if path != "/dev/null" else path, *drop, *command],
        f"{database.password}\n",
        patience,
    )
    if done.code != 0:
        words = done.last_words.replace(database.password, "********") if database.password else done.last_words
        raise UpgradeError(f"{command[0]} failed for the panel's database: {words}")
    return done.out
