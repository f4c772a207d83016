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
    values: dict[str, Any] = {"__streamfleet_panel_found": {"files": []}}
    values |= {"__streamfleet_panel_settings": {"stdout_lines": ["/etc/streamfleet/panel/panel.env"]}}
    data = {"/var/lib/streamfleet/panel", "/var/lib/streamfleet/upgrade", "/etc/streamfleet/panel"}
    assert not data & set(removed("panel", "Remove the panel's files", streamfleet_panel_uninstall_data=word, **values))
    assert data <= set(removed("panel", "Remove the panel's files", streamfleet_panel_uninstall_data=True, **values))
    for task in ("Look for the data of media services", "Remove the folder of data, if the panel has none there"):
        assert tasks("common")[task]["when"] == "streamfleet_common_uninstall_data | bool"


# Keys


def test_keys_of_data_that_stays_do_so_too(tmp_path: Path) -> None:
    settings = tmp_path / "etc/streamfleet"
    for name in ("panel/secrets.env", "panel/admin_password", "panel/panel.env", "panel/install_token", "panel/.panel.env.new"):
        (settings / name).parent.mkdir(parents=True, exist_ok=True)
        (settings / name).touch()
    for name in ("file-transfer", "worker", "tls", "ca", "instances"):
        (settings / name).mkdir()
    gone = run(tmp_path, "panel", "Look for settings that the database does not need")
    assert gone == [f"/etc/streamfleet/panel/{name}" for name in (".panel.env.new", "install_token", "panel.env")]
    names = ("ca", "instances", "tls", "worker")
    assert run(tmp_path, "common", "Look for settings") == [f"/etc/streamfleet/{name}" for name in names]
    run(tmp_path, "common", "Remove the folder of settings, if no keys are kept in it")
    assert (settings / "panel/secrets.env").exists()
    kept = [*removed("common", "Remove units and settings", **own())]
    assert not [path for path in kept if path.startswith("/etc/streamfleet")]


def test_what_is_not_there_is_no_path() -> None:
    """Of a command that was not needed Ansible says so where its output would be."""
    nothing = {"stdout_lines": ["skipped, since /etc/streamfleet does not exist"], "stdout": "skipped, since"}
    found = removed("common", "Remove units and settings", **own() | {"__streamfleet_common_settings": nothing})
    found += removed("common", "Remove the data of media services", __streamfleet_common_data=nothing)
    values = {"__streamfleet_panel_found": {"files": []}, "__streamfleet_panel_settings": nothing}
    found += removed("panel", "Remove the panel's files", **values)
    assert len(found) > 20
    assert [path for path in found if not path.startswith("/")] == []


def own() -> dict[str, Any]:
    return tasks("common")["Remove units and settings"]["vars"] | {"__streamfleet_common_settings": {}}


def test_a_later_installation_takes_them_into_use() -> None:
    """A file that is made where it is missing keeps what is in it."""
    values = {**variables("panel"), "role_path": str(ROOT / "roles/panel")}
    made = [one for one in values["_streamfleet_panel_files"] + values["_streamfleet_panel_password_files"] if "generate" in one]
    paths = [str(templated(one["path"], values)) for one in made]
    assert paths == ["/etc/streamfleet/panel/secrets.env", "/etc/streamfleet/panel/admin_password"]
    assert {one["mode"] for one in made} == {"0600"}


def test_file_transfers_host_keys_go_only_when_that_is_said() -> None:
    values = variables("file_transfer")
    paths = templated(tasks("file_transfer")["Remove units, programs, log-ins and tallies"]["loop"], values)
    assert not [path for path in paths if "host_" in path or path.endswith("/file-transfer") and path.startswith("/etc/")]
    assert tasks("file_transfer")["Remove the server's host keys"]["when"] == "streamfleet_file_transfer_uninstall_data | bool"
