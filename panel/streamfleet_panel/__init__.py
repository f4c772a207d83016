"""Streamfleet's control plane: customers, plans, media services, nodes."""

from __future__ import annotations

__version__ = "0.2.0-dev0"
