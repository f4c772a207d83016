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
    """Those under which the panel answers; none where the installation has none of them."""
    if not settings.WHITE_LABEL:
        return PanelDomain.objects.none()
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
        _kept.names = {claim.name: _name(claim) for claim in served().select_related("reseller").order_by("pk")}
        _kept.until = now + KEPT
    return _kept.names


def _name(claim: PanelDomain) -> PanelName:
    return PanelName(claim.name, claim.reseller_id, claim.brand or claim.reseller.get_full_name())


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


def mailed(account: Account) -> PanelName | None:
    """The name that mails to the account lead to: the first of its reseller's. Reads the database, not what is kept.

    A name whose record is gone may be somebody else's soon, who would get the links for new passwords.
    """
    reseller = account.pk if account.is_reseller else account.reseller_id
    if account.is_administrator or reseller is None:
        return None
    sound = served().filter(reseller_id=reseller, failing_since=None)
    claim = sound.select_related("reseller").order_by("pk").first()
    return None if claim is None else _name(claim)


def url_of(name: PanelName | None) -> str:
    """The panel's URL under that name, or the installation's own; without a slash at the end."""
    if name is None:
        return str(settings.PUBLIC_URL)
    public = urlsplit(settings.PUBLIC_URL)
    return f"{public.scheme}://{name.name}{f':{public.port}' if public.port else ''}"


def brand_of(name: PanelName | None) -> str:
    """What the panel is called under that name."""
    return PRODUCT if name is None else name.brand


def words(request: HttpRequest) -> dict[str, str]:
    """For templates: ``brand``, what the panel is called under the name that the request is for."""
    return {"brand": brand_of(of(request))}
