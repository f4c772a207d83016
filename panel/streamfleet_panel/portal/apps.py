"""The portal as a Django application: its templates, its static files, its part in the audit log."""

from __future__ import annotations

from django.apps import AppConfig


class PortalConfig(AppConfig):
    """Pages for customers and resellers."""

    name = "streamfleet_panel.portal"
    label = "portal"

    def ready(self) -> None:
        from streamfleet_panel.portal import takeover

        takeover.connect()
