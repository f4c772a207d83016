"""Streamfleet's control plane: customers, plans, media services, nodes."""

from __future__ import annotations

__version__ = "0.1.0"
