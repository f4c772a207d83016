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


def test_a_database_comes_back_row_by_row_though_a_newer_version_had_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    panel = database.Panel(Database(tmp_path / "panel.env", tmp_path / "panel.env", "root", tmp_path, ()))
    panel.manage("migrate", "--noinput")
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
