"""Making and revoking API tokens, for the pages; who may do it for whom is asked before."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from streamfleet_panel.access import Actor, require
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.models import MACHINES, Account, ApiToken, Node


def issue(
    actor: Actor,
    name: str,
    *,
    account: Account | None = None,
    node: Node | None = None,
    machine: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """A new token of one bearer (account, node or machine, of ``MACHINES``), and its secret, known only now."""
    require(actor, "create", "token")
    if [account is not None, node is not None, machine in MACHINES].count(True) != 1:
        raise ValueError("a token has one bearer")
    scope = machine or (f"node:{node.name}" if node is not None else "account")
    token = ApiToken(name=name, scope=scope, account=account, node=node, expires_at=expires_at, created_by=actor.name)
    secret = token.new_secret()
    changes = {"scope": {"before": None, "after": scope}, "name": {"before": None, "after": name}}
    with transaction.atomic():
        token.save()
        audit_entry(actor, "created", "token", token.token_id, changes, account).save()
    return token, secret


def revoke(actor: Actor, token: ApiToken) -> None:
    """The token stops working at once."""
    require(actor, "delete", "token")
    with transaction.atomic():
        audit_entry(actor, "deleted", "token", token.token_id, {}, token.account).save()
        token.delete()
