"""Names of resellers' own under which their customers find the panel."""

from __future__ import annotations

from django.db import models

from streamfleet_panel.models.account import Account
from streamfleet_panel.models.domain import Claim


class PanelDomain(Claim):
    """A name of one reseller. The panel answers under it, as the reseller's, while it is verified and enabled.

    It stays a row of its reseller while that is deleted and kept, so it comes back with it.
    """

    kind = "panel_domain"
    # That target leads to the nodes, and the panel is elsewhere.
    by_cname = False

    reseller = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="panel_domains")
    # What pages are headed with; None: the reseller's own name.
    brand = models.CharField(max_length=60, null=True, blank=True)

    class Meta:
        ordering = ["reseller__username", "name"]
        verbose_name = "panel domain"
        constraints = [models.UniqueConstraint(fields=["reseller", "name"], name="panel_paneldomain_of_reseller")]

    def __str__(self) -> str:
        return f"{self.reseller.username}/{self.name}"

    @property
    def claimant(self) -> Account:
        return self.reseller

    @property
    def purpose(self) -> str:
        return "the panel"

    @property
    def is_alive(self) -> bool:
        return self.reseller.deleted_at is None and self.reseller.is_reseller
