"""One installed node for all tests of the whole platform, made on first use, removed at the end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from demo.stage import ROOT, Stage
from tests.live.edge import PANEL, STREAM, Edge

#: Groups of files (name, files): a worker takes one at a time, whole, for those of a group share an installed node.
#: What takes longest begins first, so that no worker is left alone with it; what no group names comes at the end.
GROUPS = (
    (
        "platform",
        "awx",
        "backup",
        "backup_targets",
        "check_mode",
        "database_move",
        "doctor",
        "domains",
        "hostile_tenant",
        "operations",
        "platform",
        "restore_rehearsal",
        "sessions",
        "snippets",
        "usage",
        "watch",
        "white_label",
    ),
    ("edge", "rtmp", "web", "web_uninstall"),
    ("engines", "engines"),
    ("domain_change", "domain_change"),
    ("local_inventory", "local_inventory"),
    ("autodj", "autodj"),
    ("djs", "djs"),
    ("converge", "converge"),
    ("flussonic", "flussonic"),
)
HERE = Path(__file__).parent


NAMED = {f"test_{file}": (place, group) for place, (group, *files) in enumerate(GROUPS) for file in files}


def _group(stem: str) -> tuple[int, str]:
    """Place and name of the group of a file; one that no group names is a group by itself, after all others."""
    return NAMED.get(stem, (len(GROUPS), stem))


class Grouped(LoadScopeScheduling):
    """Gives each group to one worker, in the order of ``GROUPS``."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        # Of the campaigns of faults each file has nodes of its own.
        return f"faults {path.stem}" if path.parent.name == "faults" else _group(path.stem)[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Grouped | None:
    """In the place of xdist's own, by whose rules a group is a file or a mark."""
    return Grouped(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of this folder into the order of ``GROUPS``."""
    own = [number for number, item in enumerate(items) if item.path.parent == HERE]
    ordered = sorted((items[number] for number in own), key=lambda item: _group(item.path.stem)[0])
    for number, item in zip(own, ordered, strict=True):
        items[number] = item


@dataclass(frozen=True)
class FirstInstall:
    """The node on which the platform was installed, and what playbooks/install.yml did there.

    ``check`` and ``made``: what it said in check mode and then for real; empty where nobody asks, or all was there.
    ``packages``: what was installed before the former, and after it. ``left``: what that left of ours.
    """

    stage: Stage
    check: str = ""
    made: str = ""
    packages: tuple[str, str] = ("", "")
    left: str = ""


@pytest.fixture(scope="session")
def first_install(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstInstall]:
    """A node on which install.yml was run: in check mode first, where tests/live/test_check_mode.py is chosen.

    ``STREAMFLEET_LIVE_FLEET`` names a fleet to keep and use again, for the inner loop; ``STREAMFLEET_LIVE_RELEASE``
    chooses the Debian release.
    """
    kept = os.environ.get("STREAMFLEET_LIVE_FLEET")
    fleet = kept or f"platform{secrets.token_hex(3)}"
    state = (ROOT / ".cache" / f"live-{kept}") if kept else Path(tmp_path_factory.mktemp("platform"))
    stage = Stage(fleet, state, last_port=9999)
    stage.release = os.environ.get("STREAMFLEET_LIVE_RELEASE", "")
    stage.start()
    try:
        checked = any(item.path.stem == "test_check_mode" for item in request.session.items)
        yield FirstInstall(stage) if stage.variables() else _install(stage, checked)
    finally:
        if not kept:
            stage.remove()


def _install(stage: Stage, checked: bool) -> FirstInstall:
    log, packages = stage.state / "install.log", ["dpkg-query", "-W"]
    log.unlink(missing_ok=True)
    check = before = after = left = ""
    if checked:
        before = stage.on_node(packages)
        stage.install("--check", "--diff")
        after, check = stage.on_node(packages), log.read_text()
        left = stage.on_node(["sh", "-c", "ls -d /etc/streamfleet /opt/streamfleet 2>/dev/null || true"])
        log.unlink()
    stage.install()
    stage.hand_over()
    return FirstInstall(stage, check, log.read_text(), (before, after), left)


@pytest.fixture(scope="session")
def platform(first_install: FirstInstall) -> Stage:
    """The platform on one node, installed by playbooks/install.yml."""
    return first_install.stage


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
