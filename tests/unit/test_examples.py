"""Every example in a module's documentation is a task that the module would take."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from scripts.gen_docs import ROOT, module_docs
from tests.unit.library_specs import argument_spec, module_names


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    return module_docs(ROOT)


@pytest.mark.parametrize("name", module_names())
def test_examples(name: str, documented: dict[str, Any]) -> None:
    tasks = yaml.safe_load(documented[name]["examples"])
    own = [task[name] or {} for task in tasks if name in task]
    assert own, "no example"
    # A fallback looks into the environment of whoever runs the test.
    spec = {name: {k: v for k, v in value.items() if k != "fallback"} for name, value in argument_spec(name).items()}
    for task in tasks:
        assert task.get("name"), task
    for arguments in own:
        result = ArgumentSpecValidator(spec).validate(dict(arguments))
        assert result.error_messages == [], arguments


@pytest.mark.parametrize("name", module_names())
def test_documentation_says_what_the_module_does(name: str, documented: dict[str, Any]) -> None:
    doc = documented[name]["doc"]
    assert doc["attributes"]["check_mode"]["support"] == "full"
    assert set(doc["options"]) == set(argument_spec(name))
    for option, spec in argument_spec(name).items():
        assert doc["options"][option]["type"] == spec["type"], option
        assert doc["options"][option].get("default") == spec.get("default"), option
        assert doc["options"][option].get("choices") == spec.get("choices"), option
    assert documented[name]["return"]
