"""What the watchdog of a node has restarted, since it was hung: the feed ``hung`` of role common.

It goes into the audit log, as what is done to a service does: whoever may see the service reads it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from streamfleet_panel.collected.played import text
from streamfleet_panel.models import AuditLog, MediaService

#: Restarts that are stored of one batch: a node that tells more has told of them before.
MOST = 200
LONGEST = 200
ACTION = "restarted"


def store(services: Mapping[str, int], items: Sequence[tuple[str, dict[str, Any]]], _now: datetime) -> None:
    """Note each restart of a service of this node. What serves many is nobody's own: that is in the node's journal."""
    told = [item for slug, item in items if not slug and isinstance(item.get("service"), str)][-MOST:]
    named = {services[item["service"]] for item in told if item["service"] in services}
    known = MediaService.objects.filter(pk__in=named).select_related("customer", "node").in_bulk()
    entries = []
    for item in told:
        service = known.get(services.get(item["service"], 0))
        if service is None:
            continue
        changes = {
            name: {"before": None, "after": text(item.get(name), LONGEST) or ""} for name in ("unit", "cause", "at")
        }
        entry = AuditLog(
            actor_name=f"node:{service.node.name}",
            via="node",
            action=ACTION,
            kind="media_service",
            key=service.slug,
            owner_id=service.customer_id,
            changes=changes,
        )
        entry.owner_name = service.customer.username
        entries.append(entry)
    AuditLog.objects.bulk_create(entries)
