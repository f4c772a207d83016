"""What CNAMEs of domains are to lead to, and what is to be changed where they lead to a name that is kept for a time.

A domain that is proved by a CNAME below a former target is so until the end of that target's day, in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Q

from streamfleet_panel.models import Claim, Domain, PanelDomain


def counted(now: datetime) -> list[str]:
    """The targets below which a CNAME proves a domain at that time, the one that customers are shown first."""
    today = now.astimezone(UTC).date()
    former = [target for target, last in settings.FORMER_DOMAIN_TARGETS.items() if today <= last]
    return list(dict.fromkeys(target for target in (settings.DOMAIN_TARGET, *former) if target))


@dataclass(frozen=True)
class Change:
    """What a CNAME leads to, and what it is to lead to; ``until``: the last day of the former, None: not known.

    ``needs_txt``: what it is to lead to proves nothing, so that the TXT record must be there first.
    """

    seen: str
    wanted: str
    until: date | None = None
    needs_txt: bool = False

    def shown(self) -> dict[str, Any]:
        """As the API has it."""
        until = None if self.until is None else self.until.isoformat()
        return {"from": self.seen, "to": self.wanted, "until": until, "txt": self.needs_txt}


def change_of(claim: Claim) -> Change | None:
    """What the owner of a domain has to change of its CNAME; None where that leads to no former name.

    Of a domain its service's ``customer`` and ``node`` are read, of a panel domain its ``reseller``.
    """
    if not claim.cname:
        return None
    if isinstance(claim, PanelDomain):
        if claim.cname not in settings.FORMER_HOSTS:
            return None
        return Change(claim.cname, points_to(claim), settings.FORMER_HOSTS[claim.cname])
    label = f"{claim.claimant.domain_token}."
    former = claim.cname.removeprefix(label) if claim.cname.startswith(label) else ""
    if former in settings.FORMER_DOMAIN_TARGETS and former != settings.DOMAIN_TARGET:
        wanted = f"{label}{settings.DOMAIN_TARGET}" if settings.DOMAIN_TARGET else points_to(claim)
        return Change(claim.cname, wanted, settings.FORMER_DOMAIN_TARGETS[former], not settings.DOMAIN_TARGET)
    if isinstance(claim, Domain):
        node = claim.media_service.node
        if claim.cname in node.former_stream_hosts:
            last = node.former_stream_days.get(claim.cname)
            return Change(claim.cname, points_to(claim), date.fromisoformat(last) if last else None)
    return None


def points_to(claim: Claim) -> str:
    """The host name that the domain itself leads to, apart from what proves it."""
    if isinstance(claim, Domain):
        node = claim.media_service.node
        return str(node.stream_host or node.address)
    return urlsplit(settings.PUBLIC_URL).hostname or ""


def led_to(names: Iterable[str]) -> Q:
    """Claims whose CNAME, as it was seen last, leads to one of the names; with a dot before it to one below it."""
    distinct = set(names)
    found = Q(cname__in=sorted(name for name in distinct if not name.startswith(".")))
    for name in sorted(distinct):
        if name.startswith("."):
            found |= Q(cname__endswith=name)
    return found
