"""The double of AWX refuses what AWX refuses; what it takes, it keeps and gives back."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.doubles.awx.server import Awx


@pytest.fixture
def awx() -> Iterator[Awx]:
    with Awx(["playbooks/site.yml"]) as running:
        yield running


def ask(awx: Awx, method: str, path: str, data: Any = None, token: str | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{awx.url}/api/v2/{path}",
        data=None if data is None else json.dumps(data).encode(),
        method=method,
        headers={"Authorization": f"Bearer {token or awx.token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def made(awx: Awx, kind: str, /, **fields: Any) -> int:
    status, answer = ask(awx, "POST", f"{kind}/", fields)
    assert status == 201, answer
    return int(answer["id"])


TYPE = {
    "name": "t",
    "kind": "cloud",
    "inputs": {"fields": [{"id": "token", "label": "Token", "type": "string", "secret": True}]},
    "injectors": {"env": {"TOKEN": "{{ token }}"}},
}
RULE = "DTSTART:20260101T000000Z RRULE:FREQ=DAILY;INTERVAL=1"


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("organizations", {}, "This field is required"),
        ("organizations", {"name": "o", "colour": "red"}, "nothing is known of colour"),
        ("organizations", {"name": "o", "max_hosts": "many"}, "'many' is not of type int"),
        ("projects", {"name": "p", "organization": 999}, "Invalid pk"),
        ("credential_types", {**TYPE, "kind": "ssh"}, "Must be 'cloud' or 'net'"),
        ("credential_types", {**TYPE, "injectors": {"env": {"TOKEN": "{{ tokne }}"}}}, "is undefined"),
        ("credential_types", {**TYPE, "injectors": {"env": {"ANSIBLE_X": "{{ token }}"}}}, "is not allowed"),
        ("credential_types", {**TYPE, "inputs": {"fields": [{"id": "token"}]}}, "is no field"),
    ],
)
def test_what_is_refused(awx: Awx, kind: str, fields: dict[str, Any], said: str) -> None:
    status, answer = ask(awx, "POST", f"{kind}/", fields)
    assert (status, said in json.dumps(answer)) == (400, True), answer
    assert fields.get("name") not in awx.named(kind)


def test_nobody_is_let_in_without_the_token(awx: Awx) -> None:
    assert ask(awx, "GET", "organizations/", token="another")[0] == 401
    assert ask(awx, "GET", "settings/")[0] == 404


def test_a_job_template_has_a_playbook_of_its_project_and_one_credential_of_a_type(awx: Awx) -> None:
    organization = made(awx, "organizations", name="o")
    project = made(awx, "projects", name="p", organization=organization, scm_type="git", scm_url="https://x")
    inventory = made(awx, "inventories", name="i", organization=organization)
    plain = {"name": "j", "project": project, "inventory": inventory, "playbook": "playbooks/site.yml"}
    for wrong in ({"playbook": "playbooks/sites.yml"}, {"inventory": None}, {"job_type": "scan"}):
        assert ask(awx, "POST", "job_templates/", {**plain, **wrong})[0] == 400, wrong
    template = made(awx, "job_templates", **plain)
    assert ask(awx, "POST", "job_templates/", plain)[0] == 400, "a second of this name"
    kind = made(awx, "credential_types", **TYPE)
    one, two = (
        made(awx, "credentials", name=name, organization=organization, credential_type=kind, inputs={"token": "x"})
        for name in ("one", "two")
    )
    assert ask(awx, "POST", f"job_templates/{template}/credentials/", {"id": one})[0] == 204
    assert ask(awx, "POST", f"job_templates/{template}/credentials/", {"id": two})[0] == 400
    assert ask(awx, "GET", f"credentials/{one}/")[1]["inputs"] == {"token": "$encrypted$"}
    for rule, status in ((RULE, 201), (RULE.replace("DTSTART:20260101T000000Z ", ""), 400), (RULE[:-11], 400)):
        fields = {"name": f"s{status}", "unified_job_template": template, "rrule": rule}
        assert ask(awx, "POST", "schedules/", fields)[0] == status, rule
    assert ask(awx, "GET", "job_templates/?name=j&colour=red")[0] == 400


def test_a_project_knows_the_playbooks_that_its_last_update_has_found(awx: Awx) -> None:
    organization = made(awx, "organizations", name="o")
    project = made(awx, "projects", name="p", organization=organization, scm_type="git", scm_url="https://x")
    inventory = made(awx, "inventories", name="i", organization=organization)
    awx.push(["playbooks/site.yml", "playbooks/new.yml"])
    before = ask(awx, "GET", f"projects/{project}/")[1]["scm_revision"]
    assert ask(awx, "PATCH", f"projects/{project}/", {"description": "d"})[0] == 200
    new = {"name": "j", "project": project, "inventory": inventory, "playbook": "playbooks/new.yml"}
    assert ask(awx, "POST", "job_templates/", new)[0] == 400
    status, update = ask(awx, "POST", f"projects/{project}/update/")
    assert (status, update["scm_revision"] != before) == (202, True)
    assert ask(awx, "GET", f"project_updates/{update['id']}/")[1]["status"] == "successful"
    made(awx, "job_templates", **new)


def test_an_input_that_a_type_does_not_have_is_refused(awx: Awx) -> None:
    kind = awx.named("credential_types")["Machine"]["id"]
    organization = made(awx, "organizations", name="o")
    for wrong in ({"token": "x"}, {"username": 1}, {"ssh_key_data": "no key"}):
        fields = {"name": "c", "credential_type": kind, "organization": organization, "inputs": wrong}
        assert ask(awx, "POST", "credentials/", fields)[0] == 400, wrong
