"""The playbooks for one object know every option of their module, no other, and convert each by its type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.library_specs import own_options

ROOT = Path(__file__).resolve().parents[2]

#: Types of options → kinds of answers that may stand for them.
KINDS = {
    "bool": {"bool"},
    "int": {"number"},
    "str": {"text", "choice", "secret"},
    "list": {"list", "data"},
    "dict": {"data"},
}
NOT_ASKED = {
    # A survey runs against a panel; the option is for playbooks that install one.
    "check_without_panel",
    # Says how much to return; the playbook prints the summary.
    "return_unchanged",
}


#: Variables of a playbook that are for itself, and no option of its module.
OF_ITS_OWN = {"customer": {"confirm_password", "must_exist"}}


@pytest.mark.parametrize("name", ["customer", "media_service", "apply"])
def test_playbook_and_module_have_the_same_options(name: str) -> None:
    play = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())[0]
    options = own_options(f"streamfleet_{name}")
    task: dict[str, Any] = next(item for item in play["tasks"] if f"streamfleet_{name}" in item)[f"streamfleet_{name}"]
    assert set(task) == set(options) - NOT_ASKED
    assert set(play["vars"][f"__streamfleet_{name}_options"]) == set(task) | OF_ITS_OWN.get(name, set())


@pytest.mark.parametrize("name", ["customer", "media_service", "apply"])
def test_every_answer_is_converted_by_the_type_of_its_option(name: str) -> None:
    play = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())[0]
    options = own_options(f"streamfleet_{name}")
    task: dict[str, str] = next(item for item in play["tasks"] if f"streamfleet_{name}" in item)[f"streamfleet_{name}"]
    for option, expression in task.items():
        if options[option].get("required"):
            assert f"{name}_{option} | string | trim" in expression
            continue
        pattern = rf"\{{\{{ {name}_{option} \| default\(''\) \| streamfleet_answer\(omit(?:, '(\w+)')?\) \}}\}}"
        match = re.fullmatch(pattern, expression)
        assert match, f"{option}: {expression}"
        assert (match[1] or "text") in KINDS[options[option]["type"]], option
