"""Who did what, and who failed to log in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import models

from streamfleet_panel import journal
from streamfleet_panel.models.account import Account


class AuditQuerySet(models.QuerySet["AuditLog"]):
    """What is stored is told to the system's log, too."""

    def bulk_create(self, objs: Iterable[AuditLog], *args: Any, **kwargs: Any) -> list[AuditLog]:
        """As Django's."""
        made = super().bulk_create(objs, *args, **kwargs)
        journal.tell(made)
        return made


class AuditLog(models.Model):
    """One change of one object, or one look at its secrets. ``changes`` never holds a secret."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.ForeignKey(Account, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    # The name as it was: stays when the account is gone; "node:x", "worker", "system" for machines.
    actor_name = models.CharField(max_length=100)
    # The administrator behind a session that was taken over ("log in as").
    impersonator = models.CharField(max_length=64, blank=True, default="")
    token_id = models.CharField(max_length=8, blank=True, default="")
    via = models.CharField(max_length=10, default="api")
    ip = models.GenericIPAddressField(null=True, blank=True)
    action = models.CharField(max_length=30)
    kind = models.CharField(max_length=30)
    key = models.CharField(max_length=200)
    # Whose object it is: the customer, who may read this entry (and whose reseller may).
    owner = models.ForeignKey(Account, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    changes = models.JSONField(default=dict)

    # Name of the owner, of an entry that is being made.
    owner_name: str | None = None

    objects = AuditQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "audit log entry"
        verbose_name_plural = "audit log"
        indexes = [models.Index(fields=["kind", "key"])]

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.kind} {self.key}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As Django's, and told to the system's log."""
        super().save(*args, **kwargs)
        journal.tell([self])


class AuthFailure(models.Model):
    """Failed API log-ins of one address in one minute; shared by all web processes."""

    ip = models.CharField(max_length=45)
    minute = models.BigIntegerField()
    count = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = "failed API log-in"
        constraints = [models.UniqueConstraint(fields=["ip", "minute"], name="panel_failures_ip_minute")]

    def __str__(self) -> str:
        return f"{self.ip}: {self.count}"
