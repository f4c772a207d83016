"""Counters that never go back, and the identity of this database."""

from __future__ import annotations

import uuid

from django.db import models, transaction

UID_FIRST = 200_000
UID_LAST = 299_999


class UidsExhausted(RuntimeError):
    """All 100,000 uids of tenants have been given out."""


class Counter(models.Model):
    """A named number. Its row is also what writers lock: whoever holds ``Counter.lock()`` is the only one who plans."""

    name = models.CharField(max_length=50, primary_key=True)
    value = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = "counter"

    def __str__(self) -> str:
        return f"{self.name}={self.value}"

    @classmethod
    def lock(cls) -> Counter:
        """Take the writers' lock until the end of the transaction, and return the counter of uids.

        SQLite's transactions are IMMEDIATE and need no row lock; elsewhere it is ``SELECT … FOR UPDATE``. Must be
        the first statement of the transaction, so that what is read afterwards is what the last writer left.
        """
        if not transaction.get_connection().in_atomic_block:
            raise RuntimeError("Counter.lock() outside a transaction locks nothing")
        return cls.objects.select_for_update().get_or_create(name="uid", defaults={"value": UID_FIRST})[0]

    def take(self, count: int) -> range:
        """``count`` new uids, never given out before. Raises UidsExhausted. Call on the locked counter only."""
        first = max(self.value, UID_FIRST)
        if first + count - 1 > UID_LAST:
            raise UidsExhausted(f"No free uids left in {UID_FIRST}-{UID_LAST}")
        if count:
            self.value = first + count
            self.save(update_fields=["value"])
        return range(first, first + count)


class Installation(models.Model):
    """One row: which database this is. A node that sees another epoch knows that generations start anew."""

    epoch = models.UUIDField(default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "installation"

    def __str__(self) -> str:
        return str(self.epoch)

    @classmethod
    def current(cls) -> Installation:
        """The one row; made by the first migrations."""
        return cls.objects.get_or_create(pk=1)[0]
