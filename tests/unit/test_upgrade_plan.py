"""What upgrade.yml says beforehand, and whom it takes for touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

from filter_plugins.streamfleet_upgrade import (
    streamfleet_cut,
    streamfleet_due,
    streamfleet_packages_due,
    streamfleet_upgrade_plan,
    streamfleet_why,
)

ROOT = Path(__file__).parents[2]
PANEL: dict[str, Any] = {
    "from": {"version": "0.1.0"},
    "to": {"version": "0.2.0"},
    "changes": True,
    "migrations": ["panel.0004_more", "axes.0010_less"],
    "read_only": True,
    "database": "postgresql",
}
ON_AIR = [
    {"node": "n1", "listeners": 12},
    {"node": "n1", "listeners": None},
    {"node": "n1", "listeners": 3},
    {"node": "n2", "listeners": None},
]
HOSTS: dict[str, dict[str, Any]] = {
    "panel": {"due": {"streamfleet-worker.service": ["restart"]}, "packages": []},
    "n1": {"due": {"streamfleet-rtmp.service": ["restart"], "nginx.service": ["reload"]}, "packages": []},
    "n2": {"due": {"nginx.service": ["reload"]}, "packages": ["icecast2 2.4.4-4 to 2.4.4-5", "lame 3 to 4"]},
}


def test_units_are_due_as_check_mode_has_foretold() -> None:
    facts = {
        "distribution": "Debian",
        "streamfleet_unit_nginx_service": {"unit": "nginx.service", "verbs": ["reload"], "idle": False},
        "streamfleet_unit_a_service": {"unit": "a.service", "verbs": [], "idle": False},
        "streamfleet_unit_b_service": {"unit": "b.service", "verbs": ["restart"], "idle": False},
        "streamfleet_unit_c_service": {"unit": "c.service", "verbs": ["restart"], "idle": True},
    }
    due = {"b.service": ["restart"], "c.service": ["restart while idle"], "nginx.service": ["reload"]}
    assert streamfleet_due(facts) == due
    assert streamfleet_cut(due) == ["b.service"]


@pytest.mark.parametrize(
    ("restart", "publishers", "idle"), [("idle", 0, True), ("idle", 1, False), ("always", 0, False)]
)
def test_the_rtmp_server_is_restarted_while_idle_only_where_it_is_asked_again(
    restart: str, publishers: int, idle: bool
) -> None:
    """As the role says it. With ``always`` an encoder that comes after the plan is interrupted."""
    tasks = yaml.safe_load((ROOT / "roles/nginx_rtmp/tasks/service.yml").read_text())
    (unit,) = [
        unit
        for task in tasks
        for unit in task.get("streamfleet_units", {}).get("units", [])
        if unit["name"] == "streamfleet-rtmp.service"
    ]
    known = {
        "__streamfleet_nginx_rtmp_state": {"publishers": publishers},
        "streamfleet_nginx_rtmp_restart": restart,
    }
    assert NativeEnvironment(undefined=StrictUndefined).from_string(unit["idle"]).render(known) is idle


def test_only_a_restart_of_what_carries_streams_interrupts() -> None:
    assert streamfleet_cut(HOSTS["n1"]["due"]) == ["streamfleet-rtmp.service"]
    assert streamfleet_cut({"nginx.service": ["enable", "start"], "x.timer": ["restart"]}) == []
    for unheard in ("streamfleet-worker", "streamfleet-usage", "streamfleet-file-transfer", "fail2ban"):
        assert streamfleet_cut({f"{unheard}.service": ["restart"]}) == []
    # What is not known to be unheard counts as heard.
    assert streamfleet_cut({"streamfleet-anything.service": ["restart"]}) == ["streamfleet-anything.service"]


def test_what_several_tasks_would_do_with_a_unit_is_said_once() -> None:
    def fact(*verbs: str) -> dict[str, Any]:
        return {"unit": "a.service", "verbs": list(verbs), "idle": False}

    said = {"streamfleet_unit_a_service_1": fact("reload"), "streamfleet_unit_a_service_2": fact()}
    assert streamfleet_due(said) == {"a.service": ["reload"]}
    assert streamfleet_due({**said, "streamfleet_unit_a_service_3": fact("restart")}) == {"a.service": ["restart"]}
    started = {**said, "streamfleet_unit_a_service_3": fact("enable", "start")}
    assert streamfleet_due(started) == {"a.service": ["enable", "start"]}


def test_transfers_that_a_restart_ends_are_said_and_are_no_streams() -> None:
    host = {"due": {"streamfleet-file-transfer.service": ["restart"]}, "packages": []}
    still = {**PANEL, "from": PANEL["to"], "changes": False}
    assert streamfleet_upgrade_plan(still, {"n1": host}, ON_AIR)[1:] == [
        "n1: restart streamfleet-file-transfer.service, which ends transfers of files that are under way",
        "n1: touches nobody: 3 services on the air, at least 15 listeners",
    ]


def test_why_a_task_failed_is_said_without_secrets() -> None:
    hidden = {
        "msg": "non-zero return code",
        "stderr": "Traceback\n  File\nOperationalError: pw hunter2x of postgres://u:p%40ss@db/x, or hunter2\n\n",
        "stdout": "hunter2",
    }
    said = streamfleet_why(hidden, "Bring the database", ["", "hunter2", "hunter2x", None])  # type: ignore[list-item]
    assert said == (
        "Bring the database: non-zero return code: OperationalError: pw ******** of postgres://u:********@db/x, "
        "or ********"
    )
    items = {"msg": "One or more items failed", "results": [{"failed": True, "msg": "no"}, {"msg": "fine"}]}
    assert streamfleet_why(items, "Do", []) == "Do: One or more items failed: no"
    assert streamfleet_why({}, "Do", []) == "Do: it gives no reason"


def test_packages_are_those_that_apt_would_put_there() -> None:
    said = "Reading\nInst nginx [1.22.1-9] (1.22.1-9+deb12u1 Debian [amd64])\nConf nginx (1.22)\nInst a (2 x [all])\n"
    assert streamfleet_packages_due(said) == ["a 2", "nginx 1.22.1-9 to 1.22.1-9+deb12u1"]
    assert streamfleet_packages_due("") == []


def test_the_plan_names_every_host_and_whom_it_touches() -> None:
    assert streamfleet_upgrade_plan(PANEL, HOSTS, ON_AIR) == [
        "panel: 0.1.0 to 0.2.0",
        "panel: 2 migrations of its postgresql database, which is saved before: panel.0004_more, axes.0010_less",
        "panel: can be read and takes no changes while it is changed and probed; nobody on the air notices",
        "panel: restart streamfleet-worker.service",
        "panel: touches nobody: nothing is on the air there",
        "n1: restart streamfleet-rtmp.service",
        "n1: reload nginx.service",
        "n1: TOUCHES 3 services on the air, at least 15 listeners",
        "n2: reload nginx.service",
        "n2: new packages icecast2 2.4.4-4 to 2.4.4-5, lame 3 to 4",
        "n2: stations go on with the Icecast that they run with, until they are next started",
        "n2: lame: their own scripts may restart what they serve",
        "n2: TOUCHES 1 services on the air, an unknown number of listeners",
    ]


def test_the_plan_of_a_panel_that_is_as_it_should_be() -> None:
    still = {**PANEL, "from": PANEL["to"], "changes": False}
    assert streamfleet_upgrade_plan(still, {}, []) == ["panel: is 0.2.0 already, of this very release; nothing to do"]
    away = streamfleet_upgrade_plan({**PANEL, "read_only": False, "migrations": None}, {}, [])
    assert away[1] == "panel: migrations are known once the new release lies beside the old one"
    assert away[2].startswith("panel: is away, since it cannot be read-only yet,")
