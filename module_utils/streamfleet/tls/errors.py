"""What may go wrong with keys and certificates."""

from __future__ import annotations


class TlsError(Exception):
    """A key or a certificate cannot be made or used; the text names it and says how to go on."""
