"""streamfleet_reseller_plan."""

from __future__ import annotations

from tests.contract.panel_server import Panel
from tests.contract.playbook import Runner, Step

MODULE = "streamfleet_reseller_plan"


def test_from_nothing_to_nothing(runner: Runner) -> None:
    created, changed, lifted, gone, _ = runner.steps(
        Step(MODULE, {"name": "gold", "max_customers": 50, "allowed_engines": ["icecast"]}),
        Step(MODULE, {"name": "gold", "max_customers": "60", "max_listeners": 1000}),
        Step(MODULE, {"name": "gold", "max_customers": None, "allowed_engines": None}),
        Step(MODULE, {"name": "gold", "state": "absent"}),
        Step(MODULE, {"name": "gold", "state": "absent"}, changed=False),
    )
    assert created.real["reseller_plan"]["allowed_engines"] == ["icecast"]
    assert changed.real["changes"] == {
        "max_customers": {"before": 50, "after": 60},
        "max_listeners": {"before": None, "after": 1000},
    }
    assert (lifted.real["reseller_plan"]["max_customers"], lifted.real["reseller_plan"]["max_listeners"]) == (
        None,
        1000,
    )
    assert gone.real["operation"] == "deleted"


def test_bad_input(runner: Runner, panel: Panel) -> None:
    document = {"reseller_plans": [{"name": "in-use"}], "customers": [{"username": "user", "reseller_plan": "in-use"}]}
    assert panel.request("POST", "/apply", {"document": document})[0] == 200
    runner.steps(
        Step(MODULE, {"name": "bad", "allowed_engines": ["shout"]}, error="names an engine that does not exist: shout"),
        Step(MODULE, {"name": "bad", "max_mounts": -1}, error="max_mounts: must be between 0 and"),
        Step(MODULE, {"name": "bad", "max_mounts": "many"}, error="max_mounts"),
        Step(MODULE, {"name": "in-use", "state": "absent"}, error="in-use"),
    )
