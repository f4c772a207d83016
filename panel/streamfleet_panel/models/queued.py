"""The queue of a station: recordings that its owner has put at the head of what its AutoDJ plays."""

from __future__ import annotations

import secrets

from django.db import models

from streamfleet_panel.models.service import MediaService


def new_name() -> str:
    """What an entry is known by on its node. Never used again, in no database: what is known there is not played."""
    return secrets.token_hex(16)


class QueuedTrack(models.Model):
    """One recording of the customer's library that is played once. What became of it, its node tells.

    What is done stays in the node's document until its service changes, so that no document changes by itself.
    """

    class State(models.TextChoices):
        SENT = "sent"  # not looked at by the node yet
        WAITING = "waiting"  # there, and can be played
        PLAYED = "played"
        FAILED = "failed"  # cannot be played; the message says why

    UNDONE = (State.SENT, State.WAITING)

    media_service = models.ForeignKey(MediaService, on_delete=models.CASCADE, related_name="queue")
    name = models.CharField(max_length=32, unique=True, default=new_name, editable=False)
    path = models.CharField(max_length=500)
    place = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=20, choices=State.choices, default=State.SENT)
    message = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    done_at = models.DateTimeField(null=True, blank=True)
    # Generation of the service when it was told to be done.
    done_generation = models.PositiveBigIntegerField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["media_service__slug", "place", "pk"]
        verbose_name = "queued track"
        indexes = [models.Index(fields=["media_service", "state"])]

    def __str__(self) -> str:
        return f"{self.media_service.slug}/{self.path}"

    def for_node(self) -> dict[str, str]:
        """As the node document has it."""
        return {"id": self.name, "path": self.path}
