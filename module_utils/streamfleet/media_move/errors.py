"""What cannot be done, for people."""

from __future__ import annotations


class MoveError(ValueError):
    """Names the folder or the program, and what to do instead."""
