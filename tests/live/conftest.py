"""One installed node for all tests of the whole platform, made on first use, removed at the end."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from demo.stage import ROOT, Stage
from tests.live.edge import PANEL, STREAM, Edge


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory):
    """The platform on one node, installed by playbooks/install.yml.

    ``STREAMFLEET_LIVE_FLEET`` names a fleet to keep and use again, for the inner loop.
    """
    kept = os.environ.get("STREAMFLEET_LIVE_FLEET")
    fleet = kept or f"platform{secrets.token_hex(3)}"
    state = (ROOT / ".cache" / f"live-{kept}") if kept else Path(tmp_path_factory.mktemp("platform"))
    stage = Stage(fleet, state, last_port=9999)
    stage.start()
    try:
        if not stage.variables():
            stage.install()
            stage.hand_over()
        yield stage
    finally:
        if not kept:
            stage.remove()


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory):
    """A node with the web server and the RTMP server only; ``logs`` holds its first runs: check, first, second.

    ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.
    """
    it = Edge(Path(tmp_path_factory.mktemp("edge")), os.environ.get("STREAMFLEET_LIVE_RELEASE", "bookworm"))
    try:
        it.prepare()
        it.certificate(STREAM)
        it.certificate(PANEL)
        it.logs["check"] = it.playbook(["web", "nginx_rtmp"], "--check", "--diff")
        it.logs["first"] = it.playbook(["web", "nginx_rtmp"])
        it.logs["second"] = it.playbook(["web", "nginx_rtmp"])
        yield it
    finally:
        it.down()
