"""Resellers' own names for the panel."""

from __future__ import annotations

from typing import Any

from streamfleet_panel.admin_pages.planned import PlannedAdmin, PlannedForm
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.models import PanelDomain


class PanelDomainAdmin(PlannedAdmin):
    """Panel domains of every reseller that is not deleted; whether one is proved is read, never set."""

    kind = "panel_domain"
    form = PlannedForm
    lookups = {"reseller": "reseller__username"}
    list_display = ("name", "reseller", "brand", "status", "enabled", "verified_at", "checked_at")
    list_filter = ("status", "enabled")
    search_fields = ("name", "brand", "reseller__username")
    autocomplete_fields = ("reseller",)
    _about: Any = ("status", "message", "cname", "verified_at", "checked_at", "next_check_at", "label", "created_at")
    add_fieldsets: Any = ((None, {"fields": ("reseller", "name", "brand", "enabled")}),)
    fieldsets = (*add_fieldsets, ("About", {"fields": _about}))
    readonly_fields = _about


site.register(PanelDomain, PanelDomainAdmin)
