"""Playlists of media services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin import display
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget

from streamfleet_panel.admin_pages.planned import PlannedAdmin, PlannedForm
from streamfleet_panel.admin_pages.site import site
from streamfleet_panel.admin_pages.times import Times
from streamfleet_panel.models import Playlist
from streamfleet_panel.portal import display as words


class Lines(forms.CharField):
    """A list of texts, one a line; none is null."""

    def prepare_value(self, value: Any) -> Any:
        """A list as lines; what was typed stays."""
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """Lines that are not empty."""
        lines = str(value or "").replace("\r\n", "\n").split("\n")
        return [line for line in lines if line.strip()] or None

    def has_changed(self, initial: Any, data: Any) -> bool:
        """By the list, not by its text."""
        changed: bool = (initial or None) != self.to_python(data)
        return changed


class PlaylistForm(PlannedForm):
    """Everything that a playlist says."""

    # A form's attribute of this name is about uploads; a field of this name is kept apart from it.
    files = Lines(  # type: ignore[assignment]
        required=False,
        strip=False,
        help_text="Files of the customer's media library, one a line, in their order. Either this or the folder.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 10, "spellcheck": "false"}),
    )
    active = Times("Empty: always.")


class PlaylistAdmin(PlannedAdmin):
    """Playlists of every media service that is not deleted."""

    kind = "playlist"
    form = PlaylistForm
    lookups = {"media_service": "media_service__slug"}
    list_display = ("name", "media_service", "enabled", "kind_in_words", "what", "when")
    list_filter = ("type", "enabled")
    search_fields = ("name", "media_service__slug")
    autocomplete_fields = ("media_service",)
    add_fieldsets: Any = (
        (None, {"fields": ("media_service", "name", "enabled")}),
        ("What is played", {"fields": ("folder", "files", "order")}),
        ("When it is played", {"fields": (("type", "weight"), ("every_tracks", "every_minutes"), "active")}),
    )
    fieldsets = (*add_fieldsets, ("About", {"fields": ("label", "created_at")}))
    readonly_fields = ("label", "created_at")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Without the lists of files: they are long, and only their number is shown."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = list(changelist.result_list.defer("files"))
        return changelist

    @display(description="Type", ordering="type")
    def kind_in_words(self, obj: Playlist) -> str:
        """With what is peculiar to it."""
        return words.playlist(obj).kind

    @display(description="Plays")
    def what(self, obj: Playlist) -> str:
        """The folder, or how many files."""
        return words.playlist(obj).what

    @display(description="When")
    def when(self, obj: Playlist) -> str:
        """Its times."""
        return words.playlist(obj).when


site.register(Playlist, PlaylistAdmin)
