"""What happens because time passes: suspensions end, deleted objects are purged, old records go."""

from __future__ import annotations

import time
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from streamfleet_panel import access, control, jobs, service_transfers, transfer
from streamfleet_panel.apply.execute import audit_entry, lock_services
from streamfleet_panel.collected.played import KEEP as KEEP_PLAYED
from streamfleet_panel.models import (
    Account,
    ApiToken,
    AuditLog,
    AuthFailure,
    ConvergeRun,
    Counter,
    Job,
    ListenerSession,
    Listening,
    MediaService,
    Node,
    PlayedTrack,
    Transfer,
)

KEEP_RUNS = timedelta(days=14)
KEEP_JOBS = timedelta(days=7)
KEEP_TRANSFER = timedelta(days=760)


def tick() -> None:
    """One tick. Writes only where there is something to do."""
    actor = access.system("clock")
    control.tick(actor)
    transfer.hold(actor)
    service_transfers.tick(actor)
    purge(actor)
    jobs.requeue_orphans()
    _forget()


def purge(actor: access.Actor) -> int:
    """Remove for good what was deleted longer ago than the grace period. Returns how many objects went.

    A service stays until its node has reported that it took it off: the node removes the data of what it knows to be
    deleted, and of nothing else. A disabled node reports no more, so it is not waited for.
    """
    before = timezone.now() - timedelta(days=settings.GRACE_DAYS)
    reported = Q(observed__state="deleted", observed__generation__gte=F("generation"))
    due = MediaService.objects.filter(deleted_at__lt=before).filter(reported | Q(node__status=Node.Status.DISABLED))
    accounts = Account.objects.filter(deleted_at__lt=before, media_services=None, customers=None)
    if not due.exists() and not accounts.exists():
        return 0
    with transaction.atomic():
        Counter.lock()
        # Before what belongs to them, as who stores what nodes tell of them does.
        services = list(due.filter(pk__in=lock_services(due.values_list("pk", flat=True))).select_related("customer"))
        Node.objects.filter(pk__in={service.node_id for service in services}).update(generation=F("generation") + 1)
        entries = [
            audit_entry(actor, "purged", "media_service", service.slug, {}, service.customer) for service in services
        ]
        MediaService.objects.filter(pk__in=[service.pk for service in services]).delete()
        gone = list(accounts)
        entries += [audit_entry(actor, "purged", "customer", account.username) for account in gone]
        # The entries outlive the account: their owner becomes nobody.
        AuditLog.objects.bulk_create(entries)
        Account.objects.filter(pk__in=[account.pk for account in gone]).delete()
    return len(services) + len(gone)


def _forget() -> None:
    """Old runs, jobs, expired tokens and counters of failed log-ins."""
    now = timezone.now()
    stale = (
        ConvergeRun.objects.filter(
            state__in=(ConvergeRun.State.SUCCEEDED, ConvergeRun.State.FAILED), finished_at__lt=now - KEEP_RUNS
        ),
        Job.objects.filter(finished_at__lt=now - KEEP_JOBS),
        PlayedTrack.objects.filter(at__lt=now - KEEP_PLAYED),
        ApiToken.objects.filter(expires_at__lt=now - KEEP_JOBS),
        ListenerSession.objects.filter(ended_at__lt=now - timedelta(days=settings.SESSION_DAYS)),
        # Of a node that tells no more; addresses are personal data.
        Listening.objects.filter(reported_at__lt=now - timedelta(days=settings.SESSION_DAYS)),
        Transfer.objects.filter(month__lt=transfer.month_of(now - KEEP_TRANSFER)),
        AuthFailure.objects.filter(minute__lt=int(time.time() // 60) - 10),
    )
    for queryset in stale:
        if queryset.exists():
            queryset.delete()
