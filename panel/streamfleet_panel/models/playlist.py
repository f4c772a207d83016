"""Playlists: what a media service plays by itself, by its AutoDJ."""

from __future__ import annotations

from typing import Any

from django.db import models

from streamfleet_panel.models.service import MediaService


class Playlist(models.Model):
    """Files of the customer's media library, and when they are played. Either ``folder`` or ``files`` is set.

    It stays a row of its service while that is deleted and kept, so it comes back with it.
    """

    class Type(models.TextChoices):
        ROTATION = "rotation"  # in turn with the others of this type, by weight
        SCHEDULED = "scheduled"  # instead of them, at its times
        JINGLE = "jingle"  # one file in between, every so often

    class Order(models.TextChoices):
        SHUFFLE = "shuffle"
        SEQUENTIAL = "sequential"

    media_service = models.ForeignKey(MediaService, on_delete=models.CASCADE, related_name="playlists")
    name = models.CharField(max_length=63)
    enabled = models.BooleanField(default=True)
    type = models.CharField(max_length=20, choices=Type.choices, default=Type.ROTATION)
    folder = models.CharField(max_length=500, null=True, blank=True)
    files = models.JSONField(null=True, blank=True)
    # How many there are: lists need not read them all to say so.
    file_count = models.PositiveIntegerField(default=0, editable=False)
    order = models.CharField(max_length=20, choices=Order.choices, default=Order.SHUFFLE)
    weight = models.PositiveIntegerField(default=1)
    # [{"days": ["mon"] or None, "start": "HH:MM", "end": "HH:MM"}] in the service's time zone; None: always.
    active = models.JSONField(null=True, blank=True)
    every_tracks = models.PositiveIntegerField(null=True, blank=True)
    every_minutes = models.PositiveIntegerField(null=True, blank=True)
    label = models.CharField("ownership label", max_length=100, null=True, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["media_service__slug", "name"]
        constraints = [models.UniqueConstraint(fields=["media_service", "name"], name="panel_playlist_of_service")]

    def __str__(self) -> str:
        return f"{self.media_service.slug}/{self.name}"

    def for_node(self) -> dict[str, Any]:
        """As the node document has it: every field, null where there is none."""
        return {
            "name": self.name,
            "enabled": self.enabled,
            "type": self.type,
            "folder": self.folder,
            "files": self.files,
            "order": self.order,
            "weight": self.weight,
            "active": self.active,
            "every_tracks": self.every_tracks,
            "every_minutes": self.every_minutes,
        }
