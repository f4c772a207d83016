"""Having a domain looked at soon."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from streamfleet_panel.access import Actor
from streamfleet_panel.apply.execute import audit_entry
from streamfleet_panel.apply.fields import key_of
from streamfleet_panel.apply.problems import ApiError
from streamfleet_panel.models import Claim, Counter

C = TypeVar("C", bound=Claim)

#: Nobody may ask for one domain more often.
EVERY = timedelta(minutes=1)


def ask(actor: Actor, claim: C) -> C:
    """Have ``claim`` looked at within seconds, and looked for anew. Raises ApiError where somebody just has."""
    with transaction.atomic():
        # Not beside a judgement, which would not know of it.
        Counter.lock()
        now = timezone.now()
        waiting = {"asked_at": now, "next_check_at": now}
        if claim.status != Claim.Status.VERIFIED:
            waiting["sought_since"] = now
        rested = Q(asked_at=None) | Q(asked_at__lte=now - EVERY)
        if not type(claim)._default_manager.filter(rested, pk=claim.pk).update(**waiting):
            message = f"A check of {claim.name} was asked for just now; try again in a minute"
            raise ApiError("too_many_requests", message)
        audit_entry(actor, "check", claim.kind, key_of(claim.kind, claim), owner=claim.claimant).save()
    for name, value in waiting.items():
        setattr(claim, name, value)
    return claim
