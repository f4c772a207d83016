"""Schedules: entries of a media service's calendar, each of which adds a time to a playlist or a DJ."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.db import models

from streamfleet_panel.models.service import MediaService


class Schedule(models.Model):
    """One entry. It names either a playlist or a DJ of its service, which the planner sees to being there.

    It stays a row of its service while that is deleted and kept, so it comes back with it.
    """

    media_service = models.ForeignKey(MediaService, on_delete=models.CASCADE, related_name="schedules")
    name = models.CharField(max_length=63)
    playlist = models.CharField(max_length=63, null=True, blank=True)
    dj = models.CharField("DJ", max_length=32, null=True, blank=True)
    # ["mon", …], or None: every day.
    days = models.JSONField(null=True, blank=True)
    # HH:MM in the service's time zone; an end that is not after its start is on the next day.
    start = models.CharField(max_length=5)
    end = models.CharField(max_length=5)
    # The first and the last day on which it begins.
    start_date = models.DateField(null=True, blank=True)
    end_date = models.DateField(null=True, blank=True)
    enabled = models.BooleanField(default=True)
    label = models.CharField("ownership label", max_length=100, null=True, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["media_service__slug", "name"]
        constraints = [
            models.UniqueConstraint(fields=["media_service", "name"], name="panel_schedule_of_service"),
            models.CheckConstraint(
                condition=models.Q(playlist=None, dj__isnull=False) | models.Q(playlist__isnull=False, dj=None),
                name="panel_schedule_of_one",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.media_service.slug}/{self.name}"

    def for_node(self) -> dict[str, Any]:
        """As the node document has it: every field, null where there is none."""
        return {
            "name": self.name,
            "enabled": self.enabled,
            "playlist": self.playlist,
            "dj": self.dj,
            "days": self.days,
            "start": self.start,
            "end": self.end,
            "start_date": _iso(self.start_date),
            "end_date": _iso(self.end_date),
        }


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
