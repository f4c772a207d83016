"""The panel's database on its own host is made and dropped by the role's script, on a real PostgreSQL."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.unit.test_with_database import HERE, script, temporary

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = "15 main 5432 online postgres /var/lib/postgresql/15/main /var/log/postgresql/postgresql-15-main.log"
#: What stands in the place of the host's own: the server runs already, and its administrator logs in by name.
PROGRAMS = {
    "setpriv": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "systemctl": "exit 0",
    "pg_lsclusters": 'cat "$CLUSTERS"',
}
OURS = ["changed: database", "changed: role streamfleet-worker", "changed: role streamfleet-panel"]

pytestmark = [pytest.mark.slow, pytest.mark.skipif("postgresql" not in HERE, reason="PostgreSQL is not installed")]
__all__ = ["temporary"]


class Server:
    """The server, and the role's script on it."""

    def __init__(self, folder: Path, host: str) -> None:
        self.clusters = folder / "clusters"
        self.clusters.write_text(f"{CLUSTER}\n")
        for name, text in PROGRAMS.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{folder}:{os.environ['PATH']}", "CLUSTERS": str(self.clusters),
            "PGHOST": host, "PGUSER": "postgres",
        }  # fmt: skip

    def sql(self, statement: str, user: str = "postgres", database: str = "postgres") -> str:
        return self._run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", database, "-c", statement])

    def role(self, what: str) -> list[str]:
        return self._run(["sh", str(ROOT / "roles/panel/files/local_database.sh"), what]).splitlines()

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self.environment, text=True, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def server(temporary: Path) -> Iterator[Server]:
    """With nothing in it but its administrator, postgres."""
    with script.database("postgresql") as url:
        programs = temporary / "programs"
        programs.mkdir()
        it = Server(programs, unquote(url.partition("host=")[2]))
        it.sql("CREATE ROLE helper SUPERUSER LOGIN", user="streamfleet")
        it.sql("ALTER ROLE streamfleet RENAME TO postgres", user="helper")
        it.sql("DROP ROLE helper")
        it.sql("DROP DATABASE streamfleet")
        yield it


def test_what_was_made_is_dropped_and_then_there_is_nothing(server: Server) -> None:
    made = server.role("make")
    assert made == ["changed: role streamfleet-panel", "changed: role streamfleet-worker", "changed: database"]
    assert server.role("make") == []
    server.sql("CREATE TABLE station (name text)", user="streamfleet-panel", database="streamfleet")
    assert server.role("drop") == [*OURS, "empty"]
    assert server.role("drop") == ["empty"]


def test_what_is_of_others_is_told_and_stays(server: Server) -> None:
    server.role("make")
    server.sql("CREATE DATABASE bookings")
    assert server.role("drop") == [*OURS, "other: database bookings"]
    server.sql("DROP DATABASE bookings")
    server.sql("CREATE ROLE clerk")
    assert server.role("drop") == ["other: user clerk"]
    server.sql("DROP ROLE clerk")
    server.sql("CREATE TABLE room (name text)")
    assert server.role("drop") == ["other: schema public of database postgres"]
    server.sql("DROP TABLE room")
    server.clusters.write_text(f"{CLUSTER}\n14 old 5433 down\n")
    assert server.role("drop") == ["other: cluster 14/old"]
