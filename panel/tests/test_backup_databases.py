"""The database into a backup and back, on a real server: `make panel-databases` runs this on PostgreSQL and MariaDB.

Of SQLite tests/unit/test_backup.py and tests/live/test_backup.py ask the same.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

URL = os.environ["STREAMFLEET_PANEL_DATABASE_URL"]

pytestmark = pytest.mark.skipif(URL.startswith("sqlite"), reason="make panel-databases runs this")
PANEL = Path(__file__).resolve().parents[1]
#: In place of the installed command: the same, from the checkout.
COMMAND = f'#!/bin/sh\nPYTHONPATH={PANEL} exec {sys.executable} -m streamfleet_panel "$@"\n'


@pytest.fixture
def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The panel of a host, as the backup's program knows it, with this database."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "roles/backup/files")
    from streamfleet_backup import database
    from streamfleet_backup.settings import Database

    names = ("DATABASE_URL", "SECRET_KEY", "FIELD_KEYS", "PUBLIC_URL", "RELEASE_DIR", "SYSLOG")
    known = {f"STREAMFLEET_PANEL_{name}": os.environ[f"STREAMFLEET_PANEL_{name}"] for name in names}
    lines = "".join(f"{name}='{value}'\n" for name, value in known.items())
    (tmp_path / "panel.env").write_text(lines)
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    program = tmp_path / "bin" / "streamfleet-panel"
    program.parent.mkdir()
    program.write_text(COMMAND)
    program.chmod(0o755)
    found = database.Panel(Database(tmp_path / "panel.env", tmp_path / "panel.env", "root", tmp_path, ()))
    found.manage("migrate", "--noinput")
    return found


def test_a_database_comes_back_row_by_row_though_a_newer_version_had_more(tmp_path: Path, panel: Any) -> None:
    from streamfleet_backup import database

    (tmp_path / "password").write_text("12345\n")
    panel.manage("bootstrap_admin", "--username", "ada", "--password-file", str(tmp_path / "password"))
    stored = panel.dump(tmp_path / "one")
    assert database.ended(stored)
    before = database.objects(stored)
    assert before["panel_account"]["count"] == 1
    assert before["django_migrations"]["count"] > 10

    told = json.loads(panel.manage("restored"))
    assert told["nodes"] == 0
    _more(panel)
    changed = database.objects(panel.dump(tmp_path / "two"))
    assert changed["panel_installation"]["digest"] != before["panel_installation"]["digest"]
    assert "panel_of_a_newer_version" in changed

    panel.load(stored)
    assert database.objects(panel.dump(tmp_path / "three")) == before
    panel.manage("migrate", "--noinput")
    panel.manage("check_ready")


#: Of everything something, with what has to be quoted in one dump or the other.
MADE = r"""
from streamfleet_panel.access import system
from streamfleet_panel.apply import apply_document
odd = "it's \\ a \"name\", äöü €; -- 100 % \\N \\t"
document = {
    "nodes": [{"name": "n1", "address": "192.0.2.7", "engines": ["icecast"], "port_range_start": 8100,
               "port_range_end": 8199}],
    "customers": [{"username": name, "name": odd, "password": "12345"} for name in ("ada-x", "lin-x")],
    "media_services": [{"slug": f"fm-{name}", "name": odd, "customer": name, "engine": "icecast", "autodj": {}}
                       for name in ("ada-x", "lin-x")],
    "playlists": [{"media_service": "fm-ada-x", "name": "day", "files": ["it's/a \"b\".mp3", "\\x.mp3"]}],
    "djs": [{"media_service": "fm-ada-x", "username": "mara", "record": True}],
    "schedules": [{"media_service": "fm-ada-x", "name": "eve", "dj": "mara", "start": "20:00", "end": "22:00",
                   "start_date": "2026-12-24"}],
    "relays": [{"media_service": "fm-ada-x", "name": "o", "direction": "out", "address": "icecast://other.example/live",
                "password": "p'\\\"w"}],
    "domains": [{"media_service": "fm-ada-x", "name": "radio.ada.example"}],
    "media_users": [{"customer": "ada-x", "name": "studio", "password": "password-of-studio"}],
}
apply_document(document, system())
"""
LOST = """
from streamfleet_panel.models import *
MediaService.objects.filter(customer__username="ada-x").delete()
Account.objects.filter(username="ada-x").delete()
"""
PASSING = {"id", "created_at", "generation", "media_service_id", "customer_id", "checked_at", "next_check_at"}
PASSING |= {"sought_since", "credentials_encrypted"}


def test_one_customer_is_read_out_of_a_dump_and_made_again(tmp_path: Path, panel: Any) -> None:
    from streamfleet_backup import rows

    def saved(name: str) -> dict[str, list[dict[str, Any]]]:
        (tmp_path / f"of-{name}").mkdir()
        found: dict[str, list[dict[str, Any]]] = rows.of_customer(panel.dump(tmp_path / f"of-{name}"), username="ada-x")
        return found

    def restore(*arguments: str) -> Any:
        order = {"username": "ada-x", "slug": "", "node": "", "keys": [], "tables": before}
        return json.loads(panel.manage("restore_customer", *arguments, stdin=json.dumps(order)).splitlines()[-1])

    panel.manage("shell", "-c", MADE)
    before = saved("one")
    assert restore("--dry-run")["changed"] is False
    panel.manage("shell", "-c", LOST)
    assert restore()["summary"]["created"] == 8
    after = saved("two")
    assert after.keys() == before.keys()
    for table in before.keys() - {"panel_node"}:
        assert _lasting(after[table]) == _lasting(before[table]), table
    assert restore("--dry-run")["changed"] is False


def _lasting(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(({name: row[name] for name in row if name not in PASSING} for row in found), key=repr)


def _more(panel: Any) -> None:
    """A table that the backup does not have."""
    statement = "CREATE TABLE panel_of_a_newer_version (id integer)"
    at = panel.where
    if at.kind == "postgresql":
        from streamfleet_backup.database import _postgresql

        with _postgresql(at) as environment:
            panel._run(["psql", "--quiet", f"--command={statement}"], environment=environment)
    else:
        with panel._mariadb(at) as options:
            panel._run(["mariadb", options, f"--execute={statement}", at.name])
