"""How the fleet is, from the database alone: what the command ``fleet_report`` prints and the metrics begin with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, QuerySet
from django.utils import timezone

from streamfleet_panel import access, represent
from streamfleet_panel.models import ConvergeRun, Job, MediaService, Node
from streamfleet_panel.times import rfc3339

#: A change that takes longer than this on its way to a node is one that does not arrive.
ON_ITS_WAY = timedelta(minutes=5)
_LARGE = ("settings", "credentials_encrypted", "previous_credentials_encrypted")


@dataclass(frozen=True)
class NodeStanding:
    """A node, and how far it is. ``failures``: attempts of its newest converge run that failed; ``message``: why.

    ``late``: it is behind, and a try has failed, or none was made in ``ON_ITS_WAY``. A disabled node is neither.
    """

    node: Node
    behind: bool
    late: bool
    failures: int
    message: str


def _standing(node: Node, newest: ConvergeRun | None, now: datetime) -> NodeStanding:
    behind = node.is_behind and node.status != Node.Status.DISABLED
    failures, message, waits = 0, "", timedelta(0)
    if newest is not None and newest.state != ConvergeRun.State.SUCCEEDED:
        # The attempt that is running has not failed.
        failures = newest.attempts - (newest.state == ConvergeRun.State.RUNNING)
        message = newest.message if failures else ""
        waits = now - newest.requested_at
    late = behind and (failures > 0 or newest is None or waits > ON_ITS_WAY)
    return NodeStanding(node, behind, late, max(failures, 0), message)


def nodes(now: datetime) -> list[NodeStanding]:
    """All nodes, by name. Two queries."""
    found = list(access.nodes(access.system()).order_by("name"))
    runs = represent.latest_runs(node.pk for node in found)
    return [_standing(node, runs.get(node.pk), now) for node in found]


def services() -> QuerySet[MediaService]:
    """All media services that are not deleted, without what only their nodes read."""
    return access.services(access.system()).defer(*_LARGE).order_by("slug")


def state_of(service: MediaService) -> tuple[str, str]:
    """State as the node reported it of the service as it is (``pending`` until then), and the message."""
    observed = service._state.fields_cache.get("observed")
    if observed is None or observed.generation < service.generation:
        return "pending", ""
    return observed.state, observed.message


def jobs() -> dict[str, int]:
    """Number of jobs by state. One query."""
    counted = dict(Job.objects.order_by().values("state").annotate(n=Count("pk")).values_list("state", "n"))
    return {state: counted.get(state, 0) for state in Job.State.values}


def report() -> dict[str, Any]:
    """Nodes, each with how far it is; ``services`` and ``jobs`` by state; ``failed`` services with node and message."""
    now = timezone.now()
    standings = nodes(now)
    states: Counter[str] = Counter()
    failed = []
    for service in services():
        state, message = state_of(service)
        states[state] += 1
        if state == "failed":
            failed.append({"slug": service.slug, "node": service.node.name, "message": message})
    return {
        "nodes": [
            {
                "name": standing.node.name,
                "status": standing.node.status,
                "generation": standing.node.generation,
                "observed_generation": standing.node.observed_generation,
                "behind": standing.behind,
                "late": standing.late,
                "failures": standing.failures,
                "message": standing.message,
                "collected_at": rfc3339(collected.collected_at) if collected is not None else None,
                "collection_message": collected.message if collected is not None else "",
            }
            for standing in standings
            for collected in (standing.node._state.fields_cache.get("collection"),)
        ],
        "services": dict(sorted(states.items())),
        "failed": failed,
        "jobs": jobs(),
    }
