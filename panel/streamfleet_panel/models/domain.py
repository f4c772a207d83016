"""Names of customers' own: claims to them, and those under which a media service is heard or watched."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from streamfleet_panel.models.account import Account
from streamfleet_panel.models.service import MediaService

#: Characters of a name: with the slug of a service before it, it fits into an entry of the audit log.
MOST_NAME = 128


class Claim(models.Model):
    """One account's claim to a name, whatever that is to be for.

    Several accounts may claim a name; ``holds`` is the name where this claim is the verified one, so that no two are.
    """

    #: Kind of object in documents.
    kind: ClassVar[str]
    #: Whether a CNAME to the account's name below one of the installation's targets proves it, as a TXT record does.
    by_cname: ClassVar[bool] = True

    class Status(models.TextChoices):
        """``lost``: was verified, and its proof has gone or is another customer's."""

        PENDING = "pending"
        VERIFIED = "verified"
        LOST = "lost"

    name = models.CharField(max_length=MOST_NAME, db_index=True)
    enabled = models.BooleanField(default=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING, editable=False)
    # Unique and null instead of a partial constraint, which MariaDB does not have.
    holds = models.CharField(max_length=MOST_NAME, null=True, unique=True, editable=False)
    message = models.CharField(max_length=500, default="It has not been looked at yet.", editable=False)
    # The target of the domain's own CNAME when it was last looked at, without the last dot; empty: there was none.
    cname = models.CharField(max_length=255, default="", blank=True, editable=False)
    verified_at = models.DateTimeField(null=True, editable=False)
    checked_at = models.DateTimeField(null=True, editable=False)
    # None: it is not looked for any more.
    next_check_at = models.DateTimeField(null=True, default=timezone.now, db_index=True, editable=False)
    # Since when it is looked for, and since when a verified one is without its proof.
    sought_since = models.DateTimeField(default=timezone.now, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    # When somebody last asked for a check.
    asked_at = models.DateTimeField(null=True, editable=False)
    label = models.CharField("ownership label", max_length=100, null=True, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True

    @property
    def claimant(self) -> Account:
        """Whose token proves it."""
        raise NotImplementedError

    @property
    def purpose(self) -> str:
        """What it is for, in words."""
        raise NotImplementedError

    @property
    def is_alive(self) -> bool:
        """What it is for is there. A claim that is not waits for its return, and stands in nobody's way."""
        raise NotImplementedError


class Domain(Claim):
    """A name of one service. It is served while it is verified and enabled.

    It stays a row of its service while that is deleted and kept, so it comes back with it.
    """

    kind = "domain"

    media_service = models.ForeignKey(MediaService, on_delete=models.CASCADE, related_name="domains")

    class Meta:
        ordering = ["media_service__slug", "name"]
        constraints = [models.UniqueConstraint(fields=["media_service", "name"], name="panel_domain_of_service")]

    def __str__(self) -> str:
        return f"{self.media_service.slug}/{self.name}"

    @property
    def claimant(self) -> Account:
        return self.media_service.customer

    @property
    def purpose(self) -> str:
        return self.media_service.slug

    @property
    def is_alive(self) -> bool:
        return self.media_service.deleted_at is None and self.media_service.customer.deleted_at is None

    @property
    def is_on_node(self) -> bool:
        """Whether a change of it changes the node's document: an unproved claim is none of the node's business."""
        return self.status == self.Status.VERIFIED

    def for_node(self) -> str:
        """As the node document has it."""
        return self.name
