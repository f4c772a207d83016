"""Sessions of listeners, to read."""

from __future__ import annotations

from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest

from streamfleet_panel.admin_pages.planned import ReadOnlyAdmin
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.models import MB, ListenerSession
from streamfleet_panel.portal import display as words


class SessionAdmin(ReadOnlyAdmin):
    """Who has listened to what; a service's own page in the portal filters by mount and day."""

    list_display = ("when", "media_service", "mount", "source", "address", "agent", "how_long", "sent")
    list_filter = ("source",)
    search_fields = ("media_service__slug", "address", "agent")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ListenerSession]:
        """With their services."""
        return super().get_queryset(request).select_related("media_service")

    @display(description="Began (UTC)", ordering="started_at")
    def when(self, obj: ListenerSession) -> str:
        """To the second, on one line."""
        return f"{obj.started_at:%Y-%m-%d\u00a0%H:%M:%S}"

    @display(description="Duration")
    def how_long(self, obj: ListenerSession) -> str:
        """In hours, minutes and seconds."""
        return words.duration(obj.started_at, obj.ended_at)

    @display(description="MB", ordering="bytes")
    def sent(self, obj: ListenerSession) -> str:
        """To a tenth."""
        return f"{obj.bytes / MB:.1f}"


site.register(ListenerSession, SessionAdmin)
