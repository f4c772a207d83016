"""``streamfleet-panel reset_password``: a new password by whoever is root on the panel's host."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone

from streamfleet_panel.models import Account, ApiToken, AuditLog
from tests_support import apply_as, token_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def reset(world: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(order: Any = None, /, **fields: Any) -> Any:
        text = order if isinstance(order, str) else json.dumps({"username": "boss", "password": "a-new-one", **fields})
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        output = io.StringIO()
        call_command("reset_password", stdout=output)
        return json.loads(output.getvalue())

    return call


def logged_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def test_a_new_password_ends_sessions_and_the_same_again_nothing(reset: Any) -> None:
    browser = Client()
    browser.force_login(Account.objects.get(username="boss"), "streamfleet_panel.auth.AccountBackend")
    assert logged_in(browser)
    assert reset(username=" Boss ") == {
        "changed": True, "username": "boss", "email": None, "enabled": True,
        "password_changed": True, "revoked": [], "unlocked": False,
    }  # fmt: skip
    assert Account.objects.get(username="boss").check_password("a-new-one")
    assert not logged_in(browser)
    entry = AuditLog.objects.order_by("-id").first()
    assert entry is not None
    assert (entry.actor_name, entry.kind, entry.key, entry.action) == ("command line", "customer", "boss", "updated")
    assert "a-new-one" not in json.dumps(entry.changes)
    browser.force_login(Account.objects.get(username="boss"), "streamfleet_panel.auth.AccountBackend")
    assert not reset()["changed"]
    assert logged_in(browser)


def test_a_visit_to_another_account_ends_too(reset: Any) -> None:
    """It leads back to the visitor's own account."""
    browser = Client()
    browser.force_login(Account.objects.get(username="boss"), "streamfleet_panel.auth.AccountBackend")
    browser.post("/hijack/acquire/", {"user_pk": Account.objects.get(username="alice").pk})
    assert browser.session["_auth_user_id"] == str(Account.objects.get(username="alice").pk)
    other = Client()
    other.force_login(Account.objects.get(username="root"), "streamfleet_panel.auth.AccountBackend")
    reset()
    assert browser.get("/").status_code == 302
    browser.post("/hijack/release/")
    assert not logged_in(browser)
    assert logged_in(other)


def test_locks_are_lifted(reset: Any) -> None:
    AccessAttempt.objects.create(
        username="Boss", ip_address="192.0.2.1", attempt_time=timezone.now(), failures_since_start=10
    )
    AccessAttempt.objects.create(
        username="root", ip_address="192.0.2.1", attempt_time=timezone.now(), failures_since_start=10
    )
    assert reset(dry_run=True)["unlocked"] is False
    assert reset()["unlocked"] is True
    assert list(AccessAttempt.objects.values_list("username", flat=True)) == ["root"]


def test_tokens_end_by_choice_but_for_those_to_keep(reset: Any) -> None:
    for _ in range(3):
        token_for("boss")
    other = token_for("root")
    kept, *others = list(ApiToken.objects.filter(account__username="boss").values_list("token_id", flat=True))
    assert reset()["revoked"] == []
    again = reset(revoke_tokens=True, keep_tokens=[kept])
    assert (again["changed"], again["password_changed"], sorted(again["revoked"])) == (True, False, sorted(others))
    assert [token.token_id for token in ApiToken.objects.filter(account__username="boss")] == [kept]
    assert ApiToken.objects.get(account__username="root").is_valid(other)
    assert AuditLog.objects.filter(kind="token", action="deleted", key__in=others).count() == 2


def test_a_dry_run_tells_and_changes_nothing(reset: Any) -> None:
    token_for("boss")
    told = reset(dry_run=True, revoke_tokens=True)
    assert (told["changed"], told["password_changed"], len(told["revoked"])) == (True, True, 1)
    assert not Account.objects.get(username="boss").check_password("a-new-one")
    assert ApiToken.objects.filter(account__username="boss").count() == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"username": "ghost"}, "there is no account 'ghost'; nothing was changed"),
        ({"username": "alice", "administrator": True}, "alice is no administrator; nothing was changed"),
        ({"password": "1234", "revoke_tokens": True}, "shorter than 5 characters.*nothing was changed"),
        ({"password": None}, "not the JSON"),
        ({"pasword": "x"}, "not known: pasword"),
    ],
)
def test_what_cannot_be_is_refused_whole(reset: Any, fields: dict[str, Any], message: str) -> None:
    token_for("boss")
    before = dict(Account.objects.values_list("username", "password"))
    with pytest.raises(CommandError, match=message):
        reset(**fields)
    assert dict(Account.objects.values_list("username", "password")) == before
    assert ApiToken.objects.filter(account__username="boss").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"username": "boss"}'])
def test_what_is_no_order_is_refused(reset: Any, text: str) -> None:
    with pytest.raises(CommandError, match="standard input is not the JSON"):
        reset(text)


def test_a_deleted_account_is_none(reset: Any) -> None:
    apply_as(None, {"customers": [{"username": "carol", "state": "absent"}]})
    with pytest.raises(CommandError, match="there is no account 'carol'"):
        reset(username="carol")
