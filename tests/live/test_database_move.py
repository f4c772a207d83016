"""The panel's data from SQLite into PostgreSQL and back, on an installed node, with a station on the air.

Tests playbooks: database_move.yml.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator

import pytest

from demo.stage import DemoError, Stage
from tests.live.test_operations import processes, shell
from tests.live.test_platform import account, apply, running, station

pytestmark = [pytest.mark.live, pytest.mark.full]

INSTALL = ("-e", '{"streamfleet_panel_database_install": true}')
#: What streams are made of: nothing of it may restart.
UNTOUCHED = ("nginx.service", "streamfleet-sessions.service", "ssh.service")
SQLITE = "/var/lib/streamfleet/panel/panel.sqlite3"


@pytest.fixture
def slug(platform: Stage) -> Iterator[str]:
    """A station that is on the air."""
    name = f"t{secrets.token_hex(4)}"
    apply(platform, {"customers": [account(name)], "media_services": [station(name, f"{name}-fm")]})
    running(platform, f"{name}-fm")
    yield f"{name}-fm"
    apply(platform, {"customers": [{"username": name, "state": "absent"}]})


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


def test_the_data_moves_to_postgresql_and_back_with_all_that_came_since(platform: Stage, slug: str) -> None:
    api = platform.api()
    before = used(platform)
    assert before.count("sqlite:") == 2
    unchanged = (*UNTOUCHED, f"streamfleet-icecast@{slug}.service")
    alive = processes(platform, *unchanged)
    services = api.request("GET", "/media-services", query={"limit": "1000"}).data["count"]

    # An inventory that names another database is refused, and nothing is touched; nor is it in check mode.
    said = failed(platform, *INSTALL, "--tags", "panel", path="playbooks/install.yml")
    assert f"The panel's data is in sqlite:///{SQLITE}" in said
    play(platform, *INSTALL, "--check")
    assert used(platform) == before
    assert shell(platform, "ls /var/lib/streamfleet/upgrade/journal.json /etc/postgresql")[0] != 0

    # A copy that fails leaves all as it was, and writable.
    with unable(platform):
        assert "The panel uses sqlite:" in failed(platform, *INSTALL)
    assert used(platform) == before
    apply(platform, {"media_services": [{"slug": slug, "name": "After a failure"}]})

    play(platform, *INSTALL)
    assert used(platform).count("postgres:") == 2
    assert api.request("GET", "/media-services", query={"limit": "1000"}).data["count"] == services
    # It takes changes, and the worker brings them to the node. What follows changes nothing.
    apply(platform, {"media_services": [{"slug": slug, "name": "In PostgreSQL"}]})
    running(platform, slug)
    play(platform, *INSTALL)
    assert platform.install(*INSTALL, "--tags", "panel,worker").changed == 0

    # Back: not over what is there by accident, but over it when that is said.
    assert "older copy of this installation" in failed(platform)
    assert used(platform).count("postgres:") == 2
    play(platform, "-e", "database_move_replace=yes")
    assert used(platform) == before
    assert api.request("GET", f"/media-services/{slug}").data["name"] == "In PostgreSQL"
    assert shell(platform, f"stat -c %U:%G:%a {SQLITE}")[1].strip() == "streamfleet-panel:streamfleet-panel:660"
    apply(platform, {"media_services": [{"slug": slug, "name": "Back"}]})
    running(platform, slug)
    assert processes(platform, *unchanged) == alive
    shell(platform, "apt-get purge --yes --quiet postgresql 'postgresql-*'")
