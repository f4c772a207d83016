"""The modules of a change of host names: as tasks on this machine."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.fake_node import FakeNode
from tests.contract.panel_server import Panel
from tests.contract.playbook import ROOT, Runner, Step
from tests.contract.test_domain import awaited
from tests.doubles.name_server import NameServer

HOSTS = [
    {
        "name": "audio1",
        "panel_host": "",
        "stream_host": "audio1.example.net",
        "former_panel_hosts": [],
        "former_stream_hosts": [],
        "extra": {},
    }
]
TASKS = ROOT / "playbooks" / "tasks"


def test_a_change_is_planned_and_patch_takes_its_diff_wherever_the_inventory_lies(
    runner: Runner, tmp_path: Path
) -> None:
    """Elsewhere than the run, reached by a link, and with the names in files of two folders."""
    there = tmp_path / "the fleet"
    texts = {
        there / "hosts.yml": "all:\n  hosts:\n    audio1:\n      streamfleet_stream_host: audio1.example.net\n",
        there / "host_vars" / "audio2" / "names.yml": "streamfleet_stream_host: audio2.example.net",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (tmp_path / "link").symlink_to(there, target_is_directory=True)
    asked = {
        "hosts": [*HOSTS, {**HOSTS[0], "name": "audio2", "stream_host": "audio2.example.net"}],
        "last_day": "2027-03-01", "sources": [str(tmp_path / "link" / "hosts.yml")],
    }  # fmt: skip
    outcome = runner.steps(
        Step("streamfleet_domain_plan", {**asked, "from": ".example.net", "to": ".example.org"}, changed=False),
        Step(
            "streamfleet_domain_plan",
            {**asked, "from": "b.example.net", "to": "c.example.net"},
            error="They are called",
        ),
        Step("streamfleet_domain_plan", {**asked, "release": "b.example.net"}, error="There are none"),
        Step("streamfleet_domain_plan", {**asked, "from": "b.example.net"}, error="required together"),
    )[0]
    assert outcome.real["renames"] == [
        {"host": name, "kind": "streams", "old": f"{name}.example.net", "new": f"{name}.example.org"}
        for name in ("audio1", "audio2")
    ]
    assert "+      streamfleet_stream_host: audio1.example.org\n" in outcome.real["patch"]
    assert outcome.real["by_hand"] == []
    assert outcome.real["folder"] == str(there)
    assert {path: path.read_text() for path in texts} == texts
    subprocess.run(["patch", "-p1"], cwd=there, input=outcome.real["patch"], text=True, check=True)
    said = yaml.safe_load((there / "hosts.yml").read_text())["all"]["hosts"]["audio1"]
    assert [said, yaml.safe_load((there / "host_vars" / "audio2" / "names.yml").read_text())] == [
        {
            "streamfleet_stream_host": f"{name}.example.org",
            "streamfleet_former_stream_hosts": [{"host": f"{name}.example.net", "until": "2027-03-01"}],
        }
        for name in ("audio1", "audio2")
    ]


def test_the_journal_knows_whose_a_change_is(runner: Runner, tmp_path: Path) -> None:
    module, place = "streamfleet_domain_change", {"folder": str(tmp_path / "journal")}
    change = {"state": "begun", "from": "a.example.net", "to": "b.example.net", "last_day": "2027-03-01", **place}
    names = {"panel": {"host": "b.example.net", "old": "a.example.net", "kept": []}}
    outcomes = runner.steps(
        Step(module, {"state": "looked", **place}, changed=False),
        Step(module, {**change, "run": "one"}, changed=False),
        Step(module, {**change, "run": "two"}, error="Wait for it"),
        Step(module, {**change, "run": "two", "to": "c.example.net"}, error="Or take it back"),
        Step(module, {"state": "stepped", "run": "two", "step": "web", **place}, error="another run has taken"),
        Step(module, {"state": "stepped", "run": "one", "step": "web", **place}, changed=False),
        Step(module, {"state": "recorded", "names": names, **place}),
        Step(module, {"state": "begun", **place}, error="missing"),
    )
    assert outcomes[0].real["journal"] is None
    assert outcomes[1].check["resumed"] is False
    assert (outcomes[1].real["resumed"], outcomes[1].again["resumed"]) == (False, True)
    found = runner.tasks([{"name": "look", module: {"state": "looked", **place}}])["look"]
    assert (found["journal"]["state"], found["journal"]["step"]) == ("changing", "web")
    assert found["names"]["panel"]["host"] == "b.example.net"
    # What this run leaves, one of the same controller whose process is not there any more takes over.
    ended = runner.tasks([{"name": "end", module: {**change, "run": "three"}}])["end"]
    assert ended["resumed"] is True


def test_one_run_at_a_time_has_the_fleet(runner: Runner, tmp_path: Path) -> None:
    module, lock = "streamfleet_fleet_lock", tmp_path / "fleet.lock"
    held = tmp_path / "held.service"
    places = {"path": str(lock), "state_folder": str(tmp_path), "held": str(held)}
    outcome = runner.steps(
        Step(module, {"state": "released", **places}, changed=False),
        Step(module, {"minutes": 5, **places}, changed=False),
    )[1]
    assert outcome.real["lock"]["what"].endswith(".yml")
    assert " on " in outcome.real["lock"]["who"]
    told = [outcome.real[name] for name in ("domain_change", "upgrade", "restore")]
    assert told == [None, False, False]
    # That run's process is gone by now, so nobody waits for it. Of another controller's nothing is known here.
    until = datetime.now(UTC) + timedelta(minutes=5)
    (tmp_path / "upgrade").mkdir()
    (tmp_path / "upgrade" / "journal.json").touch()
    held.touch()
    other = tmp_path / "other.lock"
    times = {"since": datetime.now(UTC).isoformat(), "until": until.isoformat()}
    other.write_text(json.dumps({"process": "elsewhere 1 1", "who": "ann on control2", "what": "install.yml", **times}))
    theirs = {**places, "path": str(other)}
    outcomes = runner.steps(
        Step(module, places, changed=False),
        Step(module, theirs, error="ann on control2 works on this fleet with install.yml since 20"),
        Step(module, {"state": "released", **theirs}, changed=False),
        Step(module, {**theirs, "take_over": True}, changed=False),
    )
    assert (outcomes[0].real["upgrade"], outcomes[0].real["restore"]) == (True, True)
    assert outcomes[2].real["released"] is False


@pytest.fixture
def proved(panel: Panel, owner: str, resolver: NameServer) -> str:
    """Below this name a station has proved ``radio``, and claims ``claimed``; a reseller has proved ``shop.panel``."""
    below, plan = f"{owner}.example.com", f"{owner} plan"
    station = f"{owner[:50].rstrip('-')}-fm"
    document = {
        "reseller_plans": [{"name": plan}],
        "customers": [{"username": owner, "reseller_plan": plan}],
        "media_services": [{"slug": station, "customer": owner, "engine": "icecast"}],
        "domains": [{"media_service": station, "name": f"{name}.{below}"} for name in ("radio", "claimed")],
        "panel_domains": [{"reseller": owner, "name": f"shop.panel.{below}"}],
    }
    status, answer = panel.request("POST", "/apply", {"document": document})
    assert status == 200, answer
    for path in (
        f"/media-services/{station}/domains/radio.{below}",
        f"/customers/{owner}/panel-domains/shop.panel.{below}",
    ):
        awaited(panel, path, "checked_at", None)
        record = panel.request("GET", path)[1]["proof"]["txt"]
        resolver.txt(record["name"], record["value"])
        assert panel.request("POST", f"{path}/check")[0] == 202
        assert awaited(panel, path, "status", "pending")["status"] == "verified"
    return below


@pytest.fixture
def known(runner: Runner, panel: Panel) -> dict[str, Any]:
    """What the playbook knows when it asks the panel."""
    token = base64.b64encode(panel.token.encode()).decode()
    return {
        "_streamfleet_panel_inventory_name": "localhost",
        "_streamfleet_local_url": panel.url,
        "__streamfleet_domain_token": {"content": runner.canary(token)},
    }


def test_a_name_that_somebody_has_proved_is_refused_and_one_above_it(
    runner: Runner, known: dict[str, Any], owner: str, proved: str
) -> None:
    station = f"{owner[:50].rstrip('-')}-fm"

    def said(*names: str) -> str:
        given = {**known, "__streamfleet_domain_new_names": [f"{name}{proved}" for name in names]}
        tasks = [{"import_tasks": str(TASKS / "domain_change_free.yml")}]
        return str(runner.tasks(tasks, vars=given)["Check that nobody has one of the new names"].get("msg", ""))

    whose = {"radio": f"a domain of the service {station}", "shop.panel": f"a panel domain of the reseller {owner}"}
    for name, who in whose.items():
        assert f"domain_change_to: {name}.{proved} is {who}. Delete that" in said(f"{name}.")
    assert f"panel.{proved} lies above shop.panel.{proved}, {whose['shop.panel']}. Delete" in said("ok.", "panel.")
    both = said("")
    assert all(f"{proved} lies above {name}.{proved}, {who}" in both for name, who in whose.items())
    # A claim alone, names beside and below theirs, and one that merely ends alike.
    assert said("claimed.", "news.", "a.radio.", "adio.", "p.panel.") == "All assertions passed"


@pytest.fixture
def stations(panel: Panel, owner: str) -> str:
    """A node of this test's own, with stations of Shoutcast 2, listed publicly, not so, and off, and one of Icecast."""
    node = {
        "name": "names1", "address": "192.0.2.20", "engines": ["icecast", "shoutcast2"],
        "stream_host": "audio.example.net", "port_range_start": 11000, "port_range_end": 11099,
    }  # fmt: skip
    listed = [{"id": 1, "name": "/stream"}, {"id": 2, "name": "/low", "public": True}]
    kinds: dict[str, dict[str, Any]] = {
        "listed": {"streams": listed},
        "unlisted": {},
        "off": {"streams": listed, "enabled": False},
    }
    common = {"customer": owner, "node": "names1"}
    services = [{"slug": f"names-{kind}", "engine": "shoutcast2", **common, **more} for kind, more in kinds.items()]
    services.append({"slug": "names-icecast", "engine": "icecast", **common})
    status, answer = panel.request("POST", "/apply", {"document": {"nodes": [node], "media_services": services}})
    assert status == 200, answer
    # No other test's service is to land here.
    assert panel.request("PUT", "/nodes/names1", {"status": "draining"})[0] == 200
    return "names1"


def test_stations_that_a_change_restarts_are_named_and_it_needs_a_yes(
    runner: Runner, panel: Panel, known: dict[str, Any], stations: str
) -> None:
    nodes = panel.request("GET", "/nodes")[1]["items"]
    rename = {"old": "audio.example.net", "new": "audio.example.org"}

    def looked(renames: dict[str, Any], *, check: bool = False, **asked: bool) -> tuple[str, str]:
        decided = {"restart": False, "undo": False, **asked}
        given = {
            **known, "__streamfleet_domain_hosts": {stations: {"renames": renames}},
            "__streamfleet_domain_known": {"nodes": nodes}, "__streamfleet_domain_backward": decided["undo"],
            **{f"__streamfleet_domain_{name}": value for name, value in decided.items()},
        }  # fmt: skip
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": given}
        tasks = [{"import_tasks": str(TASKS / "domain_change_restarts.yml")}]
        (path := runner.directory / "restarts.yml").write_text(json.dumps([{**play, "tasks": tasks}]))
        _code, results, _output = runner.playbook(path, None, *(["--check"] if check else []))
        said, may = results["Say which of them are restarted"], results.get("Check that they may be", {})
        return str(said.get("msg", "")), str(may["msg"]) if may.get("failed") else ""

    said, refused = looked({"streams": rename})
    named = "Restarted, so that their listeners and sources reconnect: names-listed on names1."
    assert said == f"{named} This needs -e domain_change_restart=yes."
    assert refused.startswith("names-listed on names1: listed publicly,")
    assert refused.endswith("If they may be, add -e domain_change_restart=yes.")
    # All of it is seen in check mode.
    assert looked({"streams": rename}, check=True) == (said, "")
    assert looked({"streams": rename}, restart=True) == (named, "")
    # The panel's own name; a name that the panel tells already, and what it tells already on the way back.
    for renames in ({"panel": rename}, {"streams": {"old": rename["new"], "new": rename["old"]}}):
        assert looked(renames) == ("", "")
    assert looked({"streams": rename}, undo=True) == ("", "")
    back = looked({"streams": {"old": rename["new"], "new": rename["old"]}}, undo=True)
    assert back == (named, "")


PLAY = yaml.safe_load((ROOT / "playbooks" / "domain_change.yml").read_text())[0]["tasks"][1]["block"]


def test_nodes_that_are_behind_or_that_the_panel_does_not_know_are_waited_for(
    runner: Runner, panel: Panel, known: dict[str, Any], owner: str
) -> None:
    node = {
        "name": "names2", "address": "192.0.2.21", "engines": ["icecast"], "stream_host": "rest.example.net",
        "port_range_start": 11100, "port_range_end": 11199,
    }  # fmt: skip
    station = {"slug": "names-rest", "customer": owner, "engine": "icecast", "node": "names2"}

    def want(**document: Any) -> None:
        status, answer = panel.request("POST", "/apply", {"document": document})
        assert status == 200, answer

    def behind() -> bool:
        found = panel.request("GET", "/nodes/names2")[1]
        return bool(found["observed_generation"] < found["generation"])

    def said(*nodes: str) -> str:
        given = {**known, "__streamfleet_domain_nodes": nodes, "__streamfleet_domain_resumed": False}
        asked, check = "Ask the panel for its nodes", "Check that the nodes are at rest"
        tasks = [task for task in PLAY if task["name"] in (asked, check)]
        assert [task["name"] for task in tasks] == [asked, check]
        return str(runner.tasks(tasks, vars=given)[check]["msg"])

    want(nodes=[node], media_services=[station])
    want(nodes=[{"name": "names2", "status": "draining"}])
    assert said("names2", "nowhere1").startswith(
        "names2, nowhere1: the panel does not know it, or what it says of it is"
    )
    token = panel.request("POST", "/tokens", {"name": "names2", "scope": "node:names2"})[1]["token"]
    with FakeNode(panel.url, token, "names2") as there:
        deadline = time.monotonic() + 20
        while there.restarts.keys() != {"names-rest"} or behind():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert said("names2") == "All assertions passed"
    want(media_services=[{**station, "max_listeners": 7}])
    assert said("names2").startswith("names2: the panel does not know it")
    # Nobody waits for one that is out of use.
    want(nodes=[{"name": "names2", "status": "disabled"}])
    assert said("names2") == "All assertions passed"
