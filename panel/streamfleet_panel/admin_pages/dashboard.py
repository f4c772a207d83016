"""The overview's figures."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, F, Q

from streamfleet_panel.models import Account, ConvergeRun, MediaService, Node

_MOST_ROWS = 8


def figures() -> dict[str, Any]:
    """Counts of accounts, of services by state, of nodes that are behind; the failures by name. Eight queries."""
    accounts = Account.objects.filter(deleted_at=None, account_type=Account.Type.CUSTOMER)
    by_kind = accounts.aggregate(
        customers=Count("pk", filter=Q(reseller_plan=None)), resellers=Count("pk", filter=~Q(reseller_plan=None))
    )
    services = MediaService.objects.filter(deleted_at=None)
    current = Q(observed__generation__gte=F("generation"))
    states = dict(
        services.filter(current)
        .order_by()
        .values("observed__state")
        .annotate(n=Count("pk"))
        .values_list("observed__state", "n")
    )
    total = services.count()
    failed = services.filter(current, observed__state="failed").select_related("observed", "customer", "node")
    behind = Node.objects.filter(observed_generation__lt=F("generation")).exclude(status=Node.Status.DISABLED)
    last_failures = (
        ConvergeRun.objects.filter(state=ConvergeRun.State.FAILED).select_related("node").defer("output")[:_MOST_ROWS]
    )
    on_air = states.pop("running", 0)
    failures = states.pop("failed", 0)
    known = on_air + failures + sum(states.values())
    return {
        "tiles": [
            {"title": "Customers", "value": by_kind["customers"], "link": "/admin/panel/account/"},
            {"title": "Resellers", "value": by_kind["resellers"], "link": "/admin/panel/account/?kind=reseller"},
            {"title": "Media services", "value": total, "link": "/admin/panel/mediaservice/"},
            {"title": "Running", "value": on_air, "link": "/admin/panel/mediaservice/?state=running"},
            {"title": "Changing", "value": total - known, "link": "/admin/panel/mediaservice/?state=changing"},
            {"title": "Off the air", "value": sum(states.values()), "link": "/admin/panel/mediaservice/?state=off"},
            {
                "title": "Failed",
                "value": failures,
                "link": "/admin/panel/mediaservice/?state=failed",
                "bad": failures > 0,
            },
            {"title": "Nodes", "value": Node.objects.count(), "link": "/admin/panel/node/"},
            {"title": "Nodes behind", "value": behind.count(), "link": "/admin/panel/node/?behind=yes"},
        ],
        "failed_services": failed[:_MOST_ROWS],
        "behind_nodes": behind[:_MOST_ROWS],
        "failed_runs": last_failures,
    }
