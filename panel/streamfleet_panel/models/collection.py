"""How far the worker has read what nodes tell of their services."""

from __future__ import annotations

from django.db import models

from streamfleet_panel.models.node import Node


class Collection(models.Model):
    """Of one node. ``cursors`` are the node's own words, feed by feed, and mean nothing here.

    ``number`` counts the batches that were stored: a batch is stored only with the number that it was asked for at, so
    one that comes twice counts once. ``message`` says why the last try failed.
    """

    node = models.OneToOneField(Node, on_delete=models.CASCADE, primary_key=True, related_name="collection")
    number = models.PositiveBigIntegerField(default=0)
    cursors = models.JSONField(default=dict)
    collected_at = models.DateTimeField(null=True, blank=True)
    message = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        verbose_name = "collection"

    def __str__(self) -> str:
        return f"{self.node_id}: {self.number}"
