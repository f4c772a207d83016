"""Found by Django's autodiscovery: registers every administrators' page."""

from __future__ import annotations

from streamfleet_panel.admin_pages import accounts, logs, nodes, playlists, services, tokens

__all__ = ["accounts", "logs", "nodes", "playlists", "services", "tokens"]
