"""Relays: streams of others that a media service takes over, and servers that it sends its own to."""

from __future__ import annotations

from typing import Any

from django.db import models

from streamfleet_panel import secrets
from streamfleet_panel.models.service import MediaService


class Relay(models.Model):
    """One relay of a service. ``mount`` is the service's own; ``address`` is the other side.

    It stays a row of its service while that is deleted and kept, so it comes back with it.
    """

    class Direction(models.TextChoices):
        """Which way the stream goes, seen from the service."""

        IN = "in"
        OUT = "out"

    media_service = models.ForeignKey(MediaService, on_delete=models.CASCADE, related_name="relays")
    name = models.CharField(max_length=63)
    direction = models.CharField(max_length=3, choices=Direction.choices)
    address = models.CharField(max_length=255)
    mount = models.CharField(max_length=100, blank=True, default="")
    username = models.CharField(max_length=64, null=True, blank=True)
    credentials_encrypted = models.TextField(blank=True, default="", editable=False)
    enabled = models.BooleanField(default=True)
    djs_first = models.BooleanField("DJs first", default=True)
    silence_seconds = models.PositiveIntegerField(default=15)
    reconnect_seconds = models.PositiveIntegerField(default=30)
    label = models.CharField("ownership label", max_length=100, null=True, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["media_service__slug", "name"]
        constraints = [models.UniqueConstraint(fields=["media_service", "name"], name="panel_relay_of_service")]

    def __str__(self) -> str:
        return f"{self.media_service.slug}/{self.name}"

    @property
    def password(self) -> str | None:
        """The password in clear. Only for the service's node."""
        return secrets.decrypt(self.credentials_encrypted).get("password")

    @password.setter
    def password(self, value: str | None) -> None:
        self.credentials_encrypted = secrets.encrypt({} if value is None else {"password": value})

    def for_node(self) -> dict[str, Any]:
        """As the node document has it: every field."""
        return {
            "name": self.name,
            "direction": self.direction,
            "address": self.address,
            "mount": self.mount,
            "username": self.username,
            "password": self.password,
            "enabled": self.enabled,
            "djs_first": self.djs_first,
            "silence_seconds": self.silence_seconds,
            "reconnect_seconds": self.reconnect_seconds,
        }
