"""What cannot be done, for people."""

from __future__ import annotations


class DomainError(ValueError):
    """Names the variable, its value and what to do instead."""
