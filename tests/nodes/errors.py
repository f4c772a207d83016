"""The one error that this package raises on purpose."""

from __future__ import annotations


class NodesError(Exception):
    """Something the caller can act on: what is wrong, and what to do about it."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(f"{message} {fix}".strip())
        self.message = message
        self.fix = fix
