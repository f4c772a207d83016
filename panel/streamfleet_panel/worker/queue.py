"""Which runs are due, who runs, and what came of it: everything that the worker reads and writes in the database."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, F, FilteredRelation, OuterRef, Q
from django.utils import timezone

from streamfleet_panel.models import ConvergeRun, Node, ServiceStatus
from streamfleet_panel.worker.config import Config
from streamfleet_panel.worker.runner import Outcome, Target

State = ConvergeRun.State

#: How a run's message begins while its node cannot be reached. Only the back-off ends such a wait; every other failure
#: is tried again as soon as the node's document changes, because the change may be the cure.
UNREACHABLE = "Unreachable: "


@dataclass(frozen=True)
class Claimed:
    """A run that this worker has taken: its id, its node, the document's generation when it began."""

    run_id: int
    node_id: int
    generation: int
    attempt: int
    target: Target


class Changes:
    """Whether anything may have changed since the last look, answered by one small query."""

    def __init__(self) -> None:
        self._seen: object = None

    def may_have(self) -> bool:
        """True unless it is certain that there is nothing new to do since the last call."""
        seen = _writes() if connection.vendor == "sqlite" else standing()
        changed = seen != self._seen
        self._seen = seen
        return changed


def _writes() -> tuple[int, int]:
    """SQLite's own count of what others have written."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA data_version")
        # The number counts per connection, so a new connection is a change, too.
        return id(connection.connection), int(cursor.fetchone()[0])


def standing() -> list[tuple[Any, ...]]:
    """Where every node stands, with its open runs: all that decides which runs are due, but for the time of day."""
    is_open = Q(runs__state__in=[State.PENDING, State.RUNNING])
    nodes = Node.objects.annotate(open=FilteredRelation("runs", condition=is_open)).order_by("pk", "open__pk")
    return list(
        nodes.values_list(
            *("pk", "status", "generation", "observed_generation", "observed_at"),
            *("open__pk", "open__state", "open__next_attempt_at"),
        )
    )


def enqueue_behind() -> None:
    """Make a run for every node that is behind and has none waiting or running."""
    open_runs = ConvergeRun.objects.filter(node=OuterRef("pk"), state__in=[State.PENDING, State.RUNNING])
    behind = (
        Node.objects.filter(generation__gt=F("observed_generation"))
        .exclude(status=Node.Status.DISABLED)
        .exclude(Exists(open_runs))
        .values_list("pk", flat=True)
    )
    for node_id in behind:
        ConvergeRun.objects.create(node_id=node_id, requested_by="")


def next_due(now: datetime) -> datetime | None:
    """When the earliest waiting run comes due, or None where none waits for a time."""
    waiting = ConvergeRun.objects.filter(state=State.PENDING, next_attempt_at__gt=now)
    return waiting.order_by("next_attempt_at").values_list("next_attempt_at", flat=True).first()


def claim(limit: int) -> list[Claimed]:
    """Take up to ``limit`` runs that are due, at most one per node, and mark them running."""
    if limit < 1:
        return []
    now = timezone.now()
    running = ConvergeRun.objects.filter(node=OuterRef("node"), state=State.RUNNING)
    changed_since = Q(node__generation__gt=F("generation")) & ~Q(message__startswith=UNREACHABLE)
    due = (
        ConvergeRun.objects.filter(state=State.PENDING)
        .filter(Q(next_attempt_at=None) | Q(next_attempt_at__lte=now) | changed_since)
        .exclude(Exists(running))
        .order_by("id")
        .values_list("pk", "node_id")
    )
    claimed: list[Claimed] = []
    taken: set[int] = set()
    for run_id, node_id in due:
        if node_id in taken or len(claimed) == limit:
            continue
        taken.add(node_id)
        one = _claim(run_id, node_id)
        if one:
            claimed.append(one)
    return claimed


def _claim(run_id: int, node_id: int) -> Claimed | None:
    """Mark one run running, unless another worker was quicker. The node's row is the lock."""
    with transaction.atomic():
        node = Node.objects.select_for_update().filter(pk=node_id).first()
        if node is None or ConvergeRun.objects.filter(node_id=node_id, state=State.RUNNING).exists():
            return None
        now = timezone.now()
        if node.status == Node.Status.DISABLED:
            ConvergeRun.objects.filter(pk=run_id, state=State.PENDING).update(
                state=State.FAILED,
                finished_at=now,
                message=f"The node is disabled: set {node.name}'s status to active.",
            )
            return None
        run = ConvergeRun.objects.filter(pk=run_id, state=State.PENDING).first()
        if run is None:
            return None
        # A changed document is a new try, unless the node did not even answer.
        is_new = node.generation > run.generation and not run.message.startswith(UNREACHABLE)
        attempt = 1 if is_new else run.attempts + 1
        ConvergeRun.objects.filter(pk=run_id).update(
            state=State.RUNNING,
            attempts=attempt,
            message="" if is_new else run.message,
            generation=node.generation,
            next_attempt_at=None,
            started_at=now,
            heartbeat_at=now,
            finished_at=None,
        )
    target = Target(
        name=node.name,
        address=node.address,
        port=node.ssh_port,
        user=node.ssh_user,
        host_key=node.host_key or "",
    )
    return Claimed(run_id, node_id, node.generation, attempt, target)


def heartbeat(run_ids: list[int]) -> None:
    """Say that these runs are alive."""
    if run_ids:
        ConvergeRun.objects.filter(pk__in=run_ids, state=State.RUNNING).update(heartbeat_at=timezone.now())


def finish(claimed: Claimed, outcome: Outcome, config: Config) -> Outcome:
    """Write down what came of a run, and return it. A failed one waits for its next attempt."""
    now = timezone.now()
    if outcome.ok and not Node.objects.filter(pk=claimed.node_id, observed_generation__gte=claimed.generation).exists():
        # Without this a run that ends well but reports nothing would be repeated at once, for ever.
        outcome = replace(
            outcome, ok=False, message="The run ended well, but the node's status did not reach the panel."
        )
    if outcome.ok:
        values = {"state": State.SUCCEEDED, "finished_at": now, "message": outcome.message, "output": outcome.output}
    else:
        prefix = "" if outcome.reachable else UNREACHABLE
        wait = backoff(claimed.attempt, config)
        values = {
            "state": State.PENDING,
            "finished_at": now,
            "next_attempt_at": now + timedelta(seconds=wait),
            "message": prefix + outcome.message,
            "output": outcome.output,
        }
    with transaction.atomic():
        ConvergeRun.objects.filter(pk=claimed.run_id, state=State.RUNNING).update(**values)
        if outcome.ok:
            _finish_with(claimed, now)
            _forget_old(claimed.node_id, config.keep_runs)
    return outcome


def _finish_with(claimed: Claimed, now: datetime) -> None:
    """Close the runs that were asked for before this one began: it did their work."""
    began = ConvergeRun.objects.filter(pk=claimed.run_id).values_list("started_at", flat=True).first()
    ConvergeRun.objects.filter(node_id=claimed.node_id, state=State.PENDING, requested_at__lte=began).update(
        state=State.SUCCEEDED, finished_at=now, next_attempt_at=None, message=f"Done by run {claimed.run_id}."
    )


def _forget_old(node_id: int, keep: int) -> None:
    """Delete all but the newest finished runs of a node."""
    finished = ConvergeRun.objects.filter(node_id=node_id, state__in=[State.SUCCEEDED, State.FAILED])
    oldest_kept = finished.order_by("-id").values_list("pk", flat=True)[keep - 1 : keep]
    for pk in oldest_kept:
        finished.filter(pk__lt=pk).delete()


def backoff(attempt: int, config: Config) -> float:
    """Seconds until the next attempt: doubling, bounded, and spread so that nodes do not come back all at once."""
    longest = min(config.backoff_most, config.backoff_first * 2 ** min(attempt - 1, 30))
    return float(longest) * random.uniform(0.75, 1.0)  # noqa: S311  (nobody gains by guessing it)


def take_over(run_ids: list[int]) -> int:
    """Make runs wait again that a dead worker had running. They begin at once."""
    return ConvergeRun.objects.filter(pk__in=run_ids, state=State.RUNNING).update(
        state=State.PENDING, next_attempt_at=None, heartbeat_at=None, message="The worker stopped in the middle."
    )


def expired(lease: float, mine: list[int]) -> list[int]:
    """Runs whose worker has not given a sign of life for ``lease`` seconds."""
    limit = timezone.now() - timedelta(seconds=lease)
    silent = ConvergeRun.objects.filter(state=State.RUNNING).filter(Q(heartbeat_at=None) | Q(heartbeat_at__lt=limit))
    return list(silent.exclude(pk__in=mine).values_list("pk", flat=True))


def close_caught_up() -> int:
    """Close waiting retries of nodes that somebody else (a hand run, AWX) has brought up to date meanwhile.

    Only a report that came after the failed attempt counts, and only one without a failed service: what failed is
    tried again although the node has seen the newest document.
    """
    failed = ServiceStatus.objects.filter(service__node=OuterRef("node"), state="failed")
    return (
        ConvergeRun.objects.filter(
            state=State.PENDING,
            attempts__gt=0,
            requested_by="",
            node__observed_generation__gte=F("node__generation"),
            node__observed_at__gt=F("finished_at"),
        )
        .exclude(Exists(failed))
        .update(state=State.SUCCEEDED, finished_at=timezone.now(), message="Brought up to date by another run.")
    )
