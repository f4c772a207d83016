"""One real panel for all contract tests, with a node on it. Tests keep out of each other's way by names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.panel_server import Panel, running_panel
from tests.contract.playbook import Runner
from tests.doubles import name_server

NODE = {
    "name": "base1",
    "address": "192.0.2.10",
    "engines": ["icecast", "nginx_rtmp"],
    "stream_host": "stream.example.net",
    "port_range_start": 10000,
    "port_range_end": 10999,
}


@pytest.fixture(scope="session")
def resolver() -> Iterator[name_server.NameServer]:
    """What the panel asks about domains: it knows what tests put into it, and no name of the Internet."""
    with name_server.running() as server:
        yield server


@pytest.fixture(scope="session")
def panel(resolver: name_server.NameServer) -> Iterator[Panel]:
    with running_panel(extra={"STREAMFLEET_PANEL_DOMAIN_RESOLVERS": resolver.address}) as running:
        status, answer = running.request("POST", "/apply", {"document": {"nodes": [NODE]}})
        assert status == 200, answer
        yield running


@pytest.fixture
def runner(panel: Panel, tmp_path: Path) -> Runner:
    made = Runner(panel.environment, tmp_path)
    made.canary(panel.token)
    return made


@pytest.fixture
def owner(panel: Panel, request: pytest.FixtureRequest) -> str:
    """A customer of this test's own."""
    name = "c-" + request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[:50].rstrip("-")
    status, answer = panel.request("POST", "/apply", {"document": {"customers": [{"username": name}]}})
    assert status == 200, answer
    return name
