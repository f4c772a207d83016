"""The objects of AWX are what awx.awx takes, they fit together, and every playbook can be launched."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from tests.awx_objects import ROOT, SETTINGS, argument_spec, objects, play, tasks
from tests.doubles.awx import surveys
from tests.doubles.awx.rules import BUILT_IN, INJECTORS, injected

PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
#: Tests that launch templates of hosts; those of jobs that take two nodes or a scratch host are beside what they do.
OF_HOSTS = (
    "tests/live/test_awx.py",
    "tests/live/test_panel_transfer.py",
    "tests/live/test_restore_rehearsal.py",
    "tests/live/test_transfer.py",
)
QUESTIONS = yaml.safe_load((ROOT / "awx" / "questions.yml").read_text())


def templates() -> list[dict[str, Any]]:
    return objects()["awx.awx.job_template"]


def names(module: str) -> set[str]:
    return {item["name"] for item in objects()[f"awx.awx.{module}"]}


def options_of(playbook: str) -> set[str] | None:
    """Variables that a playbook takes, with their prefix; None where it has no list of them."""
    text = (ROOT / "playbooks" / f"{playbook}.yml").read_text()
    variables = yaml.safe_load(text)[0].get("vars") or {}
    listed = next(
        (value for name, value in variables.items() if re.fullmatch(r"__streamfleet_\w+_options", name)), None
    )
    prefix = re.search(r"streamfleet_unknown\('(\w+)'", text)
    return {f"{prefix[1]}{option}" for option in listed} if prefix and listed else None


@pytest.mark.parametrize("module", sorted(tasks()))
def test_what_a_module_is_given_passes_its_own_argument_spec(module: str) -> None:
    spec, rules = argument_spec(module)
    given = objects()[module]
    assert given
    plain = {name: {k: v for k, v in option.items() if k != "fallback"} for name, option in spec.items()}
    for item in given:
        result = ArgumentSpecValidator(plain, **rules).validate(dict(item))
        assert result.error_messages == [], item["name"]
    assert len({item["name"] for item in given}) == len(given)


def test_the_collection_is_of_the_version_that_is_asked_for() -> None:
    (asked,) = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    place = importlib.util.find_spec("ansible_collections.awx.awx")
    assert place is not None, "awx.awx comes with the package ansible of pyproject.toml: make deps"
    (folder,) = place.submodule_search_locations or ()
    found = json.loads((Path(folder) / "MANIFEST.json").read_text())["collection_info"]["version"]
    assert (asked["name"], asked["version"]) == ("awx.awx", found)


def test_a_misspelt_or_wrong_argument_would_be_found() -> None:
    spec, rules = argument_spec("awx.awx.job_template")
    plain = {name: {k: v for k, v in option.items() if k != "fallback"} for name, option in spec.items()}
    for wrong in ({"ask_limit_on_lauch": True}, {"job_type": "scan"}, {"forks": "many"}, {"survey_spec": ["x"]}):
        assert ArgumentSpecValidator(plain, **rules).validate({"name": "x", **wrong}).error_messages


def test_every_kind_comes_after_those_that_it_refers_to() -> None:
    order = [module.removeprefix("awx.awx.") for module in tasks()]
    assert order == [
        "organization", "execution_environment", "credential_type", "credential", "project", "project_update",
        "inventory", "inventory_source", "job_template", "workflow_job_template", "schedule",
    ]  # fmt: skip


def test_what_is_referred_to_is_declared() -> None:
    credentials = names("credential")
    kinds = names("credential_type") | set(BUILT_IN)
    for item in objects()["awx.awx.credential"]:
        assert item["credential_type"] in kinds
    for template in templates():
        assert template["project"] in names("project"), template["name"]
        assert template["inventory"] in names("inventory"), template["name"]
        assert template["execution_environment"] in names("execution_environment"), template["name"]
        assert set(template["credentials"]) <= credentials, template["name"]
    for source in objects()["awx.awx.inventory_source"]:
        assert source["inventory"] in names("inventory")
        assert source["source_project"] in names("project")
        assert (ROOT / source["source_path"]).is_file()
    for schedule in objects()["awx.awx.schedule"]:
        assert schedule["unified_job_template"] in names("job_template") | names("workflow_job_template")
    for workflow in objects()["awx.awx.workflow_job_template"]:
        nodes = {node["identifier"] for node in workflow["workflow_nodes"]}
        for node in workflow["workflow_nodes"]:
            assert node["unified_job_template"]["name"] in names("job_template")
            assert {follows["identifier"] for follows in node.get("related", {}).get("success_nodes", ())} <= nodes


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_every_playbook_has_a_job_template(name: str) -> None:
    assert any(template["playbook"] == f"playbooks/{name}.yml" for template in templates())


def test_every_template_is_run_by_a_test() -> None:
    files = ("tests/contract/test_awx.py", "tests/contract/test_awx_jobs.py", *OF_HOSTS)
    text = "\n".join((ROOT / path).read_text() for path in files)
    run = set(re.findall(r'launch\(\s*(?:awx\.template\()?"(?:Streamfleet )?([\w -]+)"', text))
    assert {f"Streamfleet {name}" for name in run} == names("job_template")


def test_every_template_of_hosts_comes_to_a_good_end_in_a_test() -> None:
    text = "\n".join((ROOT / path).read_text() for path in OF_HOSTS)
    launched = set(re.findall(r'launch\(\s*"([\w -]+)"', text))
    good = set(re.findall(r'succeeded\(\s*\w+(?:\(\w+\))?\.launch\(\s*"([\w -]+)"', text))
    assert good == launched


def test_a_template_takes_variables_from_its_survey_only_and_excludes_what_may_not_meet() -> None:
    for template in templates():
        assert template["ask_variables_on_launch"] is False, template["name"]
        assert template["timeout"] > 0, template["name"]
        assert template["ask_job_type_on_launch"] is True, template["name"]
        on_hosts = "Streamfleet hosts" in template["credentials"]
        alone = template["allow_simultaneous"] is False
        # A converge takes the node's lock; the panel takes one change after another.
        assert alone or not on_hosts or template["playbook"] == "playbooks/converge.yml", template["name"]
        assert ("Streamfleet vault" in template["credentials"]) == on_hosts, template["name"]


@pytest.mark.slow
def test_where_the_inventory_can_be_chosen_the_panel_can_be_too() -> None:
    both = [template for template in templates() if "Streamfleet panel" in template["credentials"]]
    assert {item["name"] for item in both if item.get("ask_inventory_on_launch")} == {
        "Streamfleet converge", "Streamfleet media folder", "Streamfleet transfer",
    }  # fmt: skip
    for template in both:
        assert template["ask_credential_on_launch"] is True, template["name"]


@pytest.mark.parametrize("number", range(len(list((ROOT / "awx" / "surveys").glob("*.yml")))))
def test_every_survey_is_one_for_awx_and_used(number: int) -> None:
    path = sorted((ROOT / "awx" / "surveys").glob("*.yml"))[number]
    survey = yaml.safe_load(path.read_text())
    surveys.check(survey)
    (template,) = [item for item in templates() if item.get("survey_spec") == survey]
    assert template["survey_enabled"] is True
    assert template["playbook"] == f"playbooks/{QUESTIONS['surveys'][path.stem]['playbook']}.yml"


def test_a_template_without_survey_runs_a_playbook_that_needs_no_variables() -> None:
    without = {template["playbook"] for template in templates() if not template["survey_enabled"]}
    assert {path.removeprefix("playbooks/").removesuffix(".yml") for path in without} == {
        "site", "install", "converge", "awx",
    }  # fmt: skip


@pytest.mark.parametrize("playbook", [name for name in PLAYBOOKS if options_of(name) is not None and name != "awx"])
def test_every_option_of_a_playbook_is_asked_for_or_it_is_said_why_not(playbook: str) -> None:
    of_playbook = [item for item in templates() if item["playbook"] == f"playbooks/{playbook}.yml"]
    asked = {question["variable"] for item in of_playbook for question in item["survey_spec"]["spec"]}
    fixed = {name for item in of_playbook for name in item.get("extra_vars") or {}}
    prefix = next(plan["prefix"] for plan in QUESTIONS["surveys"].values() if plan["playbook"] == playbook)
    left_out = {f"{prefix}{name}" for name in QUESTIONS["not_asked"].get(playbook, {})}
    assert not left_out & (asked | fixed), "says why not, but asks"
    options = options_of(playbook)
    assert options is not None
    assert (asked | fixed | left_out) - {"engine"} == options


def test_the_template_of_these_objects_has_what_their_playbook_needs_and_no_secret() -> None:
    (template,) = [item for item in templates() if item["playbook"] == "playbooks/awx.yml"]
    options = options_of("awx")
    assert options is not None
    assert set(template["extra_vars"]) <= options
    for name in ("project_url", "execution_environment_image"):
        assert template["extra_vars"][f"streamfleet_awx_{name}"] == SETTINGS[f"streamfleet_awx_{name}"]
    assert not [name for name in template["extra_vars"] if re.search("token|key|password", name)]


def test_the_survey_of_customers_is_the_form_in_which_an_administrator_creates_one() -> None:
    (template,) = [item for item in templates() if item["name"] == "Streamfleet customer"]
    kinds = {item["variable"].removeprefix("customer_"): item["type"] for item in template["survey_spec"]["spec"]}
    assert kinds == {
        "username": "text",
        "password": "password",
        "confirm_password": "password",
        "accessibility_features": "multiplechoice",
        "status": "multiplechoice",
        "api_access": "multiplechoice",
        "send_welcome_email": "multiplechoice",
        "name": "text",
        "contact_number": "text",
        "email": "text",
        "account_type": "multiplechoice",
        "reseller_plan": "text",
    }


def test_a_password_is_set_always_only_for_an_account_that_exists() -> None:
    for template in templates():
        fixed = template.get("extra_vars") or {}
        if fixed.get("customer_update_password") == "always":
            assert fixed["customer_must_exist"] is True, template["name"]
    (password,) = [q for q in customer()["survey_spec"]["spec"] if q["variable"] == "customer_password"]
    assert "only when the account is created" in password["question_description"]


def test_secrets_are_password_questions_without_a_default() -> None:
    for template in templates():
        for question in (template.get("survey_spec") or {}).get("spec", ()):
            # A document may hold anything.
            secret = re.search(r"password|_key$|token|authhash|document", question["variable"])
            if secret and question["variable"] not in ("apply_update_password", "reset_admin_revoke_tokens"):
                assert question["type"] == "password", question["variable"]
            if question["type"] == "password":
                assert "default" not in question


def test_a_job_of_awx_itself_verifies_whom_it_gives_its_token_to() -> None:
    (credential,) = [item for item in objects()["awx.awx.credential"] if item["name"] == "Streamfleet AWX"]
    kind = credential["credential_type"]
    built_in = {"inputs": BUILT_IN[kind][1], "injectors": INJECTORS[kind]}
    _file, environment = injected(built_in, credential["inputs"], "")
    assert environment["CONTROLLER_VERIFY_SSL"] == environment["TOWER_VERIFY_SSL"] == "True"
    assert injected(built_in, {"host": "https://awx"}, "")[1]["CONTROLLER_VERIFY_SSL"] == "False", "as AWX has it"


# Launches -------------------------------------------------------------------------------------------------------------


def customer() -> dict[str, Any]:
    return next(item for item in templates() if item["name"] == "Streamfleet customer")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            {"customer_username": "a", "customer_status": "paused"},
            "Value paused for 'customer_status' expected to be one",
        ),
        (
            {"customer_username": "a", "customer_api_access": True},
            "'customer_api_access' expected to be multiplechoice",
        ),
        ({"customer_status": "enabled"}, "'customer_username' value missing"),
        ({"customer_username": ""}, "'customer_username' value is too small"),
        ({"customer_username": "a", "customer_state": "absent"}, "customer_state are not allowed on launch"),
    ],
)
def test_awx_refuses_an_answer_that_a_survey_does_not_allow(answers: dict[str, Any], said: str) -> None:
    with pytest.raises(surveys.Refused, match=re.escape(said)):
        surveys.launched(customer(), answers)


def test_a_survey_may_be_left_empty_but_for_what_it_must_have() -> None:
    for template in templates():
        spec = (template.get("survey_spec") or {}).get("spec", [])
        needed = {
            item["variable"]: item["default"] or "x" if "default" in item else "x" for item in spec if item["required"]
        }
        empty = {item["variable"]: "" for item in spec if not item["required"]}
        got = surveys.launched(template, {**empty, **needed})
        assert set(got) == {*empty, *needed, *(template.get("extra_vars") or {})}
        assert set(surveys.launched(template, needed)) <= set(got)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "number"}, "is not one of the allowed question types"),
        ({"variable": "customer_password"}, "duplicated"),
        ({"required": "yes"}, "'required' in survey question 0 expected to be bool"),
        ({"type": "multiplechoice"}, "must specify choices"),
        ({"type": "multiplechoice", "choices": ["a"], "default": "b"}, "must be one of the choices"),
        ({"default": 1}, "is of another type"),
    ],
)
def test_awx_refuses_a_survey_that_is_none(change: dict[str, Any], said: str) -> None:
    first, *rest = customer()["survey_spec"]["spec"]
    with pytest.raises(surveys.Refused, match=re.escape(said)):
        surveys.check({"name": "x", "description": "", "spec": [{**first, **change}, *rest]})


def test_the_order_of_files_is_that_of_the_folder() -> None:
    files = {Path(path).name for path in play()["vars_files"] if path.startswith("../awx/")}
    assert files == {path.name for path in (ROOT / "awx").glob("*.yml")} - {"questions.yml"}


def test_the_execution_environment_has_the_versions_of_the_lock_file() -> None:
    definition = yaml.safe_load((ROOT / "awx/execution-environment/execution-environment.yml").read_text())
    needed = definition["dependencies"]
    pins = [needed["ansible_core"]["package_pip"], needed["ansible_runner"]["package_pip"], *needed["python"]]
    lock = (ROOT / "requirements/dev.lock").read_text()
    for pin in pins:
        assert re.search(rf"^{re.escape(pin)} ", lock, re.MULTILINE), f"{pin} is not what requirements/dev.lock has"
    assert (ROOT / "awx/execution-environment" / needed["galaxy"]).resolve() == ROOT / "requirements.yml"


def test_the_page_says_when_a_schedule_changes_hosts() -> None:
    """AWX does not keep jobs of different templates apart; whoever installs has to know when another one begins."""
    page = (ROOT / "docs/awx.md").read_text()
    harmless = {"playbooks/self_check.yml"}
    by_name = {template["name"]: template["playbook"] for template in templates()}
    changing = [item for item in objects()["awx.awx.schedule"] if by_name[item["unified_job_template"]] not in harmless]
    assert changing
    for schedule in changing:
        start = re.search(r"TZID=Etc/UTC:\d{8}T(\d\d)(\d\d)", schedule["rrule"])
        assert start is not None
        name = Path(by_name[schedule["unified_job_template"]]).stem
        assert re.search(rf"{start[1]}:{start[2]} UTC \*{name}\* begins", page), schedule["name"]


def test_the_page_names_every_template_playbook_and_setting() -> None:
    page = (ROOT / "docs/awx.md").read_text()
    rows = "\n".join(re.findall(r"^\| Streamfleet .*$", page, re.MULTILINE))
    for template in templates():
        last = template["name"].removeprefix("Streamfleet ")
        assert re.search(rf"(Streamfleet |, ){re.escape(last)}\b", rows), template["name"]
        assert f"`{Path(template['playbook']).stem}`" in rows
    for survey in (ROOT / "awx/surveys").iterdir():
        assert survey.name in page or survey.stem == "media_service_delete", survey.name
    options = options_of("awx")
    assert options is not None
    for option in options:
        assert re.search(rf"`(streamfleet_awx)?_{option.removeprefix('streamfleet_awx_')}`", page), option
