"""``streamfleet-panel fleet_report``: how nodes, services and jobs are, by the database alone."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from streamfleet_panel.models import Collection, ConvergeRun, Job, MediaService, Node, ServiceStatus
from tests_support import apply_as

pytestmark = pytest.mark.django_db


def report() -> Any:
    output = io.StringIO()
    call_command("fleet_report", stdout=output)
    return json.loads(output.getvalue())


def reported(slug: str, state: str, message: str = "", behind: int = 0) -> None:
    service = MediaService.objects.get(slug=slug)
    ServiceStatus.objects.update_or_create(
        service=service,
        defaults={
            "generation": service.generation - behind, "state": state, "message": message, "reported_at": timezone.now()
        },
    )  # fmt: skip


def node_of(found: Any, name: str) -> Any:
    return next(item for item in found["nodes"] if item["name"] == name)


def test_services_by_state_and_the_failed_by_name(world: None) -> None:
    reported("rock", "running")
    reported("tv", "failed", "port 1935 is taken")
    reported("eve-fm", "failed", "of the generation before", behind=1)
    found = report()
    assert found["services"] == {"failed": 1, "pending": 3, "running": 1}
    assert found["failed"] == [
        {"slug": "tv", "node": MediaService.objects.get(slug="tv").node.name, "message": "port 1935 is taken"}
    ]
    assert found["jobs"] == {"pending": 0, "running": 0, "succeeded": 0, "failed": 0}
    Job.objects.create(kind=Job.Kind.APPLY, state=Job.State.FAILED)
    assert report()["jobs"]["failed"] == 1


def test_a_node_is_late_when_tries_fail_or_none_is_made(world: None) -> None:
    node = Node.objects.get(name="node1")
    assert node.is_behind
    assert node_of(report(), "node1")["late"], "there is no run at all"
    run = ConvergeRun.objects.create(node=node, state=ConvergeRun.State.RUNNING, attempts=1)
    found = node_of(report(), "node1")
    assert (found["behind"], found["late"], found["failures"]) == (True, False, 0)
    ConvergeRun.objects.filter(pk=run.pk).update(requested_at=timezone.now() - timedelta(minutes=6))
    assert node_of(report(), "node1")["late"], "it takes too long"
    ConvergeRun.objects.filter(pk=run.pk).update(
        requested_at=timezone.now(), state=ConvergeRun.State.PENDING, attempts=2, message="ssh: no route to host"
    )
    found = node_of(report(), "node1")
    assert (found["late"], found["failures"], found["message"]) == (True, 2, "ssh: no route to host")
    Node.objects.filter(pk=node.pk).update(observed_generation=node.generation)
    found = node_of(report(), "node1")
    assert (found["behind"], found["late"]) == (False, False)
    Node.objects.filter(pk=node.pk).update(observed_generation=0, status=Node.Status.DISABLED)
    found = node_of(report(), "node1")
    assert (found["behind"], found["late"]) == (False, False), "nobody brings a disabled node anywhere"


def test_when_it_was_last_asked_for_news(world: None) -> None:
    assert node_of(report(), "node1")["collected_at"] is None
    at = timezone.now()
    Collection.objects.create(node=Node.objects.get(name="node1"), collected_at=at, message="timed out")
    found = node_of(report(), "node1")
    assert found["collected_at"][:19] == at.strftime("%Y-%m-%dT%H:%M:%S")
    assert found["collection_message"] == "timed out"


def test_the_number_of_statements_does_not_grow(world: None) -> None:
    counts = []
    for start, count in ((0, 2), (2, 20)):
        apply_as(
            None,
            {
                "nodes": [
                    {"name": f"n{start}-{n}", "address": "192.0.2.9", "engines": ["icecast"]} for n in range(count)
                ],
                "media_services": [
                    {"slug": f"s{start}-{n}", "customer": "bob", "engine": "icecast", "node": f"n{start}-{n}"}
                    for n in range(count)
                ],
            },
        )
        with CaptureQueriesContext(connection) as captured:
            report()
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 5, counts
