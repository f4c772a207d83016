"""The field for times of the week, of playlists and DJs."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from streamfleet_panel.admin_pages.planned import Indented


class Times(forms.JSONField):
    """JSON; none is an empty field, not the word null. ``empty`` says what that means."""

    def __init__(self, empty: str, **options: Any) -> None:
        example = '[{"days": ["fri", "sat"], "start": "22:00", "end": "02:00"}]'
        super().__init__(
            label="Times",
            required=False,
            encoder=Indented,
            widget=UnfoldAdminTextareaWidget(attrs={"rows": 8, "spellcheck": "false"}),
            help_text=f"JSON, e.g. {example}. In the service's time zone. {empty}",
            **options,
        )

    def prepare_value(self, value: Any) -> Any:
        """JSON, or what was typed."""
        return "" if value is None else super().prepare_value(value)
