"""What may go wrong on the host."""

from __future__ import annotations


class HostError(Exception):
    """Something cannot be put there; the text names it and says how to go on."""
