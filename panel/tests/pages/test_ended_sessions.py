"""What ends log-in sessions: another password, a disabled or deleted account, the loss of the API; however it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from streamfleet_panel import access
from streamfleet_panel.apply import Options, apply_document
from streamfleet_panel.models import Account
from tests_support import Api

PASSWORD = "correct horse"
NEW = "another battery"
pytestmark = pytest.mark.usefixtures("world")
As = Callable[..., Client]


def apply(document: dict[str, Any], **options: Any) -> None:
    apply_document(document, access.system(), Options(update_password="always", **options))


def change(username: str, **fields: Any) -> None:
    apply({"customers": [{"username": username, **fields}]})


def visit(as_: As, visitor: str, visited: str = "alice") -> Client:
    """Somebody who is logged in as somebody else."""
    client = as_(visitor)
    client.post("/hijack/acquire/", {"user_pk": Account.objects.get(username=visited).pk})
    assert user_of(client) == visited
    return client


def user_of(client: Client) -> str:
    """Whose pages a browser is shown; "" where it has to log in."""
    if client.get("/profile/").status_code != 200:
        return ""
    return Account.objects.get(pk=client.session["_auth_user_id"]).username


@pytest.mark.parametrize("visitor", ["root", "shop"])
@pytest.mark.parametrize("fields", [{"password": NEW}, {"status": "disabled"}, {"api_access": False}])
def test_a_visit_ends_with_what_its_visitor_loses(as_: As, visitor: str, fields: dict[str, Any]) -> None:
    own, there, other = as_(visitor), visit(as_, visitor), visit(as_, "root2", "bob")
    change(visitor, **fields)
    assert (user_of(own), user_of(there)) == ("", "")
    there.post("/hijack/release/")
    assert user_of(there) == "", "nor does it lead back to the visitor's own account"
    assert user_of(other) == "bob"
    if "status" in fields:
        change(visitor, status="enabled")
        assert (user_of(own), user_of(there)) == ("", ""), "what has ended stays so"


def test_one_of_the_portals_own_pages(as_: As) -> None:
    """Whoever changes the password goes on; all others of theirs end, visits to other accounts too."""
    change("shop", password=PASSWORD)
    own, second, there = as_("shop"), as_("shop"), visit(as_, "shop")
    form = {"old_password": PASSWORD, "password": NEW, "password_again": NEW}
    page = own.get("/profile/password/").content.decode()
    assert all(f'name="{name}"' in page for name in form)
    assert own.post("/profile/password/", form).status_code == 302
    assert (user_of(own), user_of(second), user_of(there)) == ("shop", "", "")


def test_the_api(as_: As, api: Callable[..., Api]) -> None:
    there = visit(as_, "shop")
    status, _body = api("root")("PUT", "/customers/shop?update_password=always", {"password": NEW})
    assert status == 200
    assert user_of(there) == ""


def test_a_disabled_resellers_customers_lose_theirs(as_: As) -> None:
    alice, bob = as_("alice"), as_("bob")
    change("shop", status="disabled")
    change("shop", status="enabled")
    assert (user_of(alice), user_of(bob)) == ("", "bob")


def test_a_deleted_account_has_none_when_it_is_restored(as_: As) -> None:
    alice = as_("alice")
    change("alice", state="absent")
    change("alice", state="present", status="enabled")
    assert Account.objects.get(username="alice").is_enabled
    assert user_of(alice) == ""


def test_what_takes_nothing_away_ends_nothing(as_: As) -> None:
    change("alice", password=PASSWORD)
    alice, there = as_("alice"), visit(as_, "shop", "carol")
    change("alice", password=PASSWORD, name="Another", email="new@example.net")
    change("alice", api_access=True, status="enabled")
    change("shop", name="Shop")
    apply({"customers": [{"username": "alice", "password": NEW}]}, dry_run=True)
    assert (user_of(alice), user_of(there)) == ("alice", "carol")
