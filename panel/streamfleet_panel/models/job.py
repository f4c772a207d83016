"""Work that a request does not wait for: hashing many passwords, mail."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models

from streamfleet_panel import secrets
from streamfleet_panel.models.account import Account


class Job(models.Model):
    """Done by the jobs process. ``payload`` is encrypted (it may hold passwords) and emptied when the job ends."""

    class State(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    class Kind(models.TextChoices):
        APPLY = "apply"
        WELCOME_EMAIL = "welcome_email"
        PASSWORD_RESET_EMAIL = "password_reset_email"  # noqa: S105 - a kind of job

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING, db_index=True)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    payload_encrypted = models.TextField(blank=True, default="", editable=False)
    result = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)
    requested_by = models.ForeignKey(Account, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.state}"

    @property
    def payload(self) -> dict[str, Any]:
        return secrets.decrypt(self.payload_encrypted)
