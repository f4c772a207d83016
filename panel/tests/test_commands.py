"""Management commands: what roles and operators run."""

from __future__ import annotations

import io
import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from streamfleet_panel.management.commands.set_up import Command as SetUp
from streamfleet_panel.models import (
    Account,
    ApiToken,
    AuditLog,
    ConvergeRun,
    Counter,
    Dj,
    Installation,
    MediaService,
    Node,
    Relay,
)
from streamfleet_panel.worker import queue
from tests_support import apply_as

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


def set_up(monkeypatch: pytest.MonkeyPatch, order: Any) -> Any:
    monkeypatch.setattr("sys.stdin", io.StringIO(order if isinstance(order, str) else json.dumps(order)))
    return command("set_up")


def test_set_up_does_all_of_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    administrator = {"username": "admin", "email": None, "password": "first-secret"}
    tokens = [
        {"name": "install.yml", "scope": "account", "account": "admin"},
        {"name": "converge worker", "scope": "worker", "account": None},
    ]
    done = set_up(monkeypatch, {"administrator": administrator, "tokens": tokens})
    assert (done["changed"], done["migrated"]) == (True, False)  # The tests' database has its shape already.
    assert Account.objects.get(username="admin").check_password("first-secret")
    for asked, secret in zip(tokens, done["tokens"], strict=True):
        assert ApiToken.objects.get(name=asked["name"], scope=asked["scope"]).is_valid(secret)
    assert set_up(monkeypatch, {"administrator": None, "tokens": []}) == {
        "changed": False,
        "migrated": False,
        "tokens": [],
    }
    # An administrator who is there keeps the password, a token gets a new secret.
    again = set_up(monkeypatch, {"administrator": {**administrator, "password": "another"}, "tokens": tokens[:1]})
    assert Account.objects.get(username="admin").check_password("first-secret")
    assert ApiToken.objects.get(name="install.yml").is_valid(again["tokens"][0])
    assert not ApiToken.objects.get(name="install.yml").is_valid(done["tokens"][0])


def test_set_up_over_data_that_has_stayed_has_nodes_converged(world: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host was uninstalled without its data, and installed again; so may the nodes have been."""
    Node.objects.update(observed_generation=7, generation=7)
    epoch = Installation.current().epoch
    name = next(account.username for account in Account.objects.all() if account.is_administrator)
    token = {"name": "install.yml", "scope": "account", "account": name}
    administrator = {"username": name, "email": None, "password": "another-secret"}
    worker = {"name": "converge worker", "scope": "worker", "account": None}
    # Who has the installation's token is none of these.
    set_up(monkeypatch, {"administrator": None, "tokens": [worker]})
    assert {(node.generation, node.observed_generation) for node in Node.objects.all()} == {(7, 7)}
    set_up(monkeypatch, {"administrator": administrator, "tokens": [token, worker]})
    assert {(node.generation, node.observed_generation) for node in Node.objects.all()} == {(8, 0)}
    assert Installation.current().epoch == epoch


def test_set_up_does_not_begin_anew_where_there_was_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that has just got its tables, on a host that has all tokens."""
    monkeypatch.setattr(SetUp, "_output", lambda *_arguments, **_options: "Applying panel.0001_initial... OK")
    with pytest.raises(CommandError, match=r"the database is empty.*database_move.yml"):
        set_up(monkeypatch, {"administrator": None, "tokens": []})


@pytest.mark.parametrize("order", ["", "[]", "{}", '{"administrator": null}'])
def test_set_up_refuses_what_it_cannot_read(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    with pytest.raises(CommandError, match="standard input is not the JSON"):
        set_up(monkeypatch, order)
    assert not Account.objects.exists()


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
    for scope in ("node:node1", "metrics"):
        assert command("issue_token", "--name", "n", "--scope", scope)["scope"] == scope
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
    djs = [{"media_service": "rock", "username": name, "password": f"password-{name}"} for name in ("anna", "ben")]
    ends = {"direction": "out", "address": "icecast://other.example/live", "password": "password-of-other"}
    relays = [{"media_service": "rock", "name": "other", **ends}]
    apply_as(None, {"media_services": [{"slug": "rock", "autodj": {}}], "djs": djs, "relays": relays})
    before = {service.slug: service.credentials for service in MediaService.objects.all()}
    settings.FIELD_KEYS = [Fernet.generate_key().decode(), *settings.FIELD_KEYS]
    assert command("rotate_keys") == {"services": 5, "djs": 2, "relays": 1}
    settings.FIELD_KEYS = settings.FIELD_KEYS[:1]
    assert {service.slug: service.credentials for service in MediaService.objects.all()} == before
    assert [dj.password for dj in Dj.objects.order_by("username")] == ["password-anna", "password-ben"]
    assert Relay.objects.get().password == "password-of-other"
    command("check_ready")


def test_restored(world: None) -> None:
    epoch, uid = Installation.current().epoch, Counter.objects.get(name="uid").value
    Node.objects.update(observed_generation=7, generation=7)
    told = command("restored")
    assert told == {"epoch": str(Installation.current().epoch), "nodes": Node.objects.count(), "next_uid": uid + 1000}
    assert Installation.current().epoch != epoch
    assert {(node.generation, node.observed_generation) for node in Node.objects.all()} == {(8, 0)}
    assert Counter.objects.get(name="uid").value == uid + 1000
    later = timezone.now() + timedelta(minutes=5)
    ConvergeRun.objects.create(node=Node.objects.first(), next_attempt_at=later, attempts=7, message=queue.UNREACHABLE)
    again = command("restored", "--converge-only")
    assert again == told
    assert {(node.generation, node.observed_generation) for node in Node.objects.all()} == {(9, 0)}
    # What waits for a node that was not reached where it had been is begun at once.
    assert [claimed.attempt for claimed in queue.claim(9)] == [8]


def note(monkeypatch: pytest.MonkeyPatch, told: Any) -> Any:
    monkeypatch.setattr("sys.stdin", io.StringIO(told if isinstance(told, str) else json.dumps(told)))
    return command("note_rehearsal")


def test_a_rehearsal_is_in_the_audit_log(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"compared": 40, "equal": 40}
    told = {"host": "panel1", "succeeded": True, "on": "scratch1", "why": "", "stream": "x", **counted}
    assert note(monkeypatch, told) == {"changed": True, "action": "rehearsed"}
    entry = AuditLog.objects.get(kind="backup")
    assert (entry.key, entry.action, entry.actor_name, entry.via) == (
        "panel1", "rehearsed", "rehearsal of a backup", "system",
    )  # fmt: skip
    assert {name: change["after"] for name, change in entry.changes.items()} == {
        "on": "scratch1", "stream": "x", **counted,
    }  # fmt: skip
    failed = {"host": "panel1", "succeeded": False, "why": "y" * 5000, "elsewhere": ["/var/lib/a", "/var/lib/b"]}
    assert note(monkeypatch, failed) == {"changed": True, "action": "rehearsal_failed"}
    changes = AuditLog.objects.latest("id").changes
    assert (len(changes["why"]["after"]), changes["elsewhere"]["after"]) == (1000, "/var/lib/a, /var/lib/b")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("{", "not the JSON"),
        ([], "not the JSON"),
        ({"host": "x"}, "not the JSON"),
        ({"host": "", "succeeded": True}, "host is ''"),
        ({"host": "x" * 201, "succeeded": True}, "200 characters"),
        ({"host": "x", "succeeded": "yes"}, "succeeded is 'yes'"),
    ],
)
def test_a_rehearsal_that_says_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, told: Any, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        note(monkeypatch, told)
    assert not AuditLog.objects.filter(kind="backup").exists()
