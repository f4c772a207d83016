"""The panel as a Django application (label ``panel``)."""

from __future__ import annotations

import sqlite3
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created


def _use_the_real_parameter_limit(sender: object, connection: Any, **kwargs: object) -> None:
    """Let bulk statements be as large as this SQLite allows: Django assumes 999 parameters, Debian has 250,000."""
    if connection.vendor == "sqlite":
        connection.features.max_query_params = connection.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)


class PanelConfig(AppConfig):
    """Streamfleet's control plane."""

    name = "streamfleet_panel"
    label = "panel"
    verbose_name = "Streamfleet"

    def ready(self) -> None:
        from streamfleet_panel import journal

        connection_created.connect(_use_the_real_parameter_limit)
        journal.watch_logins()
