"""What stations have played, and which DJs are connected, as their nodes tell it."""

from __future__ import annotations

from django.db import models

from streamfleet_panel.models.service import MediaService


class PlayedTrack(models.Model):
    """One line of a station's history: a track, or a title of a DJ. Texts are a tenant's, and mean nothing here."""

    media_service = models.ForeignKey(MediaService, on_delete=models.CASCADE, related_name="played")
    at = models.DateTimeField(db_index=True)
    playlist = models.CharField(max_length=100, null=True, blank=True)
    path = models.CharField(max_length=500, null=True, blank=True)
    title = models.CharField(max_length=300, null=True, blank=True)
    artist = models.CharField(max_length=300, null=True, blank=True)
    dj = models.CharField(max_length=32, null=True, blank=True)
    # Of what is stored of the line: a history that is read again, for example one that was restored, counts once.
    digest = models.CharField(max_length=32)

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name = "played track"
        indexes = [models.Index(fields=["media_service", "-at", "-id"])]
        constraints = [models.UniqueConstraint(fields=["media_service", "digest"], name="panel_played_once")]

    def __str__(self) -> str:
        return f"{self.media_service_id}: {self.title or self.path}"


class OnAir(models.Model):
    """The DJs of a station: who is heard (None: the AutoDJ, or a source of the station's own), and who is connected."""

    media_service = models.OneToOneField(
        MediaService, on_delete=models.CASCADE, primary_key=True, related_name="on_air"
    )
    dj = models.CharField(max_length=32, null=True, blank=True)
    connected = models.JSONField(default=list)
    reported_at = models.DateTimeField()

    class Meta:
        verbose_name = "DJs on the air"

    def __str__(self) -> str:
        return f"{self.media_service_id}: {self.dj}"


class PassedOver(models.Model):
    """Files of the library that the station's AutoDJ does not play: how many, and the first of them with the reason."""

    media_service = models.OneToOneField(
        MediaService, on_delete=models.CASCADE, primary_key=True, related_name="passed_over"
    )
    count = models.PositiveIntegerField(default=0)
    items = models.JSONField(default=list)
    reported_at = models.DateTimeField()

    class Meta:
        verbose_name = "files that are passed over"
        verbose_name_plural = "files that are passed over"

    def __str__(self) -> str:
        return f"{self.media_service_id}: {self.count}"
