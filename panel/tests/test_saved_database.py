"""What an upgrade saves of the database is what comes back, on each kind of server (`make panel-databases`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from streamfleet.node_apply.host import Host
from streamfleet.upgrade import databases

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[databases.Database, Any]]:
    """The database that the tests use, as an upgrade finds it, and a cursor; of SQLite a file of its own."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        import sqlite3

        link = sqlite3.connect(tmp_path / "panel.sqlite3", isolation_level=None)
        yield databases.Database("sqlite", str(tmp_path / "panel.sqlite3")), link.cursor()
        link.close()
        return
    options = settings["OPTIONS"]
    scheme, key = {"postgresql": ("postgres", "host"), "mysql": ("mysql", "unix_socket")}[connection.vendor]
    socket = options.get(key) or settings["HOST"]
    url = f"{scheme}://{settings['USER']}@/{settings['NAME']}?{key}={quote(socket)}"
    with connection.cursor() as cursor:
        yield databases.parse(url), cursor


def test_what_was_saved_comes_back_and_what_came_later_goes(
    place: tuple[databases.Database, Any], tmp_path: Path
) -> None:
    database, cursor = place
    host = Host(own=False)
    folder = tmp_path / "saved"
    folder.mkdir()
    text = "Näw 📻 'quoted' \\"
    quoted = text.replace("'", "''").replace("\\", "\\\\" if database.kind == "mariadb" else "\\")
    cursor.execute("CREATE TABLE upgrade_old (id INTEGER PRIMARY KEY, name VARCHAR(100))")
    cursor.execute(f"INSERT INTO upgrade_old VALUES (1, '{quoted}')")
    assert databases.missing(host, database) == []
    databases.save(host, database, str(folder))
    try:
        for _time in range(2):
            cursor.execute("CREATE TABLE upgrade_new (id INTEGER PRIMARY KEY REFERENCES upgrade_old (id))")
            cursor.execute("INSERT INTO upgrade_new VALUES (1)")
            cursor.execute("ALTER TABLE upgrade_old ADD COLUMN more VARCHAR(10)")
            cursor.execute("UPDATE upgrade_old SET name = 'changed'")
            databases.restore(host, database, str(folder))
            cursor.execute("SELECT * FROM upgrade_old")
            assert [tuple(row) for row in cursor.fetchall()] == [(1, text)]
            with pytest.raises(Exception, match=r"(?i)no such table|does not exist|doesn't exist"):
                cursor.execute("SELECT * FROM upgrade_new")
        # Once more, as after an undoing that was cut off.
        databases.restore(host, database, str(folder))
        cursor.execute("SELECT count(*) FROM upgrade_old")
        assert cursor.fetchone()[0] == 1
    finally:
        cursor.execute("DROP TABLE IF EXISTS upgrade_old")
    assert not [path for path in folder.iterdir() if path.stat().st_mode & 0o077 and database.kind != "sqlite"]
