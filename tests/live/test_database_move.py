"""The panel's data from SQLite into PostgreSQL or MariaDB and back, on an installed node, with a station on the air.

Tests playbooks: database_move.yml.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator

import pytest
from streamfleet.errors import Busy

from demo.stage import ROOT, DemoError, Stage
from tests.live.databases import KINDS, PASSWORD, server, variables
from tests.live.test_operations import processes, shell
from tests.live.test_platform import account, apply, running, station
from tests.live.upgrades import Run, held

pytestmark = [pytest.mark.live, pytest.mark.full]

SERVERS = {"postgresql": "postgresql", "mariadb": "mariadb-server"}
SCHEMES = {"postgresql": "postgres:", "mariadb": "mysql:"}
PURGE = """
export DEBIAN_FRONTEND=noninteractive
apt-get purge --yes --quiet {0} '{0}-[0-9]*'
rm -rf /var/lib/mysql /etc/mysql
"""
#: What streams are made of: nothing of it may restart.
UNTOUCHED = ("nginx.service", "streamfleet-sessions.service", "ssh.service")
SQLITE = "/var/lib/streamfleet/panel/panel.sqlite3"
WRITERS = "streamfleet-worker.service streamfleet-panel-jobs.service"
#: Tables that they write to by themselves in the seconds that they run after the undo; SQLite's own counts rows.
BY_WRITERS = {
    *("panel_collection", "panel_convergerun", "panel_listening", "panel_node", "panel_onair"),
    *("panel_playedtrack", "panel_servicestatus", "panel_transfer", "panel_usage", "sqlite_sequence"),
}
ROWS = f"""
import sqlite3
base = sqlite3.connect("file:{SQLITE}?mode=ro", uri=True)
for (table,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
    names = [name for _, name, *_ in base.execute(f'PRAGMA table_info("{{table}}")')]
    columns = ", ".join(f'"{{name}}"' for name in names if name != "last_used_at")
    for row in base.execute(f'SELECT {{columns}} FROM "{{table}}"'):
        print(table, repr(row))
"""


@pytest.fixture
def slug(platform: Stage) -> Iterator[str]:
    """A station that is on the air."""
    name = f"t{secrets.token_hex(4)}"
    apply(platform, {"customers": [account(name)], "media_services": [station(name, f"{name}-fm")]})
    running(platform, f"{name}-fm")
    yield f"{name}-fm"
    apply(platform, {"customers": [{"username": name, "state": "absent"}]})


@pytest.fixture(params=sorted(KINDS, reverse=True))
def kind(request: pytest.FixtureRequest, platform: Stage) -> Iterator[str]:
    """A kind of database, whose server is not there afterwards, and on which the panel is not either."""
    server(platform, request.param)
    yield request.param
    if shell(platform, "test -e /var/lib/streamfleet/upgrade/journal.json")[0] == 0:
        play(platform, "-e", json.dumps(variables(request.param)), "-e", "database_move_undo=yes")
    shell(platform, PURGE.format(SERVERS[request.param]))


def used(platform: Stage) -> str:
    """The databases of panel and worker."""
    return shell(platform, "grep -h DATABASE_URL /etc/streamfleet/panel/panel.env /etc/streamfleet/worker/worker.env")[
        1
    ]


def play(platform: Stage, *arguments: str, path: str = "playbooks/database_move.yml") -> None:
    """Run a playbook with what the stage adds to the inventory."""
    platform.playbook(path, "-e", json.dumps(platform.added), *arguments)


def failed(platform: Stage, *arguments: str, path: str = "playbooks/database_move.yml") -> str:
    """The end of what a run says that has to fail."""
    with pytest.raises(DemoError) as found:
        play(platform, *arguments, path=path)
    return str(found.value)


@contextlib.contextmanager
def unable(platform: Stage) -> Iterator[None]:
    """The panel's own command does not move anything, and does all else."""
    place = "/opt/streamfleet/venv/bin/streamfleet-panel"
    wrapper = '#!/bin/sh\n[ "$1" != move_database ] || exit 9\nexec "$0.aside" "$@"\n'
    platform.on_node(["mv", place, f"{place}.aside"])
    platform.on_node(["sh", "-c", f"cat >{place} && chmod 755 {place}"], stdin=wrapper)
    try:
        yield
    finally:
        platform.on_node(["mv", f"{place}.aside", place])


def rows(platform: Stage) -> list[str]:
    """Every row of every table of SQLite's file, but for when a token was used, asked as whom the file belongs to."""
    ask = ["runuser", "-u", "streamfleet-panel", "--", "python3", "-"]
    return sorted(platform.on_node(ask, stdin=ROWS).splitlines())


def refused(platform: Stage, slug: str) -> bool:
    """Whether one write is refused, for now."""
    client = platform.api()
    client._sleep = lambda _seconds: None
    with contextlib.closing(client):
        try:
            client.request("PUT", f"/media-services/{slug}", {"name": "Lost"})
        except Busy:
            return True
    return False


def test_the_data_moves_to_a_server_and_back_with_all_that_came_since(platform: Stage, slug: str, kind: str) -> None:
    api, there = platform.api(), ("-e", json.dumps(variables(kind)))
    before = used(platform)
    assert before.count("sqlite:") == 2
    unchanged = (*UNTOUCHED, f"streamfleet-icecast@{slug}.service")
    alive = processes(platform, *unchanged)
    services = api.request("GET", "/media-services", query={"limit": "1000"}).data["count"]

    # An inventory that names another database is refused, and nothing is touched; nor is it in check mode.
    said = failed(platform, *there, "--tags", "panel", path="playbooks/install.yml")
    assert f"The panel's data is in sqlite:///{SQLITE}" in said
    assert PASSWORD not in said
    play(platform, *there, "--check")
    assert used(platform) == before
    assert shell(platform, "test -e /var/lib/streamfleet/upgrade/journal.json")[0] == 1
    if kind == "postgresql":
        assert shell(platform, "test -e /etc/postgresql")[0] == 1

    # A copy that fails leaves all as it was, and writable.
    with unable(platform):
        assert "The panel uses sqlite:" in failed(platform, *there)
    assert used(platform) == before
    apply(platform, {"media_services": [{"slug": slug, "name": "After a failure"}]})

    play(platform, *there)
    assert used(platform).count(SCHEMES[kind]) == 2
    assert api.request("GET", "/media-services", query={"limit": "1000"}).data["count"] == services
    # It takes changes, and the worker brings them to the node. What follows changes nothing.
    apply(platform, {"media_services": [{"slug": slug, "name": "In a server"}]})
    running(platform, slug)
    play(platform, *there)
    assert platform.install(*there, "--tags", "panel,worker").changed == 0

    # Back: not over what is there by accident, but over it when that is said.
    assert "older copy of this installation" in failed(platform)
    assert used(platform).count(SCHEMES[kind]) == 2
    play(platform, "-e", "database_move_replace=yes")
    assert used(platform) == before
    assert api.request("GET", f"/media-services/{slug}").data["name"] == "In a server"
    assert shell(platform, f"stat -c %U:%G:%a {SQLITE}")[1].strip() == "streamfleet-panel:streamfleet-panel:660"
    apply(platform, {"media_services": [{"slug": slug, "name": "Back"}]})
    running(platform, slug)
    assert processes(platform, *unchanged) == alive
    assert all(PASSWORD not in log.read_text() for log in platform.state.glob("*.log"))


def test_a_run_that_was_killed_is_undone(platform: Stage, slug: str, kind: str) -> None:
    there = ("-e", json.dumps(variables(kind)))
    before = used(platform)
    assert before.count("sqlite:") == 2
    unchanged = (*UNTOUCHED, f"streamfleet-icecast@{slug}.service")
    alive = processes(platform, *unchanged)
    # Of who writes by themselves, so that all can be compared.
    shell(platform, f"systemctl stop {WRITERS}")
    was = rows(platform)
    assert len(was) > 200
    added = ("-e", json.dumps(platform.added))
    run = Run(platform.command("playbooks/database_move.yml", *added, *there), ROOT, platform.environment())
    # The panel uses the new one, and the worker does not yet.
    assert run.wait_for(lambda tasks: any(task.startswith("worker : ") for task in tasks)), run.said[-6000:]
    run.kill()
    assert "panel : Have the panel run as it is installed, now and at boot" in run.tasks
    assert "Let everybody write again" not in run.tasks
    (panels, workers) = used(platform).splitlines()
    assert SCHEMES[kind] in panels
    assert "sqlite:" in workers
    assert refused(platform, slug)
    assert rows(platform) == was
    assert "have it undone: database_move.yml -e database_move_undo=yes" in failed(platform, *there)
    assert "is under way on demo1, or was killed" in failed(platform, "--tags", "panel", path="playbooks/install.yml")

    play(platform, *there, "-e", "database_move_undo=yes", "--check")
    assert refused(platform, slug)
    play(platform, *there, "-e", "database_move_undo=yes")
    shell(platform, f"systemctl stop {WRITERS}")
    found = rows(platform)
    shell(platform, f"systemctl start {WRITERS}")
    assert {row.split()[0] for row in set(was) ^ set(found)} <= BY_WRITERS
    assert used(platform) == before
    assert held(platform) == ""
    apply(platform, {"media_services": [{"slug": slug, "name": "After a kill"}]})
    running(platform, slug)
    # The copy that is left there is of this installation, and older by now.
    assert "older copy of this installation" in failed(platform, *there)
    assert used(platform) == before
    assert processes(platform, *unchanged) == alive
