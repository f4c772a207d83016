"""A new password for an administrator, against a real panel.

Tests playbooks: reset_admin_password.yml. tests/live/test_operations.py has one that is generated.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.panel_server import Panel
from tests.contract.playbook import ROOT, Runner

PLAYBOOK = ROOT / "playbooks" / "reset_admin_password.yml"
TASK = "Set the password"


@pytest.fixture
def reset(runner: Runner, panel: Panel, tmp_path: Path) -> Any:
    """Run the playbook on this machine as the panel's host: its command ``streamfleet``, and this panel behind it."""
    kept = ("STREAMFLEET_", "PYTHONPATH")
    settings = " ".join(
        f"{name}={shlex.quote(value)}" for name, value in panel.variables.items() if name.startswith(kept)
    )
    (tmp_path / "as_installed.py").write_text(
        "import sys; from pathlib import Path; from streamfleet_command import panel, users\n"
        "from streamfleet_command.__main__ import main\n"
        f"panel.PROGRAM = {str(tmp_path / 'streamfleet-panel')!r}\n"
        f"users.INSTALL_TOKEN = Path({str(tmp_path / 'install_token')!r})\n"
        "sys.exit(main())\n"
    )
    programs = {
        "streamfleet-panel": f'exec env {settings} {sys.executable} -m streamfleet_panel "$@"',
        "streamfleet": f'PYTHONPATH={ROOT}/roles/panel/files exec {sys.executable} {tmp_path}/as_installed.py "$@"',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "install_token").write_text(f"{panel.token}\n")
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("[streamfleet_panel]\nlocalhost ansible_connection=local\n")

    def call(answers: dict[str, Any], *options: str) -> tuple[int, dict[str, dict[str, Any]], str]:
        answers = {f"reset_admin_{name}": value for name, value in answers.items()}
        return runner.playbook(
            PLAYBOOK, answers, "--inventory", str(inventory), *options,
            environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        )  # fmt: skip

    return call


def hash_of(panel: Panel, username: str) -> str:
    text = f"from streamfleet_panel.models import Account; print(Account.objects.get(username='{username}').password)"
    return str(panel.manage("shell", "--verbosity", "0", "--command", text)).strip()


def test_a_given_password_is_set_once(runner: Runner, panel: Panel, reset: Any) -> None:
    panel.request(
        "POST", "/apply", {"document": {"customers": [{"username": "chief", "account_type": "administrator"}]}}
    )
    _, token = panel.request("POST", "/tokens", {"name": "of chief", "account": "chief"})
    before = hash_of(panel, "chief")
    answers = {"username": "chief", "password": runner.canary("canary reset 1")}
    code, results, output = reset(answers, "--check")
    assert (code, results[TASK]["changed"]) == (0, True), output[-2000:]
    assert hash_of(panel, "chief") == before
    code, results, output = reset({**answers, "confirm_password": "canary reset 1", "revoke_tokens": ""})
    assert (code, results[TASK]["changed"]) == (0, True), output[-2000:]
    assert "chief: a new password" in results["The password is set"]["msg"]
    set_now = hash_of(panel, "chief")
    assert set_now != before
    assert panel.request("GET", "/whoami", token=token["token"])[0] == 200
    assert reset(answers)[1][TASK]["changed"] is False
    assert hash_of(panel, "chief") == set_now
    code, results, _ = reset({**answers, "revoke_tokens": "yes"})
    assert (code, results[TASK]["changed"]) == (0, True)
    assert panel.request("GET", "/whoami", token=token["token"])[0] == 401


def test_what_cannot_be_is_refused_in_words(runner: Runner, reset: Any) -> None:
    secret = runner.canary("canary reset 2")
    for answers, message in (
        ({"username": "ghost", "password": secret}, "there is no account 'ghost'; nothing was changed"),
        (
            {"pasword": "x"},
            "Unknown: reset_admin_pasword. Use reset_admin_ followed by one of user",
        ),
    ):
        code, results, output = reset(answers)
        assert code != 0
        assert any(message in str(result.get("msg")) for result in results.values()), output[-2000:]
