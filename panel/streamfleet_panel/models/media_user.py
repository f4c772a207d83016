"""Log-ins with which a customer brings media by SFTP and FTP over TLS."""

from __future__ import annotations

from typing import Any

from django.db import models

from streamfleet_panel.models.account import Account


def both() -> list[str]:
    """Every way in."""
    return ["sftp", "ftps"]


class MediaUser(models.Model):
    """One log-in of a customer.

    It stays a row of its customer while that is deleted and kept, so it comes back with it.
    """

    customer = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="media_users")
    name = models.CharField(max_length=32)
    # A hash of crypt(5), which nodes check; "!" while there is none.
    password = models.CharField(max_length=255, default="!")
    read_only = models.BooleanField(default=False)
    protocols = models.JSONField(default=both)
    enabled = models.BooleanField(default=True)
    label = models.CharField("ownership label", max_length=100, null=True, blank=True, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["customer__username", "name"]
        verbose_name = "media user"
        constraints = [models.UniqueConstraint(fields=["customer", "name"], name="panel_media_user_of_customer")]

    def __str__(self) -> str:
        return self.login

    @property
    def login(self) -> str:
        """What is entered as user name. A name has no dot, so no two pairs make one log-in."""
        return f"{self.customer.username}.{self.name}"

    def for_node(self, disk_quota_mb: int | None) -> dict[str, Any]:
        """As the node document has it; ``disk_quota_mb`` is the customer's on that node."""
        return {
            "login": self.login,
            "customer": self.customer.username,
            "uid": self.customer.uid,
            "password": self.password,
            "read_only": self.read_only,
            "protocols": self.protocols,
            "disk_quota_mb": disk_quota_mb,
        }
