"""Accounts (customers, resellers, administrators) and reseller plans."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models, transaction

from streamfleet_panel.models.counter import Counter


class ResellerPlan(models.Model):
    """What a reseller may hand out in all. None means unlimited."""

    name = models.CharField(max_length=100, unique=True)
    max_customers = models.PositiveIntegerField(null=True, blank=True)
    max_media_services = models.PositiveIntegerField(null=True, blank=True)
    max_listeners = models.PositiveIntegerField("max listeners, sum", null=True, blank=True)
    max_disk_mb = models.PositiveBigIntegerField("max disk (MB), sum", null=True, blank=True)
    max_transfer_mb = models.PositiveBigIntegerField("max transfer (MB a month), sum", null=True, blank=True)
    max_mounts = models.PositiveIntegerField("max mounts, sum", null=True, blank=True)
    max_mounts_per_service = models.PositiveIntegerField(null=True, blank=True)
    max_bitrate_kbps = models.PositiveIntegerField("max bitrate (kbps) of each service", null=True, blank=True)
    max_panel_domains = models.PositiveIntegerField(default=1, null=True, blank=True)
    max_renditions = models.PositiveIntegerField("max renditions of each service", null=True, blank=True)
    max_transcode_mpixels = models.PositiveIntegerField(
        "max megapixels a second that are encoded for each service", null=True, blank=True
    )
    allowed_engines = models.JSONField(null=True, blank=True)
    label = models.CharField("ownership label", max_length=100, null=True, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        verbose_name = "reseller plan"

    def __str__(self) -> str:
        return self.name


def new_domain_token() -> str:
    """What proves an account's domains: random, no secret, and fit for a label of DNS."""
    return secrets.token_hex(12)


class AccountManager(BaseUserManager["Account"]):
    """Makes accounts one by one; documents go through apply/."""

    def create_user(self, username: str, password: str | None = None, **fields: Any) -> Account:
        """A new account with a uid of its own. ``password`` None: it cannot log in until one is set."""
        with transaction.atomic():
            uid = Counter.lock().take(1)[0]
            account = self.model(username=username.lower(), uid=uid, **fields)
            account.set_password(password)
            account.save(using=self._db)
        return account

    def create_superuser(self, username: str, password: str | None = None, **fields: Any) -> Account:
        """A new administrator."""
        return self.create_user(username, password, **{**fields, "account_type": Account.Type.ADMINISTRATOR})

    def get_by_natural_key(self, username: str | None) -> Account:
        return self.get(username=(username or "").lower())


class Account(AbstractBaseUser):
    """Somebody who may log in: a customer, a reseller (a customer with a plan) or an administrator."""

    class Status(models.TextChoices):
        ENABLED = "enabled"
        DISABLED = "disabled"

    class Type(models.TextChoices):
        CUSTOMER = "customer"
        ADMINISTRATOR = "administrator"

    username = models.CharField(max_length=64, unique=True)
    # What this account's processes run as on every node; never given to anybody else.
    uid = models.PositiveIntegerField(unique=True, editable=False)
    name = models.CharField(max_length=200, null=True, blank=True)
    email = models.EmailField(max_length=254, null=True, blank=True)
    contact_number = models.CharField(max_length=50, null=True, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ENABLED)
    api_access = models.BooleanField("API access", default=True)
    accessibility_features = models.BooleanField(default=False)
    account_type = models.CharField(max_length=15, choices=Type.choices, default=Type.CUSTOMER)
    reseller_plan = models.ForeignKey(
        ResellerPlan, on_delete=models.PROTECT, null=True, blank=True, related_name="resellers"
    )
    reseller = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="customers")
    # Records of the account's domains hold it; made once, so that they are set once.
    domain_token = models.CharField(max_length=32, unique=True, default=new_domain_token, editable=False)
    label = models.CharField("ownership label", max_length=100, null=True, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)
    # Set: deleted, kept with its data until the grace period ends.
    deleted_at = models.DateTimeField(null=True, blank=True, db_index=True)

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = AccountManager()

    class Meta:
        ordering = ["username"]

    def __str__(self) -> str:
        return self.username

    def get_full_name(self) -> str:
        """What pages call the account."""
        return self.name or self.username

    @property
    def is_administrator(self) -> bool:
        return self.account_type == self.Type.ADMINISTRATOR

    @property
    def is_reseller(self) -> bool:
        # A plan that is being created together with the account has no key yet.
        has_plan = self.reseller_plan_id is not None or self._state.fields_cache.get("reseller_plan") is not None
        return has_plan and not self.is_administrator

    @property
    def is_enabled(self) -> bool:
        """Not disabled and not deleted, and neither is the reseller it belongs to.

        Reads ``reseller``: select it along.
        """
        if self.status != self.Status.ENABLED or self.deleted_at is not None:
            return False
        return self.reseller is None or (
            self.reseller.status == self.Status.ENABLED and self.reseller.deleted_at is None
        )

    @property
    def is_active(self) -> bool:  # type: ignore[override]
        """Django's word for "may log in"."""
        return self.is_enabled

    # The Django admin is for administrators only; there are no permissions of single models.
    @property
    def is_staff(self) -> bool:
        return self.is_administrator and self.is_active

    @property
    def is_superuser(self) -> bool:
        return self.is_staff

    def has_perm(self, perm: str, obj: models.Model | None = None) -> bool:
        return self.is_staff

    def has_perms(self, perm_list: Any, obj: models.Model | None = None) -> bool:
        return self.is_staff

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_staff
