"""Media users: log-ins with which customers bring media by SFTP and FTP over TLS."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminPasswordWidget

from streamfleet_panel.admin_pages.planned import PlannedAdmin, PlannedForm
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.apply.media_user_fields import PROTOCOLS
from streamfleet_panel.models import MediaUser

TITLES = {"sftp": "SFTP", "ftps": "FTP over TLS"}


class MediaUserForm(PlannedForm):
    """Everything that a media user has; the password is only ever written here."""

    password = forms.CharField(
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="8 to 128 characters. Empty: it stays as it is; without one nobody can log in.",
    )
    protocols = forms.MultipleChoiceField(
        choices=[(name, TITLES[name]) for name in PROTOCOLS],
        initial=list(PROTOCOLS),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Ways in.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The stored hash is nobody's business, and nothing typed is no change of it.
        self.initial.pop("password", None)


class MediaUserAdmin(PlannedAdmin):
    """Media users of every customer that is not deleted."""

    kind = "media_user"
    form = MediaUserForm
    lookups = {"customer": "customer__username"}
    list_display = ("login_shown", "customer", "enabled", "read_only", "ways")
    list_filter = ("enabled", "read_only")
    search_fields = ("name", "customer__username")
    autocomplete_fields = ("customer",)
    add_fieldsets: Any = ((None, {"fields": ("customer", "name", "password", "protocols", "read_only", "enabled")}),)
    fieldsets = (*add_fieldsets, ("About", {"fields": ("label", "created_at")}))
    readonly_fields = ("label", "created_at")

    @display(description="Log-in", ordering="customer__username")
    def login_shown(self, obj: MediaUser) -> str:
        """What is entered as user name."""
        return obj.login

    @display(description="Protocols")
    def ways(self, obj: MediaUser) -> str:
        """The ways in."""
        return ", ".join(TITLES[name] for name in obj.protocols)


site.register(MediaUser, MediaUserAdmin)
