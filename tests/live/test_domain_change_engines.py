"""Names change and change back with every open engine, and Shoutcast's double, on the air: nobody loses anything.

The vendor's server and Icecast-KH are doubles (tests/doubles), as docs/engines.md says. Encoders, listeners, and what
the run does are real. ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release, ``STREAMFLEET_LIVE_FLEET`` names a fleet
to keep and use again, for the inner loop.

Tests playbooks: domain_change.yml.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from streamfleet.behaviour.checks import Subject
from streamfleet.behaviour.counted import Audience

from demo.stage import STREAM_HOST
from demo.upgrade import FromTree
from tests.live.engines import air
from tests.live.engines.stand import counting
from tests.live.renames import (
    MOVE,
    NEW,
    NEW_PANEL,
    NEW_STREAM,
    OLD,
    Inventory,
    change,
    changed_by_install,
    default_of_rtmps,
    kept_inventory,
    stale,
    there,
)

pytestmark = [pytest.mark.live, pytest.mark.full]

#: Channels whose encoders come by RTMPS: one by the old name, one by the new.
EARLY, LATE = "counted-tls-early", "counted-tls-late"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FromTree]:
    """The platform with these engines, and names that lead to it and are not its own yet."""
    with air.on_platform(Path(tmp_path_factory.mktemp("engines"))) as made:
        made.known_as(NEW_PANEL, NEW_STREAM)
        yield made


@pytest.fixture
def inventory(site: FromTree) -> Iterator[Inventory]:
    """What the runs go by."""
    with kept_inventory(site) as made:
        yield made


@contextlib.contextmanager
def late(subjects: Mapping[str, Subject], channel: Subject) -> Iterator[dict[str, Audience]]:
    """Who comes by the new name: a listener or viewer of each, and an encoder by RTMPS with a viewer."""
    with contextlib.ExitStack() as stack:
        found = {
            f"{name} by the new name": stack.enter_context(counting(air.audience(subject)))
            for name, subject in subjects.items()
        }
        found["rtmps by the new name"] = stack.enter_context(air.by_tls(channel))
        yield found


def changed(site: FromTree, inventory: Inventory, asked: Mapping[str, str]) -> None:
    """Change names, and write into the inventory what the run says; installing then has nothing to do."""
    change(site, asked)
    inventory.patched((site.state / "domain_change.log").read_text())
    assert changed_by_install(site) == []
    assert stale(site) == ""


def test_with_every_engine_on_the_air_names_change_and_change_back(site: FromTree, inventory: Inventory) -> None:
    subjects = {name: air.declared(site, name) for name in air.ENGINES}
    early_channel, late_channel = (air.declared(site, "nginx_rtmp", slug) for slug in (EARLY, LATE))
    before, text = there(site), inventory.text
    with air.everybody(subjects) as early, air.by_tls(early_channel) as viewer:
        early["rtmps"] = viewer
        running, here = site.on_node(["sh", "-c", air.PROCESSES]), air.pieces(early)
        assert STREAM_HOST in default_of_rtmps(site)
        changed(site, inventory, MOVE)
        air.nobody_has_lost_anything(early, here)
        assert NEW_STREAM in default_of_rtmps(site)
        assert {name: NEW_STREAM in subject.url for name, subject in subjects.items()} == dict.fromkeys(subjects, True)
        with late(subjects, late_channel) as newcomers:
            everybody = early | newcomers
            here = air.pieces(everybody)
            changed(site, inventory, {"from": NEW, "to": OLD})
            air.nobody_has_lost_anything(everybody, here)
            assert STREAM_HOST in default_of_rtmps(site)
        here = air.pieces(early)
        changed(site, inventory, {"release": NEW})
        air.nobody_has_lost_anything(early, here)
        assert site.on_node(["sh", "-c", air.PROCESSES]) == running
    assert (there(site), inventory.text) == (before, text)
