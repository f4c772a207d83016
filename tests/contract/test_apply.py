"""streamfleet_apply."""

from __future__ import annotations

import json
from pathlib import Path

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_apply"


def document(name: str, **more: object) -> dict[str, object]:
    return {
        "media_services": [{"slug": f"{name}-fm", "customer": name, "engine": "icecast", **more}],
        "customers": [{"username": name, "password": f"canary-apply-{name}"}],
    }


def test_one_document_all_the_way(runner: Runner, panel: Panel) -> None:
    runner.canary("canary-apply-ada")
    runner.canary("canary-apply-source")
    created, updated, emptied, deleted, *_ = runner.steps(
        Step(MODULE, {"document": document("ada", source_password="canary-apply-source")}),
        Step(MODULE, {"document": document("ada", max_listeners=5)}),
        Step(MODULE, {"document": {"media_services": [{"slug": "ada-fm", "max_listeners": None}]}}),
        Step(MODULE, {"document": {"customers": [{"username": "ada", "state": "absent"}]}}),
        Step(MODULE, {"document": {}}, changed=False),
        Step(MODULE, {"document": json.dumps({"customers": [{"username": "ada"}]})}),
    )
    # In the document's order, whatever depends on what.
    assert [(item["kind"], item["action"]) for item in created.real["results"]] == [
        ("media_service", "created"),
        ("customer", "created"),
    ]
    assert created.real["summary"] == {"created": 2, "updated": 0, "unchanged": 0, "deleted": 0}
    assert [entry["before_header"] for entry in created.real["diff"]] == ["media service ada-fm", "customer ada"]
    assert created.again["results"] == []
    assert created.again["summary"]["unchanged"] == 2
    assert created.again["diff"] == []
    assert updated.real["diff"] == [
        {
            "before_header": "media service ada-fm",
            "after_header": "media service ada-fm",
            "before": {"max_listeners": None},
            "after": {"max_listeners": 5},
        }
    ]
    assert updated.real["nodes"] == updated.check["nodes"] != {}
    assert emptied.real["results"][0]["changes"] == {"max_listeners": {"before": 5, "after": None}}
    assert [(item["key"], item["action"]) for item in deleted.real["results"]] == [
        ("ada", "deleted"),
        ("ada-fm", "deleted"),
    ]


def test_files_and_ownership(runner: Runner, panel: Panel, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    fleet.mkdir()
    (fleet / "people.yml").write_text("customers:\n  - username: bea\n  - username: ben\n")
    (fleet / "radio.json").write_text(
        json.dumps({"media_services": [{"slug": "bea-fm", "customer": "bea", "engine": "icecast"}]})
    )
    owned = {"files": [str(fleet)], "label": "fleet-of-b"}
    panel.request("POST", "/apply", {"document": {"customers": [{"username": "not-labelled"}]}})
    runner.steps(
        Step(MODULE, {**owned, "document": {"customers": [{"username": "bob"}]}}),
        # Without prune nothing goes that has left the document.
        Step(MODULE, owned, changed=False),
        Step(
            MODULE,
            {**owned, "prune": True, "max_delete": 0},
            error="prune would delete 1 objects, max_delete is 0; nothing was changed",
        ),
        Step(MODULE, {**owned, "prune": True}),
        Step(
            MODULE,
            {"files": [str(fleet)], "prune": True},
            error="prune is True but all of the following are missing: label",
        ),
    )
    assert panel.request("GET", "/customers/bob")[0] == 404
    assert panel.request("GET", "/customers/not-labelled")[0] == 200
    (fleet / "people.yml").write_text(
        "customers:\n  - username: bea\n    email: wrong\n  - username: ben\n    colour: red\n"
    )
    (result,) = runner.steps(
        Step(MODULE, owned, error=f"{fleet}/people.yml: customers[0].email: is not an e-mail address")
    )
    assert f"{fleet}/people.yml: customers[1].colour" in result.real["msg"], "all faults are listed"
    assert {error["path"] for error in result.real["errors"]} == {
        f"{fleet}/people.yml: customers[0].email",
        f"{fleet}/people.yml: customers[1].colour",
    }


def test_bad_input(runner: Runner, panel: Panel, tmp_path: Path) -> None:
    secret = runner.canary("canary-bad-input")
    many = tmp_path / "many.json"
    many.write_text(json.dumps({"customers": [{"username": f"u{n}"} for n in range(100_001)]}))
    large = tmp_path / "large.json"
    large.write_text(json.dumps({"customers": [{"username": "large", "name": "x" * (33 << 20)}]}))
    broken = tmp_path / "broken.yml"
    broken.write_text("customers: [")
    runner.steps(
        Step(MODULE, {"document": {"customers": "alice"}}, error="customers: must be a list, not str"),
        Step(
            MODULE,
            {"document": {"clients": []}},
            error="clients: is not a list of a document Fix: Use one of reseller_plans",
        ),
        Step(MODULE, {"document": f"password={secret}"}, error="document: must be a mapping, not str"),
        Step(MODULE, {}, error="one of the following is required: document, files"),
        Step(
            MODULE,
            {"files": [str(tmp_path / "none.yml")]},
            error="none.yml' does not exist on the host where the module",
        ),
        Step(MODULE, {"files": [str(broken)]}, error="not YAML"),
        Step(MODULE, {"files": [str(many)]}, error="The document has 100001 objects, at most 100000 fit"),
        Step(MODULE, {"files": [str(large)]}, error="The body is larger than 32 MiB"),
    )
    twice = {"customers": [{"username": "dora", "password": secret}, {"username": "dora"}]}
    wrong = {
        "customers": [{"username": "dora", "password": ["a", secret]}, {"username": "emil", "api_access": "yes"}],
        "media_services": [{"slug": "dora-fm", "customer": "nobody", "engine": "icecast", "max_listeners": "ten"}],
    }
    same, both = runner.steps(
        Step(
            MODULE,
            {"document": twice},
            error="customers[1].username: is the key of customers[0] already (given: 'dora')",
        ),
        Step(MODULE, {"document": wrong}, error="customers[0].password: must be a text"),
    )
    assert same.real["code"] == "invalid_document"
    assert [error["path"] for error in both.real["errors"]] == [
        "customers[0].password",
        "customers[1].api_access",
        "media_services[0].customer",
        "media_services[0].max_listeners",
    ]
    assert panel.request("GET", "/customers/emil")[0] == 404, "nothing of a wrong document is applied"


def test_many_passwords_are_a_job_that_is_followed(runner: Runner, panel: Panel) -> None:
    people = [{"username": f"job-{n}", "password": runner.canary(f"canary-job-{n}")} for n in range(55)]
    results = runner.tasks([{"name": "job", MODULE: {"document": {"customers": people}, "return_unchanged": True}}])
    assert results["job"]["summary"]["created"] == 55
    assert len(results["job"]["results"]) == 55
