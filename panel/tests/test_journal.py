"""What the panel tells the system's log: every audit entry, without secrets, and log-ins that were refused."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from streamfleet_panel import journal, represent
from streamfleet_panel.access import system
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.models import AuditLog
from tests_support import Api, apply_as

Run = Callable[..., dict[str, Any]]
Told = Callable[[], list[dict[str, Any]]]


class Listener:
    """The socket of a system's log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.2)

    def lines(self) -> list[str]:
        """What has come, each with its priority and identifier."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode())
            except TimeoutError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Listener]:
    """The log, with the panel's two loggers connected to it."""
    listener = Listener(tmp_path / "log")
    handlers = {}
    for name, identifier in ((journal.AUDIT, "streamfleet-audit"), (journal.LOGIN, "streamfleet-login")):
        handlers[name] = journal.SystemLog(str(listener.path), identifier)
        logging.getLogger(name).addHandler(handlers[name])
    yield listener
    for name, handler in handlers.items():
        logging.getLogger(name).removeHandler(handler)
        handler.close()
    listener.close()


def events(lines: list[str], identifier: str) -> list[dict[str, Any]]:
    """The objects; 86: authpriv, information."""
    start = f"<86>{identifier}: "
    assert all(line.startswith(start) for line in lines), lines
    return [json.loads(line.removeprefix(start)) for line in lines]


def test_an_entry_is_told_once_it_is_stored_as_the_api_has_it(
    log: Listener, world: None, run: Run, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        run({"customers": [{"username": "carol", "name": "Carol S. 你好", "password": "very-secret-1"}]}, "shop")
    told = events(log.lines(), "streamfleet-audit")
    assert len(told) == 1
    stored = represent.audit(AuditLog.objects.latest("id"))
    assert told[0] == {"event": "audit", **json.loads(json.dumps(stored))}
    assert told[0]["owner"] == "carol"
    assert told[0]["changes"]["name"] == {"before": None, "after": "Carol S. 你好"}
    assert "very-secret-1" not in str(told)


def test_what_is_rolled_back_is_not_told(log: Listener, world: None, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        audit_entry(system("test"), "created", "customer", "x").save()
        transaction.set_rollback(True)
    assert log.lines() == []
    assert not AuditLog.objects.filter(key="x").exists()


def test_reading_credentials_and_making_a_token_are_told(
    log: Listener, api: Callable[..., Api], django_capture_on_commit_callbacks: Any
) -> None:
    alice = api("alice")
    with django_capture_on_commit_callbacks(execute=True):
        _, answer = alice("GET", "/media-services/rock/credentials")
        _, made = alice("POST", "/tokens", {"name": "mine"})
    lines = log.lines()
    told = events(lines, "streamfleet-audit")
    assert [(item["actor"], item["action"], item["kind"]) for item in told] == [
        ("alice", "read_credentials", "media_service"),
        ("alice", "created", "token"),
    ]
    assert answer["credentials"]["source_password"] not in "".join(lines)
    assert made["token"] not in "".join(lines)


def test_many_at_once_are_told_as_one(
    log: Listener, db: None, django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_LINES", 2)
    with django_capture_on_commit_callbacks(execute=True):
        AuditLog.objects.bulk_create([audit_entry(system("x"), "created", "customer", f"c{n}") for n in range(3)])
    told = events(log.lines(), "streamfleet-audit")
    first, last = AuditLog.objects.earliest("id").pk, AuditLog.objects.latest("id").pk
    assert len(told) == 1
    assert told[0]["event"] == "audit_bulk"
    assert (told[0]["first"], told[0]["last"], told[0]["counts"]) == (first, last, {"customer created": 3})


def test_a_long_entry_names_its_fields_only(log: Listener, db: None, django_capture_on_commit_callbacks: Any) -> None:
    changes = {"name": {"before": "", "after": "x" * journal.LONGEST}, "email": {"before": "", "after": "a@b.example"}}
    with django_capture_on_commit_callbacks(execute=True):
        audit_entry(system("x"), "updated", "customer", "carol", changes).save()
    assert events(log.lines(), "streamfleet-audit")[0]["changes"] == ["email", "name"]


def test_refused_logins_are_told_with_their_address_and_no_name(log: Listener, world: None) -> None:
    browser = Client(REMOTE_ADDR="", HTTP_X_REAL_IP="2001:db8::7")
    page = browser.post("/login/", {"username": "my-password-in-the-wrong-field", "password": "wrong"}, secure=True)
    assert page.status_code == 200
    refused = Client(HTTP_X_REAL_IP="203.0.113.9", REMOTE_ADDR="", HTTP_AUTHORIZATION="Bearer sft_wrong")
    assert refused.get("/api/v1/whoami").status_code == 401
    lines = log.lines()
    assert events(lines, "streamfleet-login") == [
        {"event": "login_refused", "address": "2001:db8::7", "via": "portal"},
        {"event": "login_refused", "address": "203.0.113.9", "via": "api"},
    ]
    assert "my-password" not in "".join(lines)


def test_without_a_log_nothing_fails(
    log: Listener, db: None, capsys: pytest.CaptureFixture[str], django_capture_on_commit_callbacks: Any
) -> None:
    log.close()
    log.path.unlink()
    with django_capture_on_commit_callbacks(execute=True):
        apply_as(None, {"customers": [{"username": "dora"}]})
    assert 'streamfleet-audit: {"event":"audit"' in capsys.readouterr().err
