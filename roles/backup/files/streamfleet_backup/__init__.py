"""Backups of one host with restic: what is stored and how it is put back. Python's own library only."""

from __future__ import annotations

__all__: list[str] = []
