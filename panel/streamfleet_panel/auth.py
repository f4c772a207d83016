"""How people log in: the password hasher and the backend that refuses disabled accounts."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.http import HttpRequest

from streamfleet_panel import white_label
from streamfleet_panel.models import Account


class OwaspArgon2Hasher(Argon2PasswordHasher):
    """Argon2id with OWASP's minimum parameters (19 MiB, 2 passes, 1 lane): about 25 ms instead of Django's 110 ms."""

    time_cost = 2
    memory_cost = 19456
    parallelism = 1


class AccountBackend(BaseBackend):
    """User name and password of an account that may log in."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> Account | None:
        """The account, or None. Costs one hash in every case, so that timing does not tell which names exist."""
        if not username or password is None:
            return None
        account = Account.objects.select_related("reseller").filter(username=username.strip().lower()).first()
        if account is None:
            Account().set_password(password)
            return None
        if account.check_password(password) and account.is_active and white_label.lets_in(request, account):
            return account
        return None

    def get_user(self, user_id: int) -> Account | None:
        """The account of a session; None as soon as it is disabled or deleted."""
        account = Account.objects.select_related("reseller", "reseller_plan").filter(pk=user_id).first()
        return account if account is not None and account.is_active else None
