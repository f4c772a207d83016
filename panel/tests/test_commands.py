"""Management commands: what roles and operators run."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.core.management.base import CommandError

from streamfleet_panel.models import Account, ApiToken, MediaService

pytestmark = pytest.mark.django_db


def command(name: str, *arguments: str) -> Any:
    output = io.StringIO()
    call_command(name, *arguments, stdout=output)
    return json.loads(output.getvalue())


def test_bootstrap_admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="No password"):
        command("bootstrap_admin")
    path = tmp_path / "password"
    path.write_text("first-secret\n")
    assert command("bootstrap_admin", "--password-file", str(path)) == {"changed": True, "username": "admin"}
    account = Account.objects.get(username="admin")
    assert account.is_administrator
    assert account.check_password("first-secret")
    path.write_text("another-secret\n")
    assert command("bootstrap_admin", "--password-file", str(path)) == {"changed": False, "username": "admin"}
    account.refresh_from_db()
    assert account.check_password("first-secret")
    monkeypatch.setenv("STREAMFLEET_PANEL_ADMIN_PASSWORD", "1234")
    with pytest.raises(CommandError, match="shorter than 5"):
        command("bootstrap_admin", "--username", "second")


def test_issue_token(world: None, tmp_path: Path) -> None:
    path = tmp_path / "token"
    first = command("issue_token", "--name", "worker", "--scope", "worker", "--file", str(path))
    assert first["changed"]
    assert "token" not in first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = path.read_text().strip()
    token = ApiToken.objects.get(name="worker")
    assert token.is_valid(secret)
    again = command("issue_token", "--name", "worker", "--scope", "worker", "--file", str(path))
    assert not again["changed"]
    assert path.read_text().strip() == secret
    # The file is lost: a new secret, the old one ends.
    path.unlink()
    assert command("issue_token", "--name", "worker", "--scope", "worker", "--file", str(path))["changed"]
    token.refresh_from_db()
    assert not token.is_valid(secret)
    assert token.is_valid(path.read_text().strip())
    shown = command("issue_token", "--name", "ci", "--account", "root")
    assert ApiToken.objects.get(name="ci").is_valid(shown["token"])
    assert "token" not in command("issue_token", "--name", "ci", "--account", "root")
    assert "token" in command("issue_token", "--name", "ci", "--account", "root", "--replace")
    assert command("issue_token", "--name", "n", "--scope", "node:node1")["scope"] == "node:node1"
    for arguments in (
        ("--scope", "node:ghost"),
        ("--scope", "all"),
        ("--account", "ghost"),
        (),
        ("--scope", "worker", "--account", "root"),
        ("--account", "root", "--file", "/nonexistent/token"),
    ):
        with pytest.raises(CommandError):
            command("issue_token", "--name", "x", *arguments)
    assert not ApiToken.objects.filter(name="x").exists()


def test_check_ready(world: None, settings: Any) -> None:
    ready = command("check_ready")
    assert ready["ready"]
    assert ready["engines"][:2] == ["icecast", "nginx_rtmp"]
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(CommandError, match="STREAMFLEET_PANEL_FIELD_KEYS"):
        command("check_ready")
    settings.RELEASE_DIR = Path("/nonexistent")
    with pytest.raises(CommandError, match="STREAMFLEET_PANEL_RELEASE_DIR"):
        command("check_ready")


def test_rotate_keys(world: None, settings: Any) -> None:
    before = {service.slug: service.credentials for service in MediaService.objects.all()}
    settings.FIELD_KEYS = [Fernet.generate_key().decode(), *settings.FIELD_KEYS]
    assert command("rotate_keys") == {"services": 5}
    settings.FIELD_KEYS = settings.FIELD_KEYS[:1]
    assert {service.slug: service.credentials for service in MediaService.objects.all()} == before
    command("check_ready")
