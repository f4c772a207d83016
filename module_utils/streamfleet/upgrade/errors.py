"""The one error of this package."""

from __future__ import annotations


class UpgradeError(Exception):
    """A step cannot be done; the message names the cause and the fix."""
