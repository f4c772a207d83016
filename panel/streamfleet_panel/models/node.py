"""Nodes (servers of the fleet) and the runs that bring them up to date."""

from __future__ import annotations

from django.db import models


class Node(models.Model):
    """A server.

    ``generation`` counts changes of its document; ``observed_generation`` is what the node last reported.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        DRAINING = "draining"  # keeps its services, gets no new ones
        DISABLED = "disabled"  # not converged at all

    name = models.CharField(max_length=63, unique=True)
    address = models.CharField(max_length=253)
    ssh_port = models.PositiveIntegerField(default=22)
    ssh_user = models.CharField(max_length=32, default="streamfleet-converge")
    host_key = models.TextField(null=True, blank=True)
    engines = models.JSONField(default=list, blank=True)
    stream_host = models.CharField(max_length=253, null=True, blank=True)
    # What its streams were called before, as far as it still answers to that.
    former_stream_hosts = models.JSONField(default=list, blank=True)
    # Of these the last day on which each is kept, where the inventory has said it.
    former_stream_days = models.JSONField(default=dict, blank=True)
    port_range_start = models.PositiveIntegerField(default=10000)
    port_range_end = models.PositiveIntegerField(default=19999)
    max_media_services = models.PositiveIntegerField(null=True, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    facts = models.JSONField(default=dict, blank=True)
    label = models.CharField("ownership label", max_length=100, null=True, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)
    generation = models.PositiveBigIntegerField(default=0, editable=False)
    observed_generation = models.PositiveBigIntegerField(default=0, editable=False)
    observed_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_behind(self) -> bool:
        """The node has not reported the newest document yet."""
        return self.observed_generation < self.generation


class ConvergeRun(models.Model):
    """One converge of one node, with its retries.

    pending (waits for its turn, or after a failed attempt for ``next_attempt_at``) → running → succeeded or failed.
    A pending run with ``attempts`` > 0 failed before; ``message`` says why, in words for people. ``output`` is the
    tail of the last attempt, for administrators.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="runs")
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    # Generation of the node's document when the last attempt began.
    generation = models.PositiveBigIntegerField(default=0)
    requested_by = models.CharField(max_length=150, blank=True, default="")
    requested_at = models.DateTimeField(auto_now_add=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    message = models.TextField(blank=True, default="")
    output = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["node", "-id"]), models.Index(fields=["state", "next_attempt_at"])]
        verbose_name = "converge run"

    def __str__(self) -> str:
        return f"{self.node_id}: {self.state}"
