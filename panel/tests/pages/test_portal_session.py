"""Logging in and out, lock-out, setting a forgotten password."""

from __future__ import annotations

import re

import pytest
from django.core import mail
from django.test import Client

from streamfleet_panel.jobs import run_next
from streamfleet_panel.models import Account, AuditLog

PASSWORD = "correct horse"
pytestmark = pytest.mark.usefixtures("world")


def _log_in(client: Client, username: str = "alice", password: str = PASSWORD, **more: str):
    return client.post("/login/", {"username": username, "password": password, **more})


def test_login_and_logout() -> None:
    client = Client()
    assert client.get("/services/")["Location"] == "/login/?next=/services/"
    assert _log_in(client)["Location"] == "/"
    assert client.get("/")["Location"] == "/services/"
    assert client.get("/services/").status_code == 200
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get("/services/").status_code == 302


def test_username_in_capitals_is_the_same_account() -> None:
    assert _log_in(Client(), " Alice ").status_code == 302


def test_administrator_comes_to_the_overview() -> None:
    client = Client()
    _log_in(client, "root")
    assert client.get("/")["Location"] == "/admin/"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/tokens/", "/tokens/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("\\\\evil.example", "/"),
    ],
)
def test_next_stays_on_this_panel(target: str, expected: str) -> None:
    assert _log_in(Client(), next=target)["Location"] == expected


def test_wrong_password_and_disabled_account_are_told_the_same() -> None:
    wrong = _log_in(Client(), password="wrong password")
    Account.objects.filter(username="alice").update(status="disabled")
    disabled = _log_in(Client())
    words = b"do not belong together, or the account is disabled"
    assert words in wrong.content
    assert words in disabled.content


def test_disabling_ends_the_session() -> None:
    client = Client()
    _log_in(client)
    Account.objects.filter(username="shop").update(status="disabled")
    assert client.get("/services/").status_code == 302


def test_lock_out_counts_whatever_the_capitals(settings) -> None:  # type: ignore[no-untyped-def]
    client = Client()
    spellings = ["alice", "Alice", "ALICE", " alice", "aLICE"]
    for number in range(settings.AXES_FAILURE_LIMIT - 1):
        assert _log_in(client, spellings[number % 5], "wrong password").status_code == 200
    locked = _log_in(client, "alice", "wrong password")
    assert locked.status_code == 429
    assert b"Wait 15 minutes" in locked.content
    assert _log_in(client).status_code == 429
    # From elsewhere the account is not locked: nobody can lock others out.
    assert _log_in(Client(REMOTE_ADDR="192.0.2.77")).status_code == 302


def _ask(client: Client, address: str, **headers: str):
    answer = client.post("/password-reset/", {"email": address}, headers=headers)
    while run_next():
        pass
    return answer


@pytest.fixture
def mail_host(settings) -> None:  # type: ignore[no-untyped-def]
    settings.EMAIL_HOST = "mail.example.net"
    settings.ALLOWED_HOSTS = ["*"]


@pytest.mark.parametrize("path", ["/password-reset/", "/password-reset/sent/", "/password-reset/a/b/"])
def test_without_mail_there_is_no_reset(path: str) -> None:
    assert Client().get(path).status_code == 404
    assert b"/password-reset/" not in Client().get("/login/").content


@pytest.mark.usefixtures("mail_host")
def test_reset_mail_names_the_panels_own_address_whatever_host_is_claimed() -> None:
    answer = _ask(
        Client(), "Alice@Example.net", host="evil.example", **{"x-forwarded-host": "evil.example", "origin": "null"}
    )
    assert answer["Location"] == "/password-reset/sent/"
    (message,) = mail.outbox
    assert message.to == ["alice@example.net"]
    assert "https://panel.example.net/password-reset/" in message.body
    assert "evil" not in message.body + message.subject + str(message.extra_headers)


@pytest.mark.usefixtures("mail_host")
def test_reset_changes_the_password_once_and_is_recorded() -> None:
    _ask(Client(), "alice@example.net")
    path = re.search(r"https://panel\.example\.net(/\S+)", mail.outbox[0].body).group(1)  # type: ignore[union-attr]
    client = Client()
    form = client.get(path)["Location"]
    short = client.post(form, {"new_password1": "1234", "new_password2": "1234"})
    assert b"errorlist" in short.content
    done = client.post(form, {"new_password1": "brand new one", "new_password2": "brand new one"})
    assert done["Location"] == "/password-reset/complete/"
    assert Account.objects.get(username="alice").check_password("brand new one")
    assert AuditLog.objects.filter(key="alice", action="updated", changes__has_key="password").exists()
    assert b"expired" in Client().get(path).content


@pytest.mark.usefixtures("mail_host")
def test_reset_says_the_same_for_unknown_disabled_and_asked_again() -> None:
    Account.objects.filter(username="bob").update(status="disabled")
    for address in ("nobody@example.net", "bob@example.net"):
        assert _ask(Client(), address)["Location"] == "/password-reset/sent/"
    assert mail.outbox == []
    for _ in range(3):
        assert _ask(Client(), "alice@example.net")["Location"] == "/password-reset/sent/"
    assert len(mail.outbox) == 1
