"""One installed node for all tests of the whole platform, made on first use, removed at the end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.stage import ROOT, Stage


@dataclass(frozen=True)
class FirstInstall:
    """The node on which the platform was installed, and what playbooks/install.yml said there.

    ``log``: empty where ``STREAMFLEET_LIVE_FLEET`` names a node on which all was there before.
    """

    stage: Stage
    log: str = ""


@pytest.fixture(scope="session")
def first_install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstInstall]:
    """A node on which install.yml was run.

    ``STREAMFLEET_LIVE_FLEET`` names a fleet to keep and use again, for the inner loop; ``STREAMFLEET_LIVE_RELEASE``
    chooses the Debian release.
    """
    kept = os.environ.get("STREAMFLEET_LIVE_FLEET")
    fleet = kept or f"platform{secrets.token_hex(3)}"
    state = (ROOT / ".cache" / f"live-{kept}") if kept else Path(tmp_path_factory.mktemp("platform"))
    stage = demo_node(fleet, state)
    try:
        stage.start()
        yield FirstInstall(stage) if stage.variables() else _install(stage)
    finally:
        if not kept:
            stage.remove()


def demo_node(fleet: str, state: Path) -> Stage:
    """A node of the demo's inventory and of the release that is asked for, not started."""
    stage = Stage(fleet, state, last_port=9999)
    stage.release = os.environ.get("STREAMFLEET_LIVE_RELEASE", "")
    return stage


def _install(stage: Stage) -> FirstInstall:
    log = stage.state / "install.log"
    log.unlink(missing_ok=True)
    stage.install()
    stage.hand_over()
    return FirstInstall(stage, log.read_text())


@pytest.fixture(scope="session")
def platform(first_install: FirstInstall) -> Stage:
    """The platform on one node, installed by playbooks/install.yml."""
    return first_install.stage
