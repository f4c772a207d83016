"""DJs of media services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import action, display
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminPasswordWidget

from streamfleet_panel import control
from streamfleet_panel.admin_pages.planned import PlannedAdmin, PlannedForm, actor_of
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.admin_pages.times import Times
from streamfleet_panel.models import Dj
from streamfleet_panel.portal import display as words


class DjForm(PlannedForm):
    """Everything that a DJ has; the password is only ever written here."""

    password = forms.CharField(
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="8 to 64 letters, digits and . _ ~ - Empty: it stays as it is; a new DJ gets one, which the "
        "service's page in the portal shows.",
    )
    active = Times("Only for a DJ whom it limits to these times.")


class DjAdmin(PlannedAdmin):
    """DJs of every media service that is not deleted."""

    kind = "dj"
    form = DjForm
    lookups = {"media_service": "media_service__slug"}
    list_display = ("username", "media_service", "name", "enabled", "priority", "when")
    list_filter = ("enabled", "scheduled_only", "record")
    search_fields = ("username", "name", "media_service__slug")
    autocomplete_fields = ("media_service",)
    actions = ("kick_chosen",)
    add_fieldsets: Any = (
        (None, {"fields": ("media_service", "username", "name", "password", "enabled")}),
        ("On the air", {"fields": (("priority", "grace_seconds"), "record")}),
        ("When", {"fields": ("scheduled_only", "active")}),
    )
    fieldsets = (*add_fieldsets, ("About", {"fields": ("label", "created_at")}))
    readonly_fields = ("label", "created_at")

    @display(description="When")
    def when(self, obj: Dj) -> str:
        """The times that bind the DJ."""
        return words.dj_times(obj)

    @action(description="Disconnect the chosen DJs now", permissions=["change"])
    def kick_chosen(self, request: HttpRequest, queryset: QuerySet[Dj]) -> None:
        """Those who may connect may come back."""
        chosen = list(queryset)
        for dj in chosen:
            control.kick(actor_of(request), dj)
        messages.success(request, f"Being disconnected: {', '.join(str(dj) for dj in chosen)}.")


site.register(Dj, DjAdmin)
