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
from streamfleet.behaviour.checks import Subject
from streamfleet.behaviour.counted import Audience
from streamfleet.behaviour.panel_client import ApiPanelClient
from streamfleet.behaviour.route import Route
from streamfleet.client import Panel

from demo.stage import NODE, ROOT
from demo.upgrade import FromTree
from tests.live.engines import icecast_kh, shoutcast2, spec_of
from tests.live.upgrades import held, installed, later, left_of_probes, objects, on_node, tables

pytestmark = [pytest.mark.live, pytest.mark.full]

ENGINES = ("icecast", "icecast_kh", "nginx_rtmp", "shoutcast2")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FromTree]:
    """This tree on a node with these engines, which is backed up."""
    folder = Path(tmp_path_factory.mktemp("engines"))
    brought = {**icecast_kh.variables(folder), **shoutcast2.variables(folder)}
    backup = {
        "streamfleet_backup_repository": "/srv/backup",
        "streamfleet_backup_password": "kept-where-the-host-is-not",
        "streamfleet_backup_delay_seconds": 0,
    }
    groups: dict[str, object] = {name: {"hosts": {NODE: {}}} for name in (*ENGINES, "backup")}
    with on_node(folder) as made:
        (folder / "engines.json").write_text(json.dumps({**groups, "all": {"vars": {**brought, **backup}}}))
        made.more = (*made.more, "-i", str(folder / "engines.json"))
        installed(made)
        yield made


@pytest.fixture(scope="module")
def air(stage: FromTree) -> Iterator[dict[str, Audience]]:
    """By engine, who listens to a service of it or watches it; at the end the encoders are there, and all was got."""
    panel, route = Panel(stage.api()), Route(stage.address, str(stage.ca))
    with contextlib.ExitStack() as stack:
        found = {}
        for name in ENGINES:
            spec = spec_of(name)
            client = ApiPanelClient(panel, "counted", spec, NODE, 180)
            slug = f"counted-{name.replace('_', '-')}"
            client.create(slug)
            found[name] = stack.enter_context(Subject(slug, spec, client, route).counted())
        yield found


def nobody_has_lost_anything(air: dict[str, Audience], before: dict[str, int]) -> None:
    """Since ``before``, as ``pieces`` has it."""
    for name, audience in air.items():
        count = audience.count
        assert audience.is_alive(), f"{name}: {count}"
        assert (count.lost, count.faults) == (0, []), f"{name}: {count}"
        assert count.pieces > before[name], f"{name}: {count}"
        assert count.gap < audience.longest_gap, f"{name}: {count}"
        print(f"{name}: {count.pieces - before[name]} frames or segments, none lost, {count.gap:.1f} s the longest gap")


def pieces(air: dict[str, Audience]) -> dict[str, int]:
    return {name: audience.count.pieces for name, audience in air.items()}


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
