"""What panel_transfer.yml refuses, what it takes a killed run for, and whom the web servers of both hosts turn to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import forked_ansible

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = """
- hosts: streamfleet_panel:streamfleet_panel_former
  gather_facts: false
  vars_files: [{root}/playbooks/vars/wiring.yml, {root}/playbooks/vars/panel_transfer.yml]
  vars: {{__streamfleet_panel_transfer_unknown: [], __streamfleet_panel_transfer_options: []}}
  tasks:
    - ansible.builtin.copy:
        dest: "{out}/{{{{ inventory_hostname }}}}.json"
        content: "{{{{ found | to_json }}}}"
      delegate_to: localhost
      vars:
        found:
          way: "{{{{ __streamfleet_panel_transfer_way }}}}"
          begun: "{{{{ __streamfleet_panel_transfer_begun | bool }}}}"
          refused: >-
            {{{{ _streamfleet_panel_transfer_refused | rejectattr('that', 'sameas', true)
                 | items2dict('name', 'message') }}}}
          elsewhere: "{{{{ _streamfleet_panel_elsewhere_here }}}}"
          believed: "{{{{ _streamfleet_panel_passed_on_by_here }}}}"
          left: "{{{{ _streamfleet_panel_has_left | bool }}}}"
"""
NOTHING = {
    "mark": {}, "installed": False, "database": "", "is_here": True, "database_mb": 0, "free_mb": 5000,
    "customers": 0, "services": 0, "nodes": [], "off_air": [], "installation": "", "reached": [],
}  # fmt: skip
PANEL = {**NOTHING, "installed": True, "database": "sqlite", "database_mb": 40, "customers": 3, "installation": "e"}
LEAVING = {"state": "leaving", "to": "panel2", "run": "a", "was": {}, "parting": True}
HERE = {"state": "here", "from": "panel1", "run": "a", "at": 1}
GONE = {"state": "gone", "to": "panel2", "run": "a", "at": 1}
NAME = "0.5.0-0123456789abcdef"


def seen(name: str, *addresses: str) -> dict[str, Any]:
    """As the module getent says it of one name."""
    told = {address: ["STREAM"] for address in addresses} or {name: None}
    return {"item": name, "ansible_facts": {"getent_ahosts": told}}


def told(folder: Path, there: dict[str, Any], here: dict[str, Any], **changes: dict[str, Any]) -> dict[str, Any]:
    """What both hosts say, with what was found on them, and variables of theirs by ``panel1`` and ``panel2``."""
    shared = {"streamfleet_panel_host": "panel.example.net"}
    hosts: dict[str, dict[str, Any]] = {
        "panel1": {
            "ansible_host": "one.example.net", "__streamfleet_panel_transfer_found": {"result": there},
            "__streamfleet_panel_mark": there["mark"], "__streamfleet_panel_transfer_lock": {"upgrade": False},
            "__streamfleet_panel_transfer_current": {"stat": {"lnk_source": f"/opt/streamfleet/releases/{NAME}"}},
            "__streamfleet_panel_transfer_named": {"stdout": json.dumps({"name": NAME})},
            "__streamfleet_panel_other": {"results": [seen("two.example.net", "2001:db8::9", "192.0.2.9")]},
            "__streamfleet_panel_transfer_sees": [["192.0.2.9"]],
        },
        "panel2": {
            "ansible_host": "two.example.net", "__streamfleet_panel_transfer_found": {"result": here},
            "__streamfleet_panel_mark": here["mark"],
            "__streamfleet_panel_other": {"results": [seen("one.example.net", "192.0.2.7", "127.0.0.1", "::1")]},
            "__streamfleet_panel_transfer_sees": [["192.0.2.7"]],
        },
    }  # fmt: skip
    for name, more in changes.items():
        hosts[name] |= more
    groups = {"streamfleet_panel": {"hosts": {"panel2": {}}}, "streamfleet_panel_former": {"hosts": {"panel1": {}}}}
    inventory = {"all": {"hosts": hosts, "vars": shared, "children": groups}}
    (folder / "hosts.json").write_text(json.dumps(inventory))
    (folder / "told.yml").write_text(PLAYBOOK.format(root=ROOT, out=folder))
    done = forked_ansible.playbook(["-i", str(folder / "hosts.json"), str(folder / "told.yml")])
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in hosts}


def test_one_that_can_be_moved_is_refused_for_nothing(tmp_path: Path) -> None:
    (found, new) = told(tmp_path, PANEL, NOTHING).values()
    assert found["refused"] == {}
    assert found["way"] == "move"
    assert not found["begun"]
    # Nobody passes on, and nobody is believed, before the panel is there.
    assert (found["elsewhere"], new["elsewhere"], new["believed"]) == ({}, {}, [])


def test_a_run_to_another_host_is_not_taken_back_for_a_third(tmp_path: Path) -> None:
    there = {**PANEL, "mark": {**LEAVING, "to": "panel9"}}
    refused = told(tmp_path, there, NOTHING)["panel1"]["refused"]
    assert list(refused) == ["it is on its way to nobody else"]
    assert "Put panel9 into streamfleet_panel again" in refused["it is on its way to nobody else"]


@pytest.mark.parametrize(
    ("there", "here", "way", "begun"),
    [
        ({**PANEL, "mark": LEAVING}, {**NOTHING, "mark": {"state": "coming", "from": "panel1"}}, "move", True),
        ({**PANEL, "mark": LEAVING}, {**PANEL, "mark": HERE}, "finish", False),
        ({**PANEL, "mark": GONE}, {**PANEL, "mark": HERE}, "done", False),
        # Put back from an image of before, and taken away.
        (PANEL, {**PANEL, "mark": HERE}, "beside", False),
        (NOTHING, {**PANEL, "mark": HERE}, "done", False),
    ],
    ids=["killed", "switched", "done", "two panels", "former host anew"],
)
def test_what_a_run_has_left_is_known(
    tmp_path: Path, there: dict[str, Any], here: dict[str, Any], way: str, begun: bool
) -> None:
    found = told(tmp_path, there, here)["panel1"]
    assert (found["way"], found["begun"]) == (way, begun)


def test_all_that_stands_in_its_way_is_named(tmp_path: Path) -> None:
    there = {**PANEL, "database": "mysql", "database_mb": 970}
    one = {
        "streamfleet_panel_domain_target": "apps.example.net",
        "streamfleet_panel_addresses": ["192.0.2.7"],
        "__streamfleet_panel_transfer_current": {"stat": {"lnk_source": "/opt/streamfleet/releases/0.4.0-01"}},
        "__streamfleet_panel_transfer_drained": {"files": [{"path": "/var/lib/streamfleet/upgrade/draining-n.1.json"}]},
        "__streamfleet_panel_transfer_sees": [[]],
    }
    refused = told(tmp_path, there, NOTHING, panel1=one)["panel1"]["refused"]
    assert sorted(refused) == [
        "an upgrade has left no nodes draining", "both hosts find each other", "both hosts have the same variables",
        "the database goes along", "the release is the same", "there is room",
    ]  # fmt: skip
    assert "has left n.1 draining" in refused["an upgrade has left no nodes draining"]
    assert "have streamfleet_panel_domain_target differently" in refused["both hosts have the same variables"]
    assert "Set streamfleet_node_address of panel2" in refused["both hosts find each other"]
    assert "has 0.4.0-01," in refused["the release is the same"]
    assert "5050 MB" in refused["there is room"]


def test_a_server_that_the_role_has_made_goes_along_and_one_of_the_operators_does_not(tmp_path: Path) -> None:
    there, name = {**PANEL, "database": "postgresql"}, "the database goes along"
    both = {"streamfleet_panel_database_install": True}
    assert told(tmp_path, there, NOTHING, panel1=both, panel2=both)["panel1"]["refused"] == {}
    assert name in told(tmp_path, there, NOTHING)["panel1"]["refused"]


def test_hosts_in_each_others_group_are_told_so(tmp_path: Path) -> None:
    refused = told(tmp_path, NOTHING, PANEL)["panel1"]["refused"]
    for name in ("there is a panel", "the new host has no panel of its own"):
        assert "hange them round" in refused[name] or "change them round" in refused[name]
        assert "ninstall" not in refused[name]


def test_it_is_passed_on_to_an_address_and_the_former_hosts_are_believed_until_the_release(tmp_path: Path) -> None:
    trusted = {"streamfleet_certificates_source": "acme", "streamfleet_certificates_trusted": "PEM"}
    found = told(tmp_path, {**PANEL, "mark": GONE}, {**PANEL, "mark": HERE}, panel1=trusted, panel2=trusted)
    there = {"http_port": 80, "https_port": 443, "ca": "/etc/streamfleet/ca/panel-elsewhere.pem"}
    assert found["panel1"]["elsewhere"] == {"address": "192.0.2.9", **there}
    assert found["panel2"]["believed"] == ["192.0.2.7"]
    assert not found["panel1"]["left"]
    mark = {"state": "released", "to": "panel2", "at": 1}
    more = {"__streamfleet_panel_former_marked": {"result": mark}}
    found = told(tmp_path, {**NOTHING, "mark": mark}, {**PANEL, "mark": HERE}, panel2=more)
    assert found["panel2"]["believed"] == []
    assert found["panel1"]["elsewhere"] == {}
    assert found["panel1"]["left"]


def test_a_name_that_looks_like_an_address_and_is_not_resolved_is_none(tmp_path: Path) -> None:
    other = {"__streamfleet_panel_other": {"results": [seen("cafe.de")]}}
    found = told(tmp_path, {**PANEL, "mark": GONE}, {**PANEL, "mark": HERE}, panel1=other, panel2=other)
    assert found["panel1"]["elsewhere"]["address"] == ""
    assert found["panel2"]["believed"] == []


def test_the_play_that_makes_the_new_host_keeps_the_former_one() -> None:
    """Where a play loses its last host, Ansible ends there, and nothing would have the former host go on."""
    plays = yaml.safe_load((ROOT / "playbooks/panel_transfer.yml").read_text())
    look, bring, after = plays[:3]
    assert bring["hosts"] == look["hosts"]
    assert "streamfleet_panel_former" in bring["hosts"]
    assert not bring.get("any_errors_fatal")
    assert all("_streamfleet_is_panel" in task["when"] for task in bring["tasks"])
    names = [task["name"] for task in after["tasks"]]
    assert names.index("Have the panel go on here") < names.index("Pass it on")


def test_nothing_is_taken_back_on_the_former_host_before_the_new_one_has_put_away() -> None:
    for name in ("first", "take_back"):
        tasks = yaml.safe_load((ROOT / f"playbooks/tasks/panel_transfer_{name}.yml").read_text())
        steps = [task["streamfleet_panel_transfer"]["step"] for task in tasks if "streamfleet_panel_transfer" in task]
        assert steps[: steps.index("back")] == {"first": ["prepared"], "take_back": ["away", "mark"]}[name]


@pytest.mark.parametrize(
    ("panels", "formers", "asked", "refused"),
    [
        (["panel1"], [], {"panel_transfer_lost": "panel2", "panel_transfer_confirm": "yes"}, []),
        (["panel1"], [], {"panel_transfer_lost": "panel2"}, []),
        (["panel1"], [], {}, ["one host goes to one"]),
        (["panel2"], ["panel1"], {"panel_transfer_lost": "panel2"}, ["the panel is to go on where it was"]),
        (["panel1"], [], {"panel_transfer_lost": "panel1"}, ["the panel is to go on where it was"]),
        (
            ["panel1"],
            [],
            {"panel_transfer_lost": "panel2", "panel_transfer_undo": "true"},
            ["one thing is asked for of a lost host"],
        ),
    ],
)
def test_a_host_is_lost_only_where_the_panel_is_to_be_on_the_other_one(
    panels: list[str], formers: list[str], asked: dict[str, str], refused: list[str], tmp_path: Path
) -> None:
    groups = {"streamfleet_panel": panels, "streamfleet_panel_former": formers}
    children = {name: {"hosts": {host: {} for host in hosts}} for name, hosts in groups.items() if hosts}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"children": children}}))
    play = yaml.safe_load(PLAYBOOK.format(root=ROOT, out=tmp_path))
    play[0]["hosts"] = ":".join(name for name in groups if groups[name])
    names = "{{ _streamfleet_panel_transfer_asked | rejectattr('that', 'sameas', true) | map(attribute='name') }}"
    play[0]["tasks"][0]["vars"] = {"found": names}
    (tmp_path / "asked.yml").write_text(yaml.safe_dump(play))
    done = forked_ansible.playbook(
        ["-i", str(tmp_path / "hosts.json"), "-e", json.dumps(asked), str(tmp_path / "asked.yml")]
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for host in [*panels, *formers]:
        assert json.loads((tmp_path / f"{host}.json").read_text()) == refused
