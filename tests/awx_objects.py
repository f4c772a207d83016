"""The objects of awx/ as playbooks/awx.yml gives them to the modules of awx.awx, and what these modules take."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from scripts import forked_ansible

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "streamfleet_awx_project_url": "https://git.example.net/streaming.git",
    "streamfleet_awx_execution_environment_image": "registry.example.net/streamfleet-ee:1",
    "streamfleet_awx_panel_url": "https://panel.example.net",
    "streamfleet_awx_panel_token": "sft_0",
    "streamfleet_awx_hosts_user": "deploy",
    "streamfleet_awx_hosts_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n",
    "streamfleet_awx_vault": "yes",
    "streamfleet_awx_vault_password": "secret",
    "streamfleet_awx_controller_url": "https://awx.example.net",
    "streamfleet_awx_controller_token": "secret",
}


def play() -> dict[str, Any]:
    """The play of playbooks/awx.yml."""
    (found,) = yaml.safe_load((ROOT / "playbooks" / "awx.yml").read_text())
    return dict(found)


def tasks() -> dict[str, tuple[str, str]]:
    """Module of awx.awx → (its arguments, its loop), as the tasks of the playbook have them."""
    return {
        next(key for key in task if key.startswith("awx.awx.")): (task["args"], task["loop"])
        for task in play()["tasks"]
        if any(key.startswith("awx.awx.") for key in task)
    }


@cache
def objects() -> dict[str, list[dict[str, Any]]]:
    """Module of awx.awx → the arguments that it is given, one after another. Ansible itself makes them."""
    folder = ROOT / "playbooks"
    show = {
        "name": "Show",
        "ansible.builtin.copy": {
            "dest": "{{ out }}",
            "mode": "0600",
            "content": "{{ {"
            + ", ".join(f"'{module}': {_made(*task)}" for module, task in tasks().items())
            + "} | to_json }}",
        },
    }
    content = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(folder / path) for path in play()["vars_files"]],
        "vars": {"_streamfleet_awx_folder": str(ROOT / "awx")},
        "tasks": [show],
    }
    with tempfile.TemporaryDirectory() as name:
        playbook, out = Path(name) / "show.yml", Path(name) / "objects.json"
        playbook.write_text(json.dumps([content]))
        extra = {**SETTINGS, "out": str(out), "ansible_python_interpreter": sys.executable}
        done = forked_ansible.playbook(
            ["-i", "localhost,", "-e", json.dumps(extra), str(playbook)],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stdout + done.stderr, done.stdout + done.stderr
        made = json.loads(out.read_text())
    return {
        module: [item | ({"inputs": added[number]} if added else {}) for number, item in enumerate(items)]
        for module, (items, added) in made.items()
    }


def _made(arguments: str, loop: str) -> str:
    """An expression for the pairs (item, what is added to it) of a task."""
    items = loop.removeprefix("{{ ").removesuffix(" }}")
    added = "[]"
    if arguments != "{{ item }}":
        # What a credential has already is not known here.
        given = "_streamfleet_awx_inputs_there | combine(_streamfleet_awx_inputs[item.name])"
        assert arguments == f"{{{{ item | combine({{'inputs': {given}}}) }}}}", arguments
        added = f"({items}) | map(attribute='name') | map('extract', _streamfleet_awx_inputs) | list"
    return f"[{items}, {added}]"


class _Called(Exception):
    def __init__(self, spec: dict[str, Any], rules: dict[str, Any]) -> None:
        self.spec, self.rules = spec, rules


@cache
def argument_spec(module: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(Argument spec with the connection's options, further rules) of a module of awx.awx, by its full name."""
    base = "ansible_collections.awx.awx.plugins"
    loaded = importlib.import_module(f"{base}.modules.{module.removeprefix('awx.awx.')}")
    connection = importlib.import_module(f"{base}.module_utils.controller_api").ControllerModule.AUTH_ARGSPEC

    def init(_self: Any, argument_spec: dict[str, Any], **rules: Any) -> None:
        raise _Called({**connection, **argument_spec}, rules)

    with mock.patch.object(loaded.ControllerAPIModule, "__init__", init):
        try:
            loaded.main()
        except _Called as called:
            return called.spec, called.rules
    raise AssertionError(f"{module} makes no module")
