"""From release 0.1.0 to this tree, with streams on the air: a migration that fails, the upgrade, and again.

Tests playbooks: upgrade.yml. The steps by themselves are in tests/unit/test_upgrade_steps.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.show import credentials, wait_until_running
from demo.stage import ROOT
from demo.upgrade import SLUGS, Air, FromTree, install_old, on_air
from tests.live.upgrades import (
    BROKEN,
    add_migration,
    changed,
    held,
    left_of_probes,
    objects,
    on_node,
    tables,
    tree_in,
    version,
)

pytestmark = [pytest.mark.live, pytest.mark.full]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FromTree]:
    """Release 0.1.0 on a node, installed from its own tree, with two customers."""
    with on_node(Path(tmp_path_factory.mktemp("upgrade"))) as made:
        install_old(made)
        yield made


@pytest.fixture(scope="module")
def air(stage: FromTree) -> Iterator[Air]:
    """Everybody on the air, from before the upgrade until after it."""
    with on_air(stage) as made:
        yield made


def test_a_migration_that_fails_leaves_all_as_it_was(stage: FromTree, air: Air, tmp_path: Path) -> None:
    before = objects(stage)
    tree = tree_in(tmp_path)
    add_migration(tree, "9999_broken", BROKEN)
    stage.tree = tree
    try:
        said = stage.upgrade(ok=False)
    finally:
        stage.tree = ROOT
    assert "panel.9999_broken" in said
    assert "this migration is broken" in said
    assert "Code, settings and database are as they were before; 0.1.0 answers again" in said
    assert version(stage) == "0.1.0"
    assert objects(stage) == before
    assert tables(stage) == []
    assert left_of_probes(stage) == []
    # It can be worked with, and so can its nodes.
    stage.api().request("PUT", "/media-services/ada-fm", {"name": "Ada FM again"})
    wait_until_running(stage.api(), SLUGS)
    assert air.faults() == []


def test_a_probe_that_fails_leaves_all_as_it_was(stage: FromTree, air: Air, tmp_path: Path) -> None:
    before = objects(stage)
    tree = tree_in(tmp_path)
    # A double of a release whose stations take another password than the panel says.
    station = tree / "module_utils/streamfleet/icecast_station.py"
    right = 'mount.get("password_of", "source_password")'
    assert right in station.read_text()
    station.write_text(station.read_text().replace(right, 'mount.get("password_of", "admin_password")'))
    stage.tree = tree
    try:
        said = stage.upgrade(ok=False)
    finally:
        stage.tree = ROOT
    assert "Publish to it, and hear it: upgrade-probe-" in said
    assert "the encoder with the right credential is refused" in said
    assert "Code, settings and database are as they were before; 0.1.0 answers again" in said
    assert version(stage) == "0.1.0"
    assert objects(stage) == before
    # What the new release had brought to the node goes, too: the old worker has a newer document for it.
    api = stage.api()
    deadline = time.monotonic() + 60
    while (node := api.request("GET", "/nodes/demo1").data)["observed_generation"] < node["generation"]:
        assert time.monotonic() < deadline, node
        time.sleep(1)
    wait_until_running(api, SLUGS)
    secret = credentials(api, "ada-fm")["source_password"]
    config = stage.on_node(["cat", "/etc/streamfleet/instances/icecast/ada-fm/icecast.xml"])
    assert f"<password>{secret}</password>" in config
    assert air.faults() == []


def test_the_upgrade_is_told_beforehand_and_nobody_on_the_air_notices(stage: FromTree, air: Air) -> None:
    before = objects(stage)
    told = stage.upgrade("--check")
    assert version(stage) == "0.1.0"
    said = stage.upgrade()
    for plan in (told, said):
        assert "panel: 0.1.0 to 0.2.0-dev0" in plan
        assert "demo1: touches nobody: 2 services on the air" in plan
    assert "migrations of its sqlite database, which is saved before: " in said
    assert "panel.0004_limits_not_held" in said
    assert version(stage) == "0.2.0-dev0"
    assert objects(stage) == before
    assert (left_of_probes(stage), held(stage)) == ([], "")
    assert air.faults() == []
    stage.api().request("PUT", "/media-services/ada-fm", {"name": "Ada FM of a new time"})
    wait_until_running(stage.api(), SLUGS)
    assert air.faults() == []


def test_a_second_run_changes_nothing(stage: FromTree, air: Air) -> None:
    said = stage.upgrade()
    assert changed(said) == 0, said[-6000:]
    assert "of this very release; nothing to do" in said
    assert air.faults() == []
