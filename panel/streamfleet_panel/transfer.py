"""Monthly transfer: how much there was, and what happens to a service that has reached its limit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import BigIntegerField, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from streamfleet_panel.access import Actor
from streamfleet_panel.apply.execute import audit_entry, bulk_update, bump
from streamfleet_panel.models import MB, AuditLog, Counter, MediaService, Transfer


def month_of(moment: datetime) -> str:
    """The month of UTC that a moment is in, as in ``2026-11``."""
    return moment.astimezone(UTC).strftime("%Y-%m")


def transferred(service_ids: Iterable[int]) -> dict[int, int]:
    """Bytes that these services have sent this month, by the service's id. One query."""
    rows = Transfer.objects.filter(media_service__in=list(service_ids), month=month_of(timezone.now()))
    return dict(rows.values_list("media_service_id", "bytes"))


def _standing(month: str) -> QuerySet[MediaService]:
    """Services, each with what it has sent (``sent``) and may send (``most``) in the month."""
    of_month = Transfer.objects.filter(media_service=OuterRef("pk"), month=month).values("bytes")[:1]
    most = ExpressionWrapper(F("monthly_transfer_mb") * MB, output_field=BigIntegerField())
    return MediaService.objects.filter(deleted_at=None).annotate(sent=Coalesce(Subquery(of_month), 0), most=most)


def hold(actor: Actor) -> int:
    """Take services that have reached their limit off the air, and let go those that no longer have.

    Returns how many changed.
    """
    month = month_of(timezone.now())
    reached = Q(over_quota=False, monthly_transfer_mb__isnull=False, sent__gte=F("most"))
    free = Q(over_quota=True) & (Q(monthly_transfer_mb=None) | Q(sent__lt=F("most")))
    due = _standing(month).filter(reached | free)
    if not due.exists():
        return 0
    with transaction.atomic():
        Counter.lock()
        services = list(due.select_related("customer"))
        entries = []
        for service in services:
            changes: dict[str, Any] = {"over_quota": {"before": service.over_quota, "after": not service.over_quota}}
            service.over_quota = not service.over_quota
            reason = f"the {service.monthly_transfer_mb} MB of {month} are used up" if service.over_quota else ""
            changes["over_quota_reason"] = {"before": service.over_quota_reason, "after": reason}
            service.over_quota_reason = reason
            entries.append(audit_entry(actor, "updated", "media_service", service.slug, changes, service.customer))
        bump(services)
        bulk_update(MediaService, services, ["over_quota", "over_quota_reason", "generation"])
        AuditLog.objects.bulk_create(entries)
    return len(services)
