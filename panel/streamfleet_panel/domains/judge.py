"""What follows from what DNS says: which claim to a domain is verified, which is lost, and when to look again."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from streamfleet_panel import access
from streamfleet_panel.apply.execute import audit_entry, bulk_update, bump
from streamfleet_panel.apply.fields import key_of
from streamfleet_panel.domains.records import Found, Verdict, txt_name
from streamfleet_panel.domains.targets import change_of, counted
from streamfleet_panel.models import Claim, Counter, Domain, MediaService, PanelDomain
from streamfleet_panel.times import rfc3339

#: So long a verified domain is served after its proof has gone.
GRACE = timedelta(days=3)
#: So long an unproved one is looked for.
PATIENCE = timedelta(days=30)
#: Verified ones are looked at so often; those without an answer or without their proof, sooner.
DAILY, HOURLY = timedelta(days=1), timedelta(hours=1)
#: Unproved ones: after a quarter of the time that they have been looked for, between these.
SOONEST, LATEST = timedelta(minutes=1), timedelta(hours=6)

#: Longer ones than DNS has are nobody's.
MOST_CNAME = 255

_COLUMNS = (
    "status",
    "holds",
    "message",
    "cname",
    "verified_at",
    "checked_at",
    "next_check_at",
    "sought_since",
    "failing_since",
)


@dataclass
class _Changes:
    """What a round changes beside the claims themselves."""

    released: list[Claim] = field(default_factory=list)
    services: dict[int, MediaService] = field(default_factory=dict)
    entries: list[tuple[str, Claim, dict[str, Any]]] = field(default_factory=list)

    def note(self, action: str, claim: Claim, before: str) -> None:
        """A claim's status has changed; its node is told where it had, or now has, anything to do with it."""
        self.entries.append((action, claim, {"status": {"before": before, "after": claim.status}}))
        if isinstance(claim, Domain) and claim.enabled and claim.is_alive:
            self.services.setdefault(claim.media_service_id, claim.media_service)


def judge(found: Mapping[str, Found], now: datetime | None = None, begun: Mapping[str, datetime] | None = None) -> None:
    """Decide on every claim to the names in ``found``, in one transaction. Nobody plans meanwhile.

    ``begun``: when each was asked for. A check that somebody wants since then is still to come.
    """
    if not found:
        return
    now = now or timezone.now()
    with transaction.atomic():
        Counter.lock()
        claims: dict[str, list[Claim]] = {}
        for claim in _stored(list(found)):
            claims.setdefault(claim.name, []).append(claim)
        changes = _Changes()
        for name, those in claims.items():
            _settle(those, found[name], now, changes)
            for claim in those:
                if begun is not None and claim.asked_at is not None and claim.asked_at > begun[name]:
                    claim.next_check_at = claim.asked_at
        _store(claims, changes)


def _stored(names: list[str]) -> list[Claim]:
    """All claims to the names, the oldest first: those for services, and those of resellers for the panel."""
    of_services = Domain.objects.filter(name__in=names).select_related("media_service__customer", "media_service__node")
    of_resellers = PanelDomain.objects.filter(name__in=names).select_related("reseller")
    claims: list[Claim] = [*of_services.order_by("pk"), *of_resellers.order_by("pk")]
    return sorted(claims, key=lambda claim: claim.created_at)


def _settle(claims: list[Claim], found: Found, now: datetime, changes: _Changes) -> None:
    """Decide on all claims to one name, by one and the same answer; the oldest is the first to get it."""
    holder = next((claim for claim in claims if claim.holds is not None), None)
    alive = [claim for claim in claims if claim.is_alive]
    verdicts = {id(claim): _verdict(claim, found, now) for claim in claims}
    proved = [claim for claim in alive if claim is not holder and verdicts[id(claim)] is Verdict.PROVED]
    # What belongs to a deleted service waits for its return, but stands in nobody's way.
    free = holder is None or not holder.is_alive or verdicts[id(holder)] is Verdict.ABSENT
    if proved and free:
        if holder is not None:
            _lose(holder, "Another customer has proved this domain, and your record is gone.", now, changes)
        holder = proved[0]
        _verify(holder, now, changes)
    for claim in claims:
        if not claim.is_alive:
            # Its service may come back.
            claim.next_check_at = claim.next_check_at and now + DAILY
            continue
        claim.checked_at = now
        if found.cname.known:
            # There is one at most; a server that says otherwise is broken.
            claim.cname = min(found.cname.values, default="")[:MOST_CNAME]
        if claim is holder:
            _hold(claim, verdicts[id(claim)], now, changes)
        else:
            _wait(claim, verdicts[id(claim)], found, holder, now)


def _verdict(claim: Claim, found: Found, now: datetime) -> Verdict:
    return found.verdict(claim.claimant.domain_token, counted(now) if claim.by_cname else ())


def _verify(claim: Claim, now: datetime, changes: _Changes) -> None:
    before, claim.status = claim.status, Claim.Status.VERIFIED
    claim.holds, claim.verified_at, claim.failing_since = claim.name, now, None
    changes.note("verified", claim, before)


def _lose(claim: Claim, why: str, now: datetime, changes: _Changes) -> None:
    before, claim.status = claim.status, Claim.Status.LOST
    claim.holds, claim.failing_since, claim.message = None, None, why
    claim.sought_since, claim.next_check_at = now, now + HOURLY
    changes.released.append(claim)
    changes.note("lost", claim, before)


def _hold(claim: Claim, verdict: Verdict, now: datetime, changes: _Changes) -> None:
    """What becomes of the verified claim."""
    if verdict is Verdict.PROVED:
        claim.failing_since, claim.message = None, f"Its record is there.{_moves(claim)}"
        # Spread, so that what was added together is not looked at together for ever.
        claim.next_check_at = now + DAILY - timedelta(seconds=secrets.randbelow(int(DAILY.total_seconds()) // 10))
        return
    claim.next_check_at = now + HOURLY
    if verdict is Verdict.UNKNOWN:
        claim.message = f"The name servers of {claim.name} did not answer; it stays as it is."
        return
    claim.failing_since = claim.failing_since or now
    end = claim.failing_since + GRACE
    if now >= end:
        _lose(claim, f"Its record has been gone for {GRACE.days} days. Set it again to have it back.", now, changes)
    elif claim.by_cname and claim.cname.startswith(f"{claim.claimant.domain_token}."):
        claim.message = (
            "Its CNAME leads to a name that does not prove it any more. Set a record as it is shown here before "
            f"{rfc3339(end)}; from then on it is not served."
        )
    else:
        claim.message = f"Its record is gone. Set it again before {rfc3339(end)}; from then on it is not served."


def _moves(claim: Claim) -> str:
    """What is to be changed of its CNAME, in words."""
    change = change_of(claim)
    if change is None:
        return ""
    first = "first set the TXT record that is shown here, then " if change.needs_txt else ""
    when = f"Until the end of {change.until} (UTC)" if change.until else "Soon"
    return f" Its CNAME leads to a former name. {when}, {first}have it lead to {change.wanted}."


def _wait(claim: Claim, verdict: Verdict, found: Found, holder: Claim | None, now: datetime) -> None:
    """What becomes of a claim that is not verified."""
    place = txt_name(claim.name)
    held = holder is not None and holder.holds is not None
    if holder is not None and held and holder.is_alive and holder.claimant.pk == claim.claimant.pk:
        message = f"It is yours for {holder.purpose} already: delete it there to have it here."
    elif verdict is Verdict.PROVED:
        message = (
            "Your record is there, but so is that of another customer, who holds this domain: "
            f"remove theirs, at {place} or the CNAME."
        )
    elif verdict is Verdict.UNKNOWN:
        message = f"The name servers of {claim.name} did not answer. It is looked up again."
    elif found.others:
        message = f"The record at {place} is not yours. Set yours as it is shown here."
    else:
        message = f"There is no record at {place} yet. Set it as it is shown here; it is then found by itself."
    if holder is not None and held and verdict is not Verdict.PROVED and holder.claimant.pk != claim.claimant.pk:
        message = f"Another customer holds this domain. {message}"
    sought = now - claim.sought_since
    if sought >= PATIENCE:
        claim.next_check_at = None
        message += f" After {PATIENCE.days} days it is no longer looked for: have it checked when the record is set."
    else:
        claim.next_check_at = now + min(max(sought / 4, SOONEST), LATEST)
    claim.message = message


def _store(claims: Mapping[str, Iterable[Claim]], changes: _Changes) -> None:
    # First those who give a name up: two rows never hold one, not for a moment.
    for claim in changes.released:
        claim.save(update_fields=_COLUMNS)
    for those in claims.values():
        for claim in those:
            claim.save(update_fields=_COLUMNS)
    if changes.services:
        services = list(changes.services.values())
        bump(services)
        bulk_update(MediaService, services, ["generation"])
    actor = access.system("domains")
    for action, claim, what in changes.entries:
        audit_entry(actor, action, claim.kind, key_of(claim.kind, claim), what, claim.claimant).save()
