"""Of every open engine, and of Shoutcast's double, a counted encoder and listener live through an upgrade and a backup.

The vendor's server and Icecast-KH are doubles (tests/doubles), as docs/engines.md says. Encoders, listeners, and what
is upgraded and backed up are real. Tests playbooks: upgrade.yml backup.yml.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamfleet.behaviour.counted import Audience

from demo.stage import NODE, ROOT
from demo.upgrade import FromTree
from tests.live.engines.air import ENGINES, declared, nobody_has_lost_anything, on_platform, pieces
from tests.live.upgrades import held, later, left_of_probes, objects, tables

pytestmark = [pytest.mark.live, pytest.mark.full]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FromTree]:
    """This tree on a node with these engines, which is backed up."""
    backup = {
        "streamfleet_backup_repository": "/srv/backup",
        "streamfleet_backup_password": "kept-where-the-host-is-not",
        "streamfleet_backup_delay_seconds": 0,
    }
    with on_platform(Path(tmp_path_factory.mktemp("engines")), "backup", **backup) as made:
        yield made


@pytest.fixture(scope="module")
def air(stage: FromTree) -> Iterator[dict[str, Audience]]:
    """By engine, who listens to a service of it or watches it; at the end the encoders are there, and all was got."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(declared(stage, name).counted()) for name in ENGINES}


def test_an_upgrade_of_the_panel_is_heard_by_nobody(stage: FromTree, air: dict[str, Audience], tmp_path: Path) -> None:
    here, before = pieces(air), objects(stage)
    stage.tree = later(tmp_path)
    try:
        said = stage.upgrade()
    finally:
        stage.tree = ROOT
    assert f"{NODE}: touches nobody: " in said
    assert tables(stage) == ["panel_more_9998"]
    assert (objects(stage), left_of_probes(stage), held(stage)) == (before, [], "")
    nobody_has_lost_anything(air, here)


def test_a_backup_is_heard_by_nobody(stage: FromTree, air: dict[str, Audience]) -> None:
    here = pieces(air)
    stage.run("backup.yml")
    told = json.loads(stage.on_node(["streamfleet-backup", "status"]))
    assert told["state"] == "succeeded", told
    assert told["result"]["rows"] > 50
    nobody_has_lost_anything(air, here)
