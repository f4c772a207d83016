"""The worked inventories: every one is valid, and the playbooks' wiring makes of it what it says.

Tests playbooks: install.yml site.yml self_check.yml uninstall.yml.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager

from scripts import forked_ansible

ROOT = Path(__file__).resolve().parents[2]
ENGINES = yaml.safe_load((ROOT / "engines.yml").read_text())["engines"]
COMPANIONS = yaml.safe_load((ROOT / "engines.yml").read_text())["companions"]
NAMES = ["demo", "local", "production", "staging"]
ENVIRONMENT = {
    **os.environ,
    "STREAMFLEET_DATABASE_PASSWORD": "p@ss/w'rd",
    "STREAMFLEET_ADMIN_PASSWORD": "12345",
    "STREAMFLEET_EMAIL_PASSWORD": "x",
}


def play(inventory: Path | str, *arguments: str, playbook: Path = Path("playbooks/install.yml")) -> Any:
    own = ["-i", str(inventory), "-e", f"ansible_python_interpreter={sys.executable}"]
    return forked_ansible.playbook([*own, str(playbook), *arguments], env=ENVIRONMENT)


def tree_of(folder: Path) -> Path:
    """Links to all of the repository, and its playbooks beside which one may be written: other tests read those."""
    (folder / "playbooks").mkdir(parents=True)
    for source, target in ((ROOT, folder), (ROOT / "playbooks", folder / "playbooks")):
        for path in source.iterdir():
            if path.name != "playbooks":
                (target / path.name).symlink_to(path)
    return folder


def test_the_four_are_there() -> None:
    assert sorted(path.name for path in (ROOT / "inventories").iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_files_of_variables_are_there_and_hold_no_password(name: str) -> None:
    folder = ROOT / "inventories" / name / "group_vars" / "all"
    assert yaml.safe_load((folder / "main.yml").read_text())
    vault = yaml.safe_load((folder / "vault.yml").read_text())
    for key, value in vault.items():
        assert value == "" or "lookup(" in value, f"{key} looks like a password in the repository"


#: What each host has is made on the host; one task writes it down for all, which starts one module and not one a host.
WIRING = """
- name: Show the wiring
  hosts: streamfleet_panel:streamfleet_nodes
  connection: local
  gather_facts: false
  vars_files: [{root}/playbooks/vars/wiring.yml]
  vars: {{playbook_dir: {root}/playbooks}}
  tasks:
    - name: Make
      ansible.builtin.set_fact:
        __streamfleet_wiring: >-
          {{{{ {{'roles': _streamfleet_roles, 'packages': _streamfleet_packages,
                'certificates': _streamfleet_certificates_here, 'openings': _streamfleet_openings,
                'guards': _streamfleet_guards, 'fleet': _streamfleet_fleet, 'others': _streamfleet_others_here,
                'at': [streamfleet_node_address | default(''),
                  ansible_host if ansible_host != inventory_hostname else ''],
                'known': streamfleet_panel_addresses | default([]) + [
                  streamfleet_stream_host | default(''), streamfleet_node_address | default(''),
                  ansible_host if ansible_host != inventory_hostname else '']}} }}}}
    - name: Show
      ansible.builtin.copy:
        dest: {out}
        mode: "0600"
        content: >-
          {{{{ {{'groups': groups, 'hosts': dict(ansible_play_hosts_all
                | zip(ansible_play_hosts_all | map('extract', hostvars, '__streamfleet_wiring')))}} | to_json }}}}
      run_once: true
"""


@pytest.mark.parametrize("name", NAMES)
def test_groups_are_complete_and_each_host_is_given_its_roles_packages_and_certificates(
    name: str, tmp_path: Path
) -> None:
    tree, out = tree_of(tmp_path / "tree"), tmp_path / "wiring.json"
    playbook = tree / "playbooks/wiring.yml"
    playbook.write_text(WIRING.format(root=tree, out=out))
    extra = ["-e", json.dumps({"ansible_connection": "local", "ansible_become": False})]
    done = play(f"inventories/{name}/hosts.yml", *extra, playbook=playbook)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    groups, hosts = {group: set(members) for group, members in found["groups"].items()}, found["hosts"]
    assert groups["streamfleet_panel"]
    assert set().union(*(groups.get(engine, set()) for engine in ENGINES)) == groups["streamfleet_nodes"]
    assert set(hosts) == groups["streamfleet_panel"] | groups["streamfleet_nodes"]
    for host, wiring in hosts.items():
        is_panel = host in groups["streamfleet_panel"]
        engines = [engine for engine in ENGINES if host in groups.get(engine, set())]
        assert ("panel" in wiring["roles"]) == ("worker" in wiring["roles"]) == is_panel
        assert [role for role in wiring["roles"] if role in ENGINES] == engines
        companions = [companion for companion in COMPANIONS if host in groups.get(companion, set())]
        assert [role for role in wiring["roles"] if role in COMPANIONS] == companions
        assert ("liquidsoap" in wiring["packages"]) == ("autodj" in companions)
        assert {"nginx", "nftables", "python3-cryptography"} <= set(wiring["packages"])
        assert ("icecast2" in wiring["packages"]) == ("icecast" in engines)
        assert ("libnginx-mod-rtmp" in wiring["packages"]) == ("nginx_rtmp" in engines)
        assert ("openssh-server" in wiring["packages"]) == bool(engines)
        assert ("postgresql" in wiring["packages"]) == (is_panel and name == "staging")
        assert ("firewall" in wiring["roles"]) == (host in groups.get("hardening", set()))
        ports = {port for opening in wiring["openings"] for port in opening["ports"]}
        assert {"80", "443"} <= ports
        assert ("1935" in ports) == ("nginx_rtmp" in engines)
        assert ("1936" in ports) == ("nginx_rtmp" in engines)
        assert any("-" in port for port in ports) == bool(engines)
        assert ("21" in ports) == ("2022" in ports) == ("20000-20999" in ports) == ("file_transfer" in wiring["roles"])
        assert ("fail2ban" in wiring["roles"]) == (host in groups.get("hardening", set()))
        guards = {guard["name"]: guard["ports"] for guard in wiring["guards"]}
        # On a node, listeners come by the panel's ports.
        assert ("panel" in guards) == (is_panel and not engines)
        assert set(guards) - {"panel"} == {"nginx_rtmp", "autodj", "file_transfer"} & set(wiring["roles"])
        assert guards.get("nginx_rtmp", ["1935", "1936"]) == ["1935", "1936"]
        # Not those for data: uploads of others behind an address go on.
        assert guards.get("file_transfer", ["21", "2022"]) == ["21", "2022"]
        assert set(guards.get("autodj", [])) <= {"8100-8199", "10000-19999"} & ports
        # Nor from file transfer: a node from where services were transferred refuses right passwords.
        still = {guard["name"] for guard in wiring["guards"] if not guard["grows"]}
        assert still == {"autodj", "file_transfer"} & set(wiring["roles"])
        # Whatever name or address another host sees of it.
        assert {each for other in hosts.values() for each in other["known"] if each} <= set(wiring["fleet"])
        # Where the other hosts are, but for their names, which may change.
        others = [other for at, other in hosts.items() if at != host]
        assert (
            {each for other in others for each in other["at"] if each} <= set(wiring["others"]) <= set(wiring["fleet"])
        )
        names = [entry["name"] for entry in wiring["certificates"]]
        assert not {name for other in others for name in _names(other)} & set(wiring["others"])
        acme = name == "production"
        # The panel's own programs ask it by an address, which no ACME directory signs.
        assert ("localhost" in names) == (is_panel and acme)
        assert len(names) == is_panel + bool(engines) + ("localhost" in names)
        assert ("lego" in wiring["packages"]) == acme
        assert {entry["source"] for entry in wiring["certificates"] if entry["name"] != "localhost"} == {
            "acme" if acme else "authority"
        }
        assert len(set(names)) == len(names)


def _names(wiring: dict[str, Any]) -> set[str]:
    return {entry["name"] for entry in wiring["certificates"]}


def variables(name: str, host: str) -> dict[str, Any]:
    """What a shipped inventory says of a host; of localhost, too, which is in none."""
    loader = DataLoader()
    source = InventoryManager(loader=loader, sources=[str(ROOT / "inventories" / name / "hosts.yml")])
    found = source.get_host(host)
    assert found is not None
    return dict(VariableManager(loader=loader, inventory=source).get_vars(host=found, include_hostvars=False))


@pytest.mark.parametrize("name", NAMES)
def test_the_controller_does_not_become_root_by_an_inventory(name: str) -> None:
    """A variable is stronger than ``become: false`` of a task, and in an execution environment there is no sudo."""
    assert [key for key in variables(name, "localhost") if re.match(r"ansible_(become|sudo)", key)] == []


#: What needs no root: it runs on the controller, or becomes root by itself.
WITHOUT_ROOT = {
    "ansible.builtin.assert",
    "ansible.builtin.debug",
    "ansible.builtin.set_fact",
    "streamfleet_media_folder",
}


@pytest.mark.parametrize("path", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_every_play_of_hosts_becomes_root_and_no_task_of_the_controller_does(path: Path) -> None:
    for play in yaml.safe_load(path.read_text()):
        if play.get("hosts", "localhost") == "localhost" or play.get("become") is True:
            continue
        assert play["gather_facts"] is False, play["name"]
        for task in play["tasks"]:
            assert WITHOUT_ROOT & set(task), task["name"]


def test_every_task_for_the_controller_says_that_it_does_not_become_root() -> None:
    seen = 0
    for path in [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]:
        for task in delegated(yaml.safe_load(path.read_text()) or []):
            seen += 1
            assert task.get("become") is False, f"{path.relative_to(ROOT)}: {task['name']}"
    assert seen > 5


def delegated(part: Any) -> Iterator[dict[str, Any]]:
    """Tasks for the controller, wherever they are in a file."""
    if isinstance(part, dict):
        if part.get("delegate_to") == "localhost":
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from delegated(one)


def inventory(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hosts.yml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "all: {children: {streamfleet_nodes: {hosts: {n1: {streamfleet_stream_host: s.example.net}}}, "
            "icecast: {hosts: {n1: }}}}",
            "no host in the group streamfleet_panel",
        ),
        (
            "all: {children: {streamfleet_panel: {hosts: {p1: {streamfleet_panel_host: p.example.net}}}, "
            "icecast: {hosts: {n1: }}}}",
            "not in streamfleet_nodes",
        ),
        (
            "all: {children: {streamfleet_panel: {hosts: {p1: {streamfleet_panel_host: p.example.net}}}, "
            "streamfleet_nodes: {hosts: {n1: }}}}",
            "in no engine's group",
        ),
        (
            "all: {children: {streamfleet_panel: {hosts: {p1: {streamfleet_panel_host: p.example.net}}}, "
            "streamfleet_nodes: {hosts: {n1: {streamfleet_stream_host: s.example.net}}}, nginx_rtmp: {hosts: {n1: }}, "
            "autodj: {hosts: {n1: }}}}",
            "it is in autodj, but in no group of an engine that this goes with",
        ),
        ("all: {children: {streamfleet_panel: {hosts: {p1: }}}}", "streamfleet_panel_host is not set"),
        (
            "all: {children: {streamfleet_panel: {hosts: {p1: {streamfleet_panel_host: p.example.net}}}, "
            "streamfleet_nodes: {hosts: {n1: }}, icecast: {hosts: {n1: }}}}",
            "streamfleet_stream_host is not set",
        ),
    ],
)
def test_an_inventory_that_cannot_work_is_refused_before_any_host_is_touched(
    tmp_path: Path, text: str, said: str
) -> None:
    done = play(inventory(tmp_path, text))
    assert done.returncode != 0
    assert said in done.stdout
    assert "PLAY [Install]" not in done.stdout or "Gathering Facts" not in done.stdout


def test_uninstalling_asks_for_a_yes(tmp_path: Path) -> None:
    hosts = inventory(tmp_path, "all: {children: {streamfleet_panel: {hosts: {p1: {ansible_connection: local}}}}}")
    for word in ("", "p2", "no"):
        done = play(hosts, "-e", f"streamfleet_uninstall_confirm={word}", playbook=Path("playbooks/uninstall.yml"))
        assert done.returncode != 0
        assert "-e streamfleet_uninstall_confirm=p1" in done.stdout
        assert done.stdout.count("TASK [") == 1
