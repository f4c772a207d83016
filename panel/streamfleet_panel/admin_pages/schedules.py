"""Schedules: entries of media services' calendars."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from streamfleet_panel.admin_pages.planned import PlannedAdmin, PlannedForm
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.models import Schedule
from streamfleet_panel.portal import display as words
from streamfleet_panel.portal.forms import Days


class ScheduleForm(PlannedForm):
    """Everything that an entry says."""

    days = Days(
        widget=UnfoldAdminCheckboxSelectMultipleWidget, help_text="Days on which it begins. None ticked: every day."
    )


class ScheduleAdmin(PlannedAdmin):
    """Entries of the calendars of every media service that is not deleted."""

    kind = "schedule"
    form = ScheduleForm
    lookups = {"media_service": "media_service__slug"}
    list_display = ("name", "media_service", "enabled", "playlist", "dj", "when")
    list_filter = ("enabled",)
    search_fields = ("name", "playlist", "dj", "media_service__slug")
    autocomplete_fields = ("media_service",)
    add_fieldsets: Any = (
        (None, {"fields": ("media_service", "name", "enabled")}),
        ("Who", {"fields": (("playlist", "dj"),)}),
        ("When", {"fields": ("days", ("start", "end"), ("start_date", "end_date"))}),
    )
    fieldsets = (*add_fieldsets, ("About", {"fields": ("label", "created_at")}))
    readonly_fields = ("label", "created_at")

    @display(description="When")
    def when(self, obj: Schedule) -> str:
        """Its time."""
        return words.time_of_entry(obj)


site.register(Schedule, ScheduleAdmin)
