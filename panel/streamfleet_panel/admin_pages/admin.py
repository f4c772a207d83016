"""Found by Django's autodiscovery: registers every administrators' page."""

from __future__ import annotations

from streamfleet_panel.admin_pages import (
    accounts,
    djs,
    domains,
    logs,
    media_users,
    nodes,
    panel_domains,
    playlists,
    relays,
    schedules,
    services,
    sessions,
    tokens,
)

__all__ = [
    "accounts",
    "djs",
    "domains",
    "logs",
    "media_users",
    "nodes",
    "panel_domains",
    "playlists",
    "relays",
    "schedules",
    "services",
    "sessions",
    "tokens",
]
