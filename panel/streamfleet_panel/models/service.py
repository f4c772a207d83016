"""Media services: one radio station or one video channel each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from django.db import models

from streamfleet_panel import secrets
from streamfleet_panel.engines import engines
from streamfleet_panel.models.account import Account
from streamfleet_panel.models.node import Node


class MediaService(models.Model):
    """What a customer has on the air. Limits: None means unlimited."""

    slug = models.CharField(max_length=63, unique=True)
    name = models.CharField(max_length=200)
    customer = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="media_services")
    engine = models.CharField(max_length=50)
    service_type = models.CharField(max_length=50)
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="media_services")
    port = models.PositiveIntegerField(null=True, blank=True)
    enabled = models.BooleanField(default=True)
    # Taken off the air with the action "stop"; its owner may start it again.
    stopped = models.BooleanField(default=False)
    suspended = models.BooleanField(default=False)
    suspend_reason = models.CharField(max_length=300, null=True, blank=True)
    suspended_until = models.DateTimeField(null=True, blank=True, db_index=True)
    over_quota = models.BooleanField(default=False)
    over_quota_reason = models.CharField(max_length=300, blank=True, default="")
    max_listeners = models.PositiveIntegerField(null=True, blank=True)
    max_bitrate_kbps = models.PositiveIntegerField(null=True, blank=True)
    monthly_transfer_mb = models.PositiveBigIntegerField(null=True, blank=True)
    disk_quota_mb = models.PositiveBigIntegerField(null=True, blank=True)
    max_mounts = models.PositiveIntegerField(null=True, blank=True)
    max_domains = models.PositiveIntegerField(null=True, blank=True, default=5)
    max_renditions = models.PositiveIntegerField(null=True, blank=True)
    max_transcode_mpixels = models.PositiveIntegerField(null=True, blank=True)
    # Fields of the engine that were named; what is not here has the default of the engine's spec.
    settings = models.JSONField(default=dict, blank=True)
    credentials_encrypted = models.TextField(blank=True, default="", editable=False)
    # Still accepted until the overlap of a rotation ends.
    previous_credentials_encrypted = models.TextField(blank=True, default="", editable=False)
    previous_credentials_until = models.DateTimeField(null=True, blank=True, db_index=True, editable=False)
    # Raised by the action "restart"; the node restarts the instance when it sees a number it has not acted on.
    restart = models.PositiveIntegerField(default=0, editable=False)
    # Raised by the action "skip"; the AutoDJ goes on to its next track when it sees a number it has not acted on.
    skip = models.PositiveIntegerField(default=0, editable=False)
    # Generation of the node's document at this service's last change.
    generation = models.PositiveBigIntegerField(default=0, editable=False)
    label = models.CharField("ownership label", max_length=100, null=True, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        ordering = ["slug"]
        verbose_name = "media service"
        constraints = [models.UniqueConstraint(fields=["node", "port"], name="panel_service_port_of_node")]

    def __str__(self) -> str:
        return self.slug

    @property
    def credentials(self) -> dict[str, Any]:
        """The credentials in clear. Only for their owner (audited) and their node."""
        return secrets.decrypt(self.credentials_encrypted)

    @property
    def previous_credentials(self) -> dict[str, Any]:
        return secrets.decrypt(self.previous_credentials_encrypted)

    def desired_state(self) -> tuple[str, str]:
        """State of the node document, and the reason in words.

        Reads ``customer`` and its ``reseller``: select them along.
        """
        if self.deleted_at is not None:
            return "deleted", ""
        if not self.customer.is_enabled:
            return "disabled", "account disabled"
        if not self.enabled:
            return "disabled", ""
        if self.suspended:
            return "suspended", self.suspend_reason or ""
        if self.over_quota:
            return "over_quota", self.over_quota_reason
        if self.stopped:
            return "stopped", ""
        return "running", ""


class UniqueCredential(models.Model):
    """Fingerprint of a credential that no two services may share, such as a stream key: whoever sends it is
    recognised by it.

    Former values are kept while their overlap lasts, so that nobody can take over a key that still works.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    service = models.ForeignKey(MediaService, on_delete=models.CASCADE, related_name="+")

    class Meta:
        verbose_name = "unique credential"

    def __str__(self) -> str:
        return self.digest[:8]

    @staticmethod
    def digests(service: MediaService) -> set[str]:
        """Fingerprints of all values of the service that are accepted now."""
        engine = engines().get(service.engine)
        names = [name for name, prop in engine.credentials.items() if prop.unique] if engine is not None else []
        if not names:
            return set()
        current, previous = service.credentials, service.previous_credentials
        values = {(name, current.get(name)) for name in names if current.get(name)}
        values |= {(name, item["value"]) for name in names for item in previous.get(name, [])}
        return {hashlib.sha256(f"{service.engine}:{name}:{value}".encode()).hexdigest() for name, value in values}

    @staticmethod
    def replace(services: Iterable[MediaService]) -> None:
        """Store the fingerprints of (saved) services anew: two statements."""
        services = list(services)
        new = [
            UniqueCredential(digest=digest, service=service)
            for service in services
            for digest in UniqueCredential.digests(service)
        ]
        UniqueCredential.objects.filter(service__in=[service.pk for service in services]).delete()
        UniqueCredential.objects.bulk_create(new)


class ServiceStatus(models.Model):
    """What the service's node last reported of it."""

    service = models.OneToOneField(MediaService, on_delete=models.CASCADE, primary_key=True, related_name="observed")
    generation = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=20)
    message = models.TextField(blank=True, default="")
    reported_at = models.DateTimeField()

    class Meta:
        verbose_name = "service status"
        verbose_name_plural = "service statuses"

    def __str__(self) -> str:
        return f"{self.service_id}: {self.state}"
