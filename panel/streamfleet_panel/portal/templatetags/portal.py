"""Words for templates."""

from __future__ import annotations

from django import template

from streamfleet_panel.models import MediaService
from streamfleet_panel.portal import display

register = template.Library()


@register.filter
def unlimited(value: int | None, unit: str = "") -> str:
    """A limit: the number with its unit, or "unlimited"."""
    if value is None:
        return "unlimited"
    return f"{value:,} {unit}".strip().replace(",", "\u202f")


@register.filter
def type_words(service: MediaService) -> str:
    """Type and engine."""
    return display.type_of(service)


@register.inclusion_tag("portal/state.html")
def state(states: dict[int, display.State], service: MediaService) -> dict[str, display.State]:
    """The service's state as a badge, with the reason."""
    return {"state": states[service.pk]}
