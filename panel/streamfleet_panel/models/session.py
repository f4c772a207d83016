"""Who listened to media services, and what these have sent."""

from __future__ import annotations

from django.db import models

from streamfleet_panel.models.service import MediaService

#: Bytes of what limits call a megabyte.
MB = 1024 * 1024


class ListenerSession(models.Model):
    """A listener's session that has ended. ``name`` is the node's own id for it; told again, it is the same."""

    class Source(models.TextChoices):
        """How the listener came: by the web server, on the engine's own port, or watching by HLS."""

        WEB = "web"
        DIRECT = "direct"
        HLS = "hls"

    media_service = models.ForeignKey(MediaService, on_delete=models.CASCADE, related_name="listener_sessions")
    name = models.CharField(max_length=32)
    source = models.CharField(max_length=6, choices=Source.choices)
    mount = models.CharField(max_length=100, blank=True, default="")
    # What is left of it, as the operator wants it kept: an address, a network, or nothing.
    address = models.CharField(max_length=49, blank=True, default="")
    agent = models.CharField(max_length=255, blank=True, default="")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(db_index=True)
    bytes = models.PositiveBigIntegerField()

    class Meta:
        ordering = ["-ended_at", "-pk"]
        verbose_name = "listener session"
        constraints = [models.UniqueConstraint(fields=["media_service", "name"], name="panel_session_of_service")]
        indexes = [models.Index(fields=["media_service", "ended_at"], name="panel_session_by_end")]

    def __str__(self) -> str:
        return self.name


class Transfer(models.Model):
    """What a service has sent in a month of UTC (``2026-11``).

    The node counts on and tells how far it is: ``counter`` names its count, ``counted`` is the most that was told of
    it, so what is told twice counts once, and a node that was made anew and begins at nothing adds to what was before.
    ``earlier`` is the same of counters before, ``[[counter, counted]]``, the latest last: a file may be read again.
    """

    media_service = models.ForeignKey(MediaService, on_delete=models.CASCADE, related_name="transfers")
    month = models.CharField(max_length=7)
    bytes = models.PositiveBigIntegerField(default=0)
    counter = models.CharField(max_length=32)
    counted = models.PositiveBigIntegerField(default=0)
    earlier = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["-month"]
        constraints = [models.UniqueConstraint(fields=["media_service", "month"], name="panel_transfer_of_month")]

    def __str__(self) -> str:
        return f"{self.media_service_id}: {self.month}"
