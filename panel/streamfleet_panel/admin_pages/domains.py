"""Custom domains of media services."""

from __future__ import annotations

from typing import Any

from streamfleet_panel.admin_pages.planned import PlannedAdmin, PlannedForm
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.models import Domain


class DomainAdmin(PlannedAdmin):
    """Domains of every media service that is not deleted; whether one is proved is read, never set."""

    kind = "domain"
    form = PlannedForm
    lookups = {"media_service": "media_service__slug"}
    list_display = ("name", "media_service", "status", "enabled", "verified_at", "checked_at")
    list_filter = ("status", "enabled")
    search_fields = ("name", "media_service__slug", "media_service__customer__username")
    autocomplete_fields = ("media_service",)
    _about: Any = ("status", "message", "cname", "verified_at", "checked_at", "next_check_at", "label", "created_at")
    add_fieldsets: Any = ((None, {"fields": ("media_service", "name", "enabled")}),)
    fieldsets = (*add_fieldsets, ("About", {"fields": _about}))
    readonly_fields = _about


site.register(Domain, DomainAdmin)
