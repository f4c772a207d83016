"""Searches "in any case" (``icontains`` and the like) mean that here too, whatever the collation.

Django leaves the case to MariaDB's collation. The panel's is binary, since keys that differ are different; so here both
sides are made lower case and then compared, as Django does it on PostgreSQL.
"""

from __future__ import annotations

from django.db.backends.mysql import base, operations

_ANY_CASE = ("iexact", "icontains", "istartswith", "iendswith")


class DatabaseOperations(operations.DatabaseOperations):
    """The left side of a comparison."""

    def lookup_cast(self, lookup_type: str, internal_type: str | None = None) -> str:
        lookup: str = super().lookup_cast(lookup_type, internal_type)
        return f"LOWER({lookup})" if lookup_type in _ANY_CASE else lookup


class DatabaseWrapper(base.DatabaseWrapper):
    """The right side of a comparison: given values, then expressions."""

    operators = base.DatabaseWrapper.operators | dict.fromkeys(_ANY_CASE, "LIKE LOWER(%s)")
    pattern_ops = base.DatabaseWrapper.pattern_ops | {
        "icontains": "LIKE CONCAT('%%', LOWER({}), '%%')",
        "istartswith": "LIKE CONCAT(LOWER({}), '%%')",
        "iendswith": "LIKE CONCAT('%%', LOWER({}))",
    }
    ops_class = DatabaseOperations
