"""Names change and change back while every open engine is on the air: nobody is disconnected, nothing is lost.

Icecast-KH is a double (tests/doubles), or the real program where ``STREAMFLEET_LIVE_ICECAST_KH`` names it.
Tests playbooks: domain_change.yml.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamfleet.behaviour.checks import Subject
from streamfleet.behaviour.counted import Audience, Listener
from streamfleet.behaviour.panel_client import ApiPanelClient
from streamfleet.behaviour.route import Route
from streamfleet.client import Panel

from demo.stage import NODE, PANEL_HOST, STREAM_HOST, Stage
from tests.live.engines import icecast_kh, spec_of
from tests.live.engines.stand import counting
from tests.live.renames import (
    CUSTOMER,
    MOVE,
    NEW,
    NEW_PANEL,
    NEW_STREAM,
    OLD,
    change,
    everybody,
    kept_inventory,
    on_platform,
    there,
    whole,
)

pytestmark = [pytest.mark.live, pytest.mark.full]

KH = "move-kh"


class WithIcecastKh(Stage):
    """The platform, whose node has Icecast-KH beside the other two."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"rename{secrets.token_hex(3)}", folder / "state", last_port=9999)
        self._more = folder / "icecast_kh.json"
        groups = {"icecast_kh": {"hosts": {NODE: {}}}, "all": {"vars": icecast_kh.variables(folder)}}
        self._more.write_text(json.dumps(groups))

    def command(self, path: str, *arguments: str, inventory: bool = True) -> list[str]:
        """ansible-playbook for this stage."""
        return super().command(path, *(("-i", str(self._more)) if inventory else ()), *arguments, inventory=inventory)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """It, with a station or a channel of each engine, and names that lead to it and are not its own yet."""
    stage = WithIcecastKh(Path(tmp_path_factory.mktemp("rename")))
    try:
        stage.start()
        stage.install()
        stage.hand_over()
        with on_platform(stage) as made:
            at_icecast_kh(made).create(KH)
            yield made
    finally:
        stage.remove()


def at_icecast_kh(site: Stage) -> ApiPanelClient:
    """Declares stations of it."""
    return ApiPanelClient(Panel(site.api()), CUSTOMER, spec_of("icecast_kh"), NODE, 180)


@contextlib.contextmanager
def on_the_air(site: Stage) -> Iterator[list[Audience]]:
    """A source and two listeners of that station by the old names; at the end nobody has lost anything."""
    route = Route(site.address, str(site.ca))
    subject = Subject(KH, spec_of("icecast_kh"), at_icecast_kh(site), route)
    port = site.api().request("GET", f"/media-services/{KH}").data["port"]
    with (
        subject.counted() as web,
        counting(Listener(route, f"http://{STREAM_HOST}:{port}/stream")) as direct,
    ):
        yield [web, direct]


def test_every_open_engine_is_heard_through_a_change_of_names_and_back(site: Stage) -> None:
    before = there(site)
    with kept_inventory(site) as inventory, everybody(site), on_the_air(site) as listening:
        for asked in (MOVE, {"from": NEW, "to": OLD}):
            here = [audience.count.pieces for audience in listening]
            change(site, asked)
            inventory.patched((site.state / "domain_change.log").read_text())
            for panel, stream in ((PANEL_HOST, STREAM_HOST), (NEW_PANEL, NEW_STREAM)):
                assert whole(site, panel, stream)
            for audience, pieces in zip(listening, here, strict=True):
                assert audience.is_alive(), audience.count
                assert audience.count.pieces > pieces, audience.count
    for audience in listening:
        print(f"{audience.count.pieces} frames, {audience.count.lost} lost, {audience.count.gap:.1f} s the longest gap")
    assert site.install().changed > 0, "what is no name of the inventory is given up"
    assert there(site) == before
