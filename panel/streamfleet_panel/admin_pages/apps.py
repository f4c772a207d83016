"""The administrators' pages as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class AdminPagesConfig(AppConfig):
    """Pages for administrators; ``admin.py`` registers the models at Django's autodiscovery."""

    name = "streamfleet_panel.admin_pages"
    label = "admin_pages"
