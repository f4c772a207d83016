"""Resellers' own names for the panel: which there are, who may log in there, and what the panel is called there.

Which there are is asked for with every request under a name that is not the installation's own. So it is kept in memory
for a few seconds, whole: names that somebody makes up cost nothing, and no name costs a query.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.request import split_domain_port

from streamfleet_panel.models import Account, PanelDomain

#: What the panel is called under the installation's own names.
PRODUCT = "Streamfleet"
#: Seconds for which a process believes what it has read.
KEPT = 5.0


@dataclass(frozen=True)
class PanelName:
    """A name under which the panel is one reseller's. ``reseller``: its primary key."""

    name: str
    reseller: int
    brand: str

    def lets_in(self, account: Account) -> bool:
        """Whether the account may log in there: the reseller and its customers may, administrators never."""
        return not account.is_administrator and self.reseller in (account.pk, account.reseller_id)


def served() -> QuerySet[PanelDomain]:
    """Those under which the panel answers."""
    verified = PanelDomain.objects.filter(enabled=True, status=PanelDomain.Status.VERIFIED)
    return verified.filter(
        reseller__deleted_at=None, reseller__reseller_plan__isnull=False, reseller__account_type=Account.Type.CUSTOMER
    )


@dataclass
class _Kept:
    until: float = 0.0
    names: Mapping[str, PanelName] | None = None


_kept = _Kept()


def names() -> Mapping[str, PanelName]:
    """All names under which the panel is a reseller's, as they were ``KEPT`` seconds ago. Raises DatabaseError."""
    now = time.monotonic()
    if _kept.names is None or now >= _kept.until:
        found = served().select_related("reseller").order_by("pk")
        _kept.names = {
            claim.name: PanelName(claim.name, claim.reseller_id, claim.brand or claim.reseller.get_full_name())
            for claim in found
        }
        _kept.until = now + KEPT
    return _kept.names


def forget() -> None:
    """Read them anew when they are next asked for."""
    _kept.names = None


def asked_for(request: HttpRequest) -> PanelName | None:
    """The reseller's name that a request is for; None where its host is anything else."""
    host = split_domain_port(request.META.get("HTTP_HOST", ""))[0]
    if not host or host in settings.ALLOWED_HOSTS:
        return None
    return names().get(host)


def of(request: HttpRequest | None) -> PanelName | None:
    """What ``asked_for`` has found; None where nobody has asked, as on the command line."""
    return getattr(request, "white_label", None)


def lets_in(request: HttpRequest | None, account: Account) -> bool:
    """Whether the account may log in under the name that the request is for."""
    name = of(request)
    return name is None or name.lets_in(account)


def url_for(account: Account) -> str:
    """Where the account finds the panel, without a slash at the end: under its reseller's name, where there is one.

    Reads the database, not what is kept.
    """
    reseller = account.pk if account.is_reseller else account.reseller_id
    if account.is_administrator or reseller is None:
        return str(settings.PUBLIC_URL)
    name = served().filter(reseller_id=reseller).order_by("pk").values_list("name", flat=True).first()
    if name is None:
        return str(settings.PUBLIC_URL)
    public = urlsplit(settings.PUBLIC_URL)
    return f"{public.scheme}://{name}{f':{public.port}' if public.port else ''}"


def brand_for(account: Account) -> str:
    """What the panel is called in mails to the account."""
    reseller = account.pk if account.is_reseller else account.reseller_id
    if account.is_administrator or reseller is None:
        return PRODUCT
    claim = served().filter(reseller_id=reseller).select_related("reseller").order_by("pk").first()
    return PRODUCT if claim is None else claim.brand or claim.reseller.get_full_name()


def words(request: HttpRequest) -> dict[str, str]:
    """For templates: ``brand``, what the panel is called under the name that the request is for."""
    name = of(request)
    return {"brand": PRODUCT if name is None else name.brand}
