"""Uninstalling takes what is ours, and nothing that was not asked for: the tasks' own commands, over trees made for it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]


def tasks(role: str, file: str = "uninstall") -> dict[str, dict[str, Any]]:
    """A role's tasks by their names."""
    return {task["name"]: task for task in yaml.safe_load((ROOT / f"roles/{role}/tasks/{file}.yml").read_text())}


def variables(role: str) -> dict[str, Any]:
    """What a role has in its vars and defaults."""
    found: dict[str, Any] = {}
    for kind in ("defaults", "vars"):
        path = ROOT / f"roles/{role}/{kind}/main.yml"
        found |= (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}
    return found


def templated(value: Any, values: dict[str, Any]) -> Any:
    def trusted(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: trusted(inner) for name, inner in one.items()}
        if isinstance(one, list):
            return [trusted(inner) for inner in one]
        return trust_as_template(one) if isinstance(one, str) else one

    return Templar(loader=DataLoader(), variables=trusted(values)).template(trusted(value))


def run(root: Path, role: str, task: str, **values: Any) -> list[str]:
    """What a task's command prints, with ``root`` in the place of /."""
    argv = templated(tasks(role)[task]["ansible.builtin.command"]["argv"], {**variables(role), **values})
    command = [word.replace("/etc/", f"{root}/etc/").replace("/var/", f"{root}/var/") for word in argv]
    done = subprocess.run(command, text=True, capture_output=True, check=True, timeout=30)
    return sorted(line.removeprefix(str(root)) for line in done.stdout.splitlines())


def removed(role: str, task: str, **values: Any) -> list[str]:
    """The paths that a task removes."""
    return list(templated(tasks(role)[task]["loop"], {**variables(role), **values}))


# Data


def test_the_data_of_media_services_is_not_the_panels(tmp_path: Path) -> None:
    data = tmp_path / "var/lib/streamfleet"
    for name in ("services", "media", "media-index", "sessions", "panel", "upgrade", "panel-domains"):
        (data / name / "inner").mkdir(parents=True)
    (data / "panel/panel.sqlite3").touch()
    found = run(tmp_path, "common", "Look for the data of media services")
    assert found == [f"/var/lib/streamfleet/{name}" for name in ("media", "media-index", "services", "sessions")]
    run(tmp_path, "common", "Remove the folder of data, if the panel has none there")
    assert (data / "panel/panel.sqlite3").exists()


def test_the_folder_of_data_goes_when_nothing_is_left_in_it(tmp_path: Path) -> None:
    (tmp_path / "var/lib/streamfleet").mkdir(parents=True)
    assert run(tmp_path, "common", "Remove the folder of data, if the panel has none there") == ["/var/lib/streamfleet"]
    assert not (tmp_path / "var/lib/streamfleet").exists()


@pytest.mark.parametrize("word", [False, "false"])
def test_data_goes_only_when_that_is_said(word: Any) -> None:
    values = {"__streamfleet_panel_found": {"files": []}}
    data = {"/var/lib/streamfleet/panel", "/var/lib/streamfleet/upgrade"}
    assert not data & set(removed("panel", "Remove the panel's files", streamfleet_panel_uninstall_data=word, **values))
    assert data <= set(removed("panel", "Remove the panel's files", streamfleet_panel_uninstall_data=True, **values))
    for task in ("Look for the data of media services", "Remove the folder of data, if the panel has none there"):
        assert tasks("common")[task]["when"] == "streamfleet_common_uninstall_data | bool"
