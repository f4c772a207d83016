"""What goes wrong, in words for operators."""

from __future__ import annotations


class BackupError(Exception):
    """The job cannot go on. The message says what is wrong with what, and what to do."""


class NoRepository(BackupError):
    """There is no repository where one was looked for."""
