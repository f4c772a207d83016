"""API tokens: hashed at rest, shown once."""

from __future__ import annotations

import hashlib
import secrets
import string
from datetime import datetime

from django.db import models
from django.utils import timezone

from streamfleet_panel.models.account import Account
from streamfleet_panel.models.node import Node

#: Scopes of machines that are no node's.
MACHINES = ("worker", "metrics")
_ID_ALPHABET = string.ascii_lowercase + string.digits


class ApiToken(models.Model):
    """``sft_<8 characters of id>_<43 characters>``.

    Scope ``account``: may what its account may. ``node:<name>``, ``worker`` and ``metrics`` belong to machines, not to
    a person: they have no account and outlive the administrator who made them (``created_by``).
    """

    token_id = models.CharField(max_length=8, unique=True)
    digest = models.CharField(max_length=64, editable=False)
    name = models.CharField(max_length=100)
    scope = models.CharField(max_length=80, default="account")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, null=True, blank=True, related_name="tokens")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, null=True, blank=True, related_name="tokens")
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "id"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} ({self.token_id})"

    @staticmethod
    def hash(secret: str) -> str:
        """SHA-256 of the whole token. It carries 256 random bits, so it needs no slow hash."""
        return hashlib.sha256(secret.encode()).hexdigest()

    def new_secret(self) -> str:
        """Set id and digest for a new secret, and return the secret; the only time that it is known. Does not save."""
        self.token_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))
        secret = f"sft_{self.token_id}_{secrets.token_urlsafe(32)}"
        self.digest = self.hash(secret)
        return secret

    def is_valid(self, secret: str, now: datetime | None = None) -> bool:
        """``secret`` is this token's, and it has not expired."""
        if not secrets.compare_digest(self.digest, self.hash(secret)):
            return False
        return self.expires_at is None or self.expires_at > (now or timezone.now())
