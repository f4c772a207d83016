"""Every option of every role is declared twice, in defaults and in argument_specs, and both say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.parent.name for path in (ROOT / "roles").glob("*/tasks/main.yml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def entries(role: str) -> dict[str, Any]:
    data = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")
    assert data, f"roles/{role}/meta/argument_specs.yml is missing"
    return data["argument_specs"]


def declared(role: str) -> dict[str, Any]:
    """Options of all entry points; what several share must be the same in each."""
    found: dict[str, Any] = {}
    for entry, spec in entries(role).items():
        for name, option in (spec.get("options") or {}).items():
            assert found.setdefault(name, option) == option, f"{name} differs between entry points ({entry})"
    return found


def test_there_are_roles() -> None:
    assert {"common", "panel", "web", "icecast", "nginx_rtmp"} <= set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specs_have_the_same_names(role: str) -> None:
    specs, defaults = declared(role), load(ROOT / "roles" / role / "defaults" / "main.yml") or {}
    optional = {name for name, option in specs.items() if not option.get("required")}
    assert set(defaults) - set(specs) == set(), "in defaults/main.yml, not in meta/argument_specs.yml"
    without_default = {name for name in optional if "default" in specs[name]} - set(defaults)
    assert without_default == set(), "with a default in meta/argument_specs.yml, not in defaults/main.yml"
    assert {name for name in defaults if specs[name].get("required")} == set(), "required, and with a default"


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specs_have_the_same_values(role: str) -> None:
    specs, defaults = declared(role), load(ROOT / "roles" / role / "defaults" / "main.yml") or {}
    for name, value in defaults.items():
        assert "default" in specs[name], f"{name}: default missing in meta/argument_specs.yml"
        assert (specs[name]["default"], type(specs[name]["default"])) == (value, type(value)), name


@pytest.mark.parametrize("role", ROLES)
def test_every_option_has_type_and_description(role: str) -> None:
    def check(name: str, option: dict[str, Any]) -> None:
        assert option.get("type"), f"{name} has no type"
        assert option.get("description"), f"{name} has no description"
        if option["type"] == "list":
            assert option.get("elements"), f"{name} has no elements"
        for inner, sub in (option.get("options") or {}).items():
            check(f"{name}.{inner}", sub)

    for name, option in declared(role).items():
        assert name.startswith(f"streamfleet_{role}_"), name
        check(name, option)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_pass_their_own_spec(role: str) -> None:
    """A default of a wrong type, or none of the choices, is found here and not on a host."""
    specs, defaults = declared(role), load(ROOT / "roles" / role / "defaults" / "main.yml") or {}
    # Templates are for the host to fill in.
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    validator = ArgumentSpecValidator({name: {**specs[name], "required": False} for name in plain})
    assert validator.validate(plain).error_messages == []


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_has_its_tasks_and_the_other_way_round(role: str) -> None:
    tasks = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert set(entries(role)) <= tasks
    assert {"self_check", "uninstall"} & tasks <= set(entries(role))
    for entry, spec in entries(role).items():
        assert spec.get("short_description"), entry


@pytest.mark.parametrize("role", ROLES)
def test_every_role_says_what_it_is(role: str) -> None:
    info = load(ROOT / "roles" / role / "meta" / "main.yml")["galaxy_info"]
    assert info.get("description")
    assert info.get("license") == "GPL-3.0-or-later"
