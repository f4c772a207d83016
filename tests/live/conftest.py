"""Which tests share nodes, and in what order they run; a node with the web server and the RTMP server alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.live.chosen import chosen
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
        "domain_change",
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
    ("acme", "acme"),
    ("engines", "engines"),
    ("edge", "rtmp", "web", "web_uninstall"),
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
        if path.parent.name != "faults":
            return _group(path.stem)[1]
        # Of the campaigns of faults each file has nodes of its own, but that against converge, which takes less time
        # than to install what it breaks.
        return "platform" if path.stem == "test_converge" else f"faults {path.stem}"


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


@pytest.fixture(scope="session")
def edge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A node with the web server and the RTMP server only; ``logs``: its first run, and check and second if compared.

    ``STREAMFLEET_LIVE_RELEASE`` chooses the Debian release.
    """
    it = Edge(Path(tmp_path_factory.mktemp("edge")), os.environ.get("STREAMFLEET_LIVE_RELEASE", "bookworm"))
    try:
        it.prepare()
        it.certificate(STREAM)
        it.certificate(PANEL)
        compared = chosen(
            request, "test_web", "test_check_mode_predicts_the_first_run", "test_a_second_run_changes_nothing"
        )
        if compared:
            it.logs["check"] = it.playbook(["web", "nginx_rtmp"], "--check", "--diff")
        it.logs["first"] = it.playbook(["web", "nginx_rtmp"])
        if compared:
            it.logs["second"] = it.playbook(["web", "nginx_rtmp"])
        yield it
    finally:
        it.down()
