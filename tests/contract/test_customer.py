"""streamfleet_customer."""

from __future__ import annotations

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_customer"


def test_from_nothing_to_nothing(runner: Runner, panel: Panel) -> None:
    password = runner.canary("canary-Zf3!first")
    other = runner.canary("canary-Zf3!second")
    me = {"username": "alice"}
    created, _, renamed, emptied, _, rotated, disabled, gone, restored, _ = runner.steps(
        Step(MODULE, {**me, "name": "Alice", "email": "alice@example.net", "password": password}),
        # on_create: a password for an account that exists is not even looked at
        Step(MODULE, {**me, "password": other}, changed=False),
        Step(MODULE, {**me, "name": "Alice Arden", "contact_number": "+49 1"}),
        Step(MODULE, {**me, "contact_number": None}),
        Step(MODULE, {**me, "password": password, "update_password": "always"}, changed=False),
        Step(MODULE, {**me, "password": other, "update_password": "always"}),
        Step(MODULE, {**me, "status": "disabled", "api_access": "no"}),
        Step(MODULE, {**me, "state": "absent"}),
        Step(MODULE, me),
        Step(MODULE, {"username": "never-there", "state": "absent"}, changed=False),
    )
    assert created.real["operation"] == "created"
    assert created.real["customer"]["email"] == "alice@example.net"
    assert created.real["diff"][0]["after"]["password"] == "********"
    assert renamed.real["diff"] == [
        {
            "before_header": "customer alice",
            "after_header": "customer alice",
            "before": {"name": "Alice", "contact_number": None},
            "after": {"name": "Alice Arden", "contact_number": "+49 1"},
        }
    ]
    assert renamed.real["customer"]["email"] == "alice@example.net", "what is omitted stays as it is"
    assert emptied.real["customer"]["contact_number"] is None, "an explicit null empties"
    assert rotated.real["diff"][0]["after"] == {"password": "******** (changed)"}
    assert disabled.real["customer"]["api_access"] is False
    assert gone.real["operation"] == "deleted"
    assert restored.real["customer"]["name"] == "Alice Arden", "a deleted customer comes back with its data"
    assert panel.request("GET", "/customers/alice")[1]["status"] == "disabled"


def test_resellers(runner: Runner, panel: Panel) -> None:
    panel.request("POST", "/apply", {"document": {"reseller_plans": [{"name": "rs-plan", "max_customers": 1}]}})
    made, *_ = runner.steps(
        Step(MODULE, {"username": "rs", "reseller_plan": "rs-plan"}),
        Step(MODULE, {"username": "rs-c1", "reseller": "rs"}),
        Step(
            MODULE,
            {"username": "rs-c2", "reseller": "rs"},
            error="max_customers",
        ),
        Step(MODULE, {"username": "rs-c1", "state": "absent"}),
        Step(MODULE, {"username": "rs", "reseller_plan": None}),
    )
    assert made.real["customer"]["reseller_plan"] == "rs-plan"


def test_bad_input(runner: Runner) -> None:
    short = runner.canary("kn4r")
    steps = runner.steps(
        Step(
            MODULE,
            {"username": "bad", "password": short},
            error="password: is shorter than 5 characters Fix: Choose a password of at least 5 characters.",
        ),
        Step(
            MODULE,
            {"username": "bad", "email": "nobody"},
            error="email: is not an e-mail address (given: 'nobody') Fix: Write it as name@domain.tld.",
        ),
        Step(MODULE, {"username": "bad", "reseller_plan": "none-such"}, error="reseller_plan: there is no such"),
        Step(MODULE, {"username": "bad", "reseller": "none-such"}, error="reseller: there is no such"),
        Step(MODULE, {"username": "Bad Name; DROP"}, error="username: has a form that is not accepted"),
        Step(MODULE, {"username": "bad", "name": "x" * 300}, error="name: has 300 characters, at most 200 fit"),
        Step(MODULE, {"username": "bad", "name": "two\nlines"}, error="name: contains a control character"),
        Step(
            MODULE,
            {"username": "bad", "status": "asleep"},
            error="value of status must be one of: enabled, disabled, got: asleep",
        ),
        Step(MODULE, {"username": "bad", "colour": "red"}, error="Unsupported parameters"),
        Step(MODULE, {"username": "bad", "api_access": "perhaps"}, error="api_access"),
        Step(MODULE, {"name": "Nobody"}, error="missing required arguments: username"),
    )
    assert steps[1].real["errors"] == [
        {
            "path": "email",
            "value": "nobody",
            "message": "is not an e-mail address",
            "fix": "Write it as name@domain.tld.",
        }
    ]
    assert steps[1].real["code"] == "invalid_document"


def test_names_that_are_code_elsewhere_are_just_names(runner: Runner) -> None:
    name = """'"#{`id`} {% raw %}{{ 7*7 }}{% endraw %} ]]> ; $(id) \\ 🎵"""
    made, *_ = runner.steps(Step(MODULE, {"username": "odd", "name": name}))
    assert made.real["customer"]["name"] == """'"#{`id`} {{ 7*7 }} ]]> ; $(id) \\ 🎵"""
