"""Relays of media services."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminPasswordWidget

from streamfleet_panel.admin_pages.planned import PlannedAdmin, PlannedForm
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.models import Relay


class RelayForm(PlannedForm):
    """Everything that a relay has; the password is only ever written here."""

    password = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Password for the other side. Empty: it stays as it is.",
    )


class RelayAdmin(PlannedAdmin):
    """Relays of every media service that is not deleted."""

    kind = "relay"
    form = RelayForm
    fixed = ("direction",)
    lookups = {"media_service": "media_service__slug"}
    list_display = ("name", "media_service", "direction", "enabled", "address", "mount")
    list_filter = ("direction", "enabled")
    search_fields = ("name", "address", "media_service__slug")
    autocomplete_fields = ("media_service",)
    add_fieldsets: Any = (
        (None, {"fields": ("media_service", "name", "direction", "enabled")}),
        ("Ends", {"fields": ("address", ("username", "password"), "mount")}),
        ("On the air", {"fields": ("djs_first", ("silence_seconds", "reconnect_seconds"))}),
    )
    fieldsets = (*add_fieldsets, ("About", {"fields": ("label", "created_at")}))
    readonly_fields = ("label", "created_at")


site.register(Relay, RelayAdmin)
