"""``streamfleet-panel reset_password``: a new log-in password, by whoever is root on the panel's host."""

from __future__ import annotations

import json
import sys
from typing import Any

from axes.models import AccessAttempt
from axes.utils import reset
from django.core.management.base import CommandError
from django.db import transaction

from streamfleet_panel.access import system
from streamfleet_panel.apply import ApiError, Options, apply_document
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.management.writing import WritingCommand
from streamfleet_panel.models import Account, ApiToken

_FIELDS = {"username", "password", "administrator", "revoke_tokens", "keep_tokens", "dry_run"}


def _unlock(account: Account) -> int:
    """Lift locks after wrong passwords, however the name was typed. Returns how many there were."""
    typed = AccessAttempt.objects.filter(username__iexact=account.username).values_list("username", flat=True)
    return sum(reset(username=name) for name in set(typed))


class Command(WritingCommand):
    """Reads from standard input ``{"username", "password"}`` and, by choice, ``administrator`` (bool: refuse accounts
    that are none), ``revoke_tokens`` (bool: API tokens of the account stop working, but for those whose ids are in
    ``keep_tokens``) and ``dry_run`` (bool: change nothing).

    Prints ``{"changed", "username", "email", "enabled", "password_changed", "revoked": [id, …], "unlocked"}``. A new
    password ends the account's sessions; the one that it has already ends none. Locks after wrong passwords are lifted.
    """

    help = "Set the log-in password of an account. Reads and prints JSON; run by the command streamfleet."

    def handle(self, *args: Any, **options: Any) -> None:
        order = self._order()
        actor, dry_run = system("command line"), bool(order.get("dry_run"))
        if not dry_run:
            self.check_writable(options)
        account = Account.objects.select_related("reseller").filter(username=order["username"].strip().lower()).first()
        if account is None or account.deleted_at is not None:
            raise CommandError(f"username: there is no account {order['username'][:100]!r}; nothing was changed")
        if order.get("administrator") and not account.is_administrator:
            raise CommandError(
                f"username: {account.username} is no administrator; nothing was changed. Name one who is, or set the "
                f"password by customer.yml or streamfleet user reset {account.username}"
            )
        # Before anything changes: a password that is refused leaves tokens and locks as they are.
        fields = {"username": account.username, "password": order["password"]}
        how = Options(update_password="always", dry_run=dry_run)  # noqa: S106
        with transaction.atomic():
            try:
                outcome = apply_document({"customers": [fields]}, actor, how)
            except ApiError as error:
                raise CommandError(f"{error.message}; nothing was changed") from None
            tokens = ApiToken.objects.filter(account=account).exclude(token_id__in=order.get("keep_tokens") or [])
            revoked = list(tokens.order_by("token_id")) if order.get("revoke_tokens") else []
            if not dry_run:
                for token in revoked:
                    audit_entry(actor, "deleted", "token", token.token_id, {}, account).save()
                    token.delete()
            unlocked = 0 if dry_run else _unlock(account)
        assert outcome is not None  # nothing was deferred
        self.stdout.write(
            json.dumps(
                {
                    "changed": outcome.changed or bool(revoked) or unlocked > 0,
                    "username": account.username,
                    "email": account.email,
                    "enabled": account.is_enabled,
                    "password_changed": outcome.changed,
                    "revoked": [token.token_id for token in revoked],
                    "unlocked": unlocked > 0,
                }
            )
        )

    def _order(self) -> dict[str, Any]:
        try:
            order = json.load(sys.stdin)
            if not isinstance(order, dict) or not all(
                isinstance(order.get(name), str) for name in ("username", "password")
            ):
                raise TypeError("username and password must be texts")
            if unknown := sorted(set(order) - _FIELDS):
                raise ValueError(f"not known: {', '.join(unknown)}")
        except (ValueError, TypeError) as error:
            raise CommandError(f"standard input is not the JSON that this command reads: {error}") from None
        return order
