"""Transfers of media services from one node to another. What is counted of listeners' bytes is ``session.Transfer``."""

from __future__ import annotations

from django.db import models

from streamfleet_panel.models.node import Node
from streamfleet_panel.models.service import MediaService


class ServiceTransfer(models.Model):
    """Services that go from one node to another together. Its state says what each node has of them.

    copying → holding → switched → releasing; copying or holding → clearing; switched → returning → clearing. One that
    is at its end has no row. What each means is in docs/contracts.md.
    """

    class State(models.TextChoices):
        COPYING = "copying"  # the source has them on the air; the target gets their files
        HOLDING = "holding"  # off the air, for the last changes to be copied
        SWITCHED = "switched"  # the target has them; the source forwards
        RETURNING = "returning"  # off the air, for the last changes to be copied back
        CLEARING = "clearing"  # the source has them, or has them again; the target removes what it has of them
        RELEASING = "releasing"  # the target has them for good; the source removes what it has of them

    source = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="transfers_from")
    target = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="transfers_to")
    state = models.CharField(max_length=10, choices=State.choices, default=State.COPYING, db_index=True)
    # Since when the services are off the air for it; None while they are not.
    held_at = models.DateTimeField(null=True, blank=True)
    # Which hold that is: a run that was given up cannot switch what another one holds.
    hold = models.PositiveIntegerField(default=0)
    # Whether the services were ever given to the target. One that never had them removes no service of these names.
    reached = models.BooleanField(default=False)
    requested_by = models.CharField(max_length=150, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    # Generation of the node that the next step waits for: with it that node was told of this state.
    generation = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["-id"]
        verbose_name = "transfer"

    def __str__(self) -> str:
        return f"{self.pk}: {self.source} to {self.target}"


class TransferredService(models.Model):
    """A service of a transfer, with its ports on both nodes: ``{"port": 10000, "live_port": 10001}``."""

    transfer = models.ForeignKey(ServiceTransfer, on_delete=models.CASCADE, related_name="items")
    # A service goes to one place at a time.
    service = models.OneToOneField(MediaService, on_delete=models.CASCADE, related_name="transfer")
    source_ports = models.JSONField(default=dict)
    target_ports = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.transfer_id}: {self.service}"
