"""streamfleet_media_user, and media users in a document of streamfleet_apply."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_media_user"


@pytest.fixture
def library(panel: Panel, owner: str) -> str:
    """A customer with a media library, of this test's own."""
    slug = f"{owner[:50].rstrip('-')}-fm"
    service = {"slug": slug, "customer": owner, "engine": "icecast", "autodj": {}, "disk_quota_mb": 500}
    status, answer = panel.request("POST", "/apply", {"document": {"media_services": [service]}})
    assert status == 200, answer
    return owner


def on_node(panel: Panel, customer: str) -> list[dict[str, Any]]:
    """The customer's log-ins that the node is told of."""
    told = panel.request("GET", "/nodes/base1/document")[1]["media_users"]
    return [item for item in told if item["customer"] == customer]


def test_from_nothing_to_nothing(runner: Runner, panel: Panel, library: str) -> None:
    me = {"customer": library, "name": "studio"}
    given, other = runner.canary("canary-media-password-1"), runner.canary("canary-media-password-2")
    created, _, _, keyed, limited, gone, _ = runner.steps(
        Step(MODULE, {**me, "password": given}),
        # on_create: a password for a log-in that exists is not even looked at
        Step(MODULE, {**me, "password": other}, changed=False),
        Step(MODULE, {**me, "password": given, "update_password": "always"}, changed=False),
        Step(MODULE, {**me, "password": other, "update_password": "always"}),
        Step(MODULE, {**me, "read_only": "yes", "protocols": ["sftp"], "label": "shop"}),
        Step(MODULE, {**me, "state": "absent"}),
        Step(MODULE, {**me, "state": "absent"}, changed=False),
    )
    first = created.real["media_user"]
    assert first["login"] == f"{library}.studio"
    assert (first["read_only"], first["protocols"], first["enabled"]) == (False, ["sftp", "ftps"], True)
    assert created.real["nodes"] == created.check["nodes"] != {}
    assert keyed.real["nodes"] == keyed.check["nodes"] != {}
    assert created.real["changes"]["password"]["after"] == "********"
    assert keyed.real["diff"][0]["after"] == {"password": "******** (changed)"}
    assert set(limited.real["changes"]) == {"read_only", "protocols", "label"}
    assert gone.real["operation"] == "deleted"
    assert on_node(panel, library) == []


def test_a_node_is_told_hashes_only(runner: Runner, panel: Panel, library: str) -> None:
    secret = runner.canary("canary-media-password-3")
    runner.steps(Step(MODULE, {"customer": library, "name": "studio", "password": secret}))
    told = on_node(panel, library)
    assert [(item["login"], item["disk_quota_mb"]) for item in told] == [(f"{library}.studio", 500)]
    assert told[0]["password"].startswith("$y$")
    runner.steps(Step(MODULE, {"customer": library, "name": "studio", "enabled": False}))
    assert on_node(panel, library) == []


def test_errors_name_field_value_and_fix(runner: Runner, library: str) -> None:
    short = runner.canary("canary")
    runner.steps(
        Step(MODULE, {"customer": library, "name": "a.b"}, error="name: has a form that is not accepted"),
        Step(MODULE, {"customer": "no-such", "name": "a"}, error="customer: there is no such customer"),
        Step(
            MODULE,
            {"customer": library, "name": "a", "password": short},
            error="password: has not 8 to 128 characters Fix: Choose 8 to 128 characters.",
        ),
    )
