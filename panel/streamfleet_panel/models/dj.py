"""DJs: who may go on the air of a media service live, each with a log-in of their own."""

from __future__ import annotations

from typing import Any

from django.db import models

from streamfleet_panel import secrets
from streamfleet_panel.models.service import MediaService


class Dj(models.Model):
    """One DJ of a service. The user name is the mount, too.

    It stays a row of its service while that is deleted and kept, so it comes back with it.
    """

    media_service = models.ForeignKey(MediaService, on_delete=models.CASCADE, related_name="djs")
    username = models.CharField(max_length=32)
    name = models.CharField(max_length=100, blank=True, default="")
    credentials_encrypted = models.TextField(blank=True, default="", editable=False)
    priority = models.PositiveIntegerField(default=10)
    enabled = models.BooleanField(default=True)
    scheduled_only = models.BooleanField(default=False)
    # [{"days": ["mon"] or None, "start": "HH:MM", "end": "HH:MM"}] in the service's time zone.
    active = models.JSONField(null=True, blank=True)
    grace_seconds = models.PositiveIntegerField(default=10)
    record = models.BooleanField(default=False)
    # Raised by the action "kick"; the node disconnects the DJ when it sees a number it has not acted on.
    kick = models.PositiveIntegerField(default=0, editable=False)
    label = models.CharField("ownership label", max_length=100, null=True, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["media_service__slug", "username"]
        verbose_name = "DJ"
        verbose_name_plural = "DJs"
        constraints = [models.UniqueConstraint(fields=["media_service", "username"], name="panel_dj_of_service")]

    def __str__(self) -> str:
        return f"{self.media_service.slug}/{self.username}"

    @property
    def password(self) -> str | None:
        """The password in clear. Only for the service's owner (audited) and its node."""
        return secrets.decrypt(self.credentials_encrypted).get("password")

    @password.setter
    def password(self, value: str) -> None:
        self.credentials_encrypted = secrets.encrypt({"password": value})

    def for_node(self) -> dict[str, Any]:
        """As the node document has it: every field."""
        return {
            "username": self.username,
            "name": self.name,
            "password": self.password,
            "priority": self.priority,
            "enabled": self.enabled,
            "scheduled_only": self.scheduled_only,
            "active": self.active,
            "grace_seconds": self.grace_seconds,
            "record": self.record,
            "kick": self.kick,
        }
