"""An upgrade of a panel whose database is a server's: a migration that fails, and one that does not.

MariaDB takes no half of a migration back, and PostgreSQL none that asks for it; the database is put back from what was
saved. Tests playbooks: upgrade.yml. SQLite is in tests/live/test_upgrade.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.show import wait_until_running
from demo.stage import ROOT
from demo.upgrade import SLUGS, Air, FromTree, install, on_air
from tests.live.databases import KINDS, PASSWORD, server, variables
from tests.live.upgrades import (
    BROKEN,
    MORE,
    add_migration,
    held,
    left_of_probes,
    objects,
    on_node,
    tables,
    tree_in,
)

pytestmark = [pytest.mark.live, pytest.mark.full]


@pytest.fixture(scope="module", params=KINDS)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FromTree]:
    """This tree on a node, with the database of one kind and two customers."""
    with on_node(Path(tmp_path_factory.mktemp("upgrade"))) as made:
        made.start()
        server(made, request.param)
        made.more = (*made.more, "-e", json.dumps(variables(request.param)))
        install(made)
        yield made


@pytest.fixture(scope="module")
def air(stage: FromTree) -> Iterator[Air]:
    """Everybody on the air, from before the first upgrade until after the last."""
    with on_air(stage) as made:
        yield made


def test_a_migration_that_fails_half_way_leaves_all_as_it_was(stage: FromTree, air: Air, tmp_path: Path) -> None:
    before = objects(stage)
    stage.tree = tree_in(tmp_path)
    add_migration(stage.tree, "9998_more", MORE)
    add_migration(stage.tree, "9999_broken", BROKEN)
    try:
        said = " ".join(stage.upgrade(ok=False).split())
    finally:
        stage.tree = ROOT
    assert "this migration is broken" in said
    assert "Code, settings and database are as they were before; 0.2.0-dev0 answers again" in said
    assert PASSWORD not in said
    assert tables(stage) == []
    assert (objects(stage), left_of_probes(stage), held(stage)) == (before, [], "")
    stage.api().request("PUT", "/media-services/ada-fm", {"name": "Ada FM again"})
    wait_until_running(stage.api(), SLUGS)
    assert air.faults() == []


def test_an_upgrade_keeps_all_that_is_there(stage: FromTree, air: Air, tmp_path: Path) -> None:
    before = objects(stage)
    stage.tree = tree_in(tmp_path)
    add_migration(stage.tree, "9998_more", MORE)
    try:
        said = " ".join(stage.upgrade().split())
    finally:
        stage.tree = ROOT
    assert "panel: 1 migrations of its " in said
    assert tables(stage) == ["panel_more_9998"]
    assert (objects(stage), left_of_probes(stage), held(stage)) == (before, [], "")
    stage.api().request("PUT", "/media-services/ada-fm", {"name": "Ada FM of a new time"})
    wait_until_running(stage.api(), SLUGS)
    assert air.faults() == []
