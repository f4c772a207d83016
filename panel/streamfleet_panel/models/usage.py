"""What media services use, as their nodes last told it."""

from __future__ import annotations

from django.db import models

from streamfleet_panel.models.service import MediaService


class Usage(models.Model):
    """Of one service: current values. None: not known, of an engine that does not tell it or has not answered."""

    media_service = models.OneToOneField(MediaService, on_delete=models.CASCADE, primary_key=True, related_name="usage")
    listeners = models.PositiveIntegerField(null=True, blank=True)
    # The most at once in the month of UTC that is named.
    listeners_peak = models.PositiveIntegerField(default=0)
    month = models.CharField(max_length=7)
    sources = models.JSONField(null=True, blank=True)
    # Of the service's own files, and of its customer's library on the node.
    disk_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    library_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    # The last sources that were sent away for their bitrate.
    drops = models.JSONField(default=list)
    reported_at = models.DateTimeField()

    class Meta:
        verbose_name = "use"
        verbose_name_plural = "use"

    def __str__(self) -> str:
        return f"{self.media_service_id}: {self.listeners}"


class Listening(models.Model):
    """Who listens to a service now, as its node last told it: at most 200, in the node's order.

    ``sessions``: source, mount, address (as far as addresses are kept), agent, started, bytes (None: not known).
    """

    media_service = models.OneToOneField(
        MediaService, on_delete=models.CASCADE, primary_key=True, related_name="listening"
    )
    sessions = models.JSONField(default=list)
    reported_at = models.DateTimeField()

    class Meta:
        verbose_name = "listeners"
        verbose_name_plural = "listeners"

    def __str__(self) -> str:
        return f"{self.media_service_id}: {len(self.sessions)}"
