"""The action on the controller: what it renders, hides and reports, and how it fails without a panel."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from action_plugins import streamfleet_converge as action
from scripts import forked_ansible
from tests.doubles.panel import PanelDouble, dj, document, station

A, B = ("rock-fm", 200001, 8100), ("jazz-fm", 200002, 8101)


def test_one_service_that_cannot_be_rendered_fails_alone() -> None:
    doc = document("n1", 7, station(*A, name="a\nb", generation=5), station(*B))
    instances, failed = action.render_all(doc)
    assert [instance["slug"] for instance in instances] == ["jazz-fm"]
    assert failed == {
        "rock-fm": {"message": failed["rock-fm"]["message"], "generation": 5, "domains": [], "way": "listen"},
    }
    assert failed["rock-fm"]["message"].startswith("name: 'U+000A'")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slug": "../etc"}, "slug"),
        ({"slug": "UPPER"}, "slug"),
        ({"slug": "a\n"}, "slug"),
        ({"slug": "a" * 64}, "slug"),
        ({"slug": None}, "slug"),
        ({"uid": 0}, "uid"),
        ({"uid": "200001"}, "uid"),
        ({"port": 80}, "port"),
        ({"port": "8100"}, "port"),
        ({"engine": "../web"}, "engine"),
        ({"state": "on fire"}, "state"),
    ],
)
def test_a_document_that_makes_no_sense_is_refused_by_field(change: dict[str, Any], field: str) -> None:
    service = {**station(*A), **change}
    instances, failed = action.render_all(document("n1", 1, service, station(*B)))
    assert [instance["slug"] for instance in instances] == ["jazz-fm"]
    assert [item["message"].partition(":")[0] for item in failed.values()] == [field]


def test_a_slug_twice_is_refused() -> None:
    _, failed = action.render_all(document("n1", 1, station(*A), station(*A)))
    assert "twice" in failed["rock-fm"]["message"]


def test_a_fault_in_a_renderer_tells_no_secret() -> None:
    service = station(*A)
    service["settings"] = {"mounts": service["credentials"]["source_password"]}
    _, failed = action.render_all(document("n1", 1, service))
    assert "please report" in failed["rock-fm"]["message"]
    assert "secret" not in failed["rock-fm"]["message"]


def test_all_credentials_are_secrets_the_longest_first() -> None:
    service = station(*A, credentials={"source_password": "abcd", "admin_password": "abcdefgh"})
    service["previous_credentials"] = {"source_password": [{"value": "previous", "expires": None}]}
    service["djs"] = [dj("anna")]
    secrets = action.secrets_of(document("n1", 1, service))
    assert set(secrets) == {"abcd", "abcdefgh", "previous", "autodj-rock-fm-secret", "secret-of-anna"}
    assert secrets[-1] == "abcd"


def converge(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run playbooks/converge.yml for a node that nobody can log in to: none of these cases may get as far as that."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        json.dumps({"streamfleet_nodes": {"hosts": {"n1": {"ansible_host": "127.0.0.1", "ansible_port": 1}}}})
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("STREAMFLEET_")}
    return forked_ansible.playbook(["-i", str(inventory), "playbooks/converge.yml"], env=clean | environment)


def test_faults_before_the_node_is_reached_are_clear(tmp_path: Path) -> None:
    double = PanelDouble()
    with double.serving():
        good = double.environment()
        cases = [
            ({}, "url (STREAMFLEET_URL) is not set"),
            ({"STREAMFLEET_URL": double.url}, "token (STREAMFLEET_TOKEN) is not set"),
            ({**good, "STREAMFLEET_URL": "http://127.0.0.1:1"}, "refused the connection"),
            ({**good, "STREAMFLEET_TOKEN": "sft_wrong"}, "Set token (STREAMFLEET_TOKEN)"),
            ({**good, "STREAMFLEET_URL": "https://127.0.0.1:1", "STREAMFLEET_CA": "/nonexistent"}, "does not exist"),
            (good, "does not know this node"),
        ]
        for environment, message in cases:
            done = converge(tmp_path, **environment)
            output = done.stdout + done.stderr
            assert done.returncode == 2, output
            assert message in " ".join(output.split()), output
            assert "Traceback" not in output
            assert double.token not in output
    assert double.reports == []


def test_a_node_that_is_unreachable_is_reported_as_such(tmp_path: Path) -> None:
    double = PanelDouble()
    double.documents["n1"] = document("n1", 1, station(*A))
    with double.serving():
        done = converge(tmp_path, **double.environment())
    output = done.stdout + done.stderr
    assert done.returncode == 4, output
    assert "unreachable=1" in output
    assert "secret" not in output
    assert double.reports == []


def test_a_document_that_was_read_already_is_for_check_mode_only(tmp_path: Path) -> None:
    play = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "tasks": [{"streamfleet_converge": {"node": "n1", "document": document("n1", 1)}}],
        }
    ]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    done = forked_ansible.playbook([str(tmp_path / "play.yml")], env={**os.environ}, timeout=60)
    assert done.returncode != 0
    assert "document: is for check mode; leave it out" in done.stdout
