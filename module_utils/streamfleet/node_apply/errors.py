"""Errors of an apply: one that ends the run, one that concerns a single service."""

from __future__ import annotations

from typing import Any


class ApplyError(Exception):
    """The run cannot go on. ``services`` holds what can be said of single services, as in an apply's result."""

    def __init__(self, message: str, services: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.services = services or {}


class ServiceError(Exception):
    """One service cannot be applied; the others go on."""
