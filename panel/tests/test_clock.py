"""What time does: suspensions end, deleted objects are purged, mail is sent, dead jobs are taken up again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from streamfleet_panel import access, clock, jobs
from streamfleet_panel.models import Account, AuditLog, Job, MediaService, Node, ServiceStatus
from tests_support import Api

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]


def test_a_suspension_ends_by_itself(world: None, run: Run) -> None:
    until = timezone.now() + timedelta(hours=1)
    run({"media_services": [{"slug": "rock", "suspended": True, "suspended_until": until.isoformat()}]})
    generation = Node.objects.get(name="node1").generation
    clock.tick()
    assert MediaService.objects.get(slug="rock").suspended
    assert Node.objects.get(name="node1").generation == generation
    MediaService.objects.filter(slug="rock").update(suspended_until=timezone.now() - timedelta(seconds=1))
    clock.tick()
    service = MediaService.objects.get(slug="rock")
    assert (service.suspended, service.suspended_until) == (False, None)
    assert service.generation == Node.objects.get(name="node1").generation == generation + 1
    entry = AuditLog.objects.first()
    assert entry is not None
    assert (entry.actor_name, entry.key, entry.changes["suspended"]["after"]) == ("clock", "rock", False)


def test_an_overlap_ends_by_itself(api: Callable[..., Api]) -> None:
    api("alice")("POST", "/media-services/tv/credentials/rotate", {"overlap_seconds": 60})
    service = MediaService.objects.get(slug="tv")
    assert service.previous_credentials_until is not None
    from streamfleet_panel import secrets

    past = (timezone.now() - timedelta(seconds=1)).isoformat()
    previous = {"stream_key": [{"value": "old", "expires": past}]}
    MediaService.objects.filter(slug="tv").update(
        previous_credentials_encrypted=secrets.encrypt(previous), previous_credentials_until=past
    )
    generation = Node.objects.get(name="node1").generation
    clock.tick()
    service = MediaService.objects.get(slug="tv")
    assert (service.previous_credentials, service.previous_credentials_until) == ({}, None)
    assert Node.objects.get(name="node1").generation == generation + 1


def _age(days: int) -> None:
    past = timezone.now() - timedelta(days=days)
    MediaService.objects.exclude(deleted_at=None).update(deleted_at=past)
    Account.objects.exclude(deleted_at=None).update(deleted_at=past)


def test_purge_waits_for_the_grace_period_and_the_node(world: None, run: Run) -> None:
    run({"customers": [{"username": "alice", "state": "absent"}]})
    uid = Account.objects.get(username="alice").uid
    _age(6)
    clock.tick()
    assert MediaService.objects.filter(slug="rock").exists()
    _age(8)
    clock.tick()
    # The node has not said that it took them off the air.
    assert MediaService.objects.filter(slug="rock").exists()
    for service in MediaService.objects.filter(slug__in=["rock", "tv"]):
        ServiceStatus.objects.create(
            service=service, generation=service.generation, state="deleted", reported_at=timezone.now()
        )
    generation = Node.objects.get(name="node1").generation
    clock.tick()
    assert not MediaService.objects.filter(slug__in=["rock", "tv"]).exists()
    assert not Account.objects.filter(username="alice").exists()
    assert Node.objects.get(name="node1").generation == generation + 1
    # The slug is free now; the uid never is.
    run(
        {
            "media_services": [{"slug": "rock", "customer": "bob", "engine": "icecast"}],
            "customers": [{"username": "alice"}],
        }
    )
    assert Account.objects.get(username="alice").uid > uid


def test_a_disabled_node_is_not_waited_for(world: None, run: Run) -> None:
    run({"media_services": [{"slug": "rock", "state": "absent"}], "nodes": [{"name": "node1", "status": "disabled"}]})
    _age(8)
    assert clock.purge(access.system()) == 1


def test_the_welcome_mail(world: None, run: Run, settings: Any) -> None:
    fields = {"username": "new", "email": "new@example.net", "password": "secret-9", "send_welcome_email": True}
    run({"customers": [fields]}, dry_run=True)
    assert Job.objects.count() == 0
    run({"customers": [fields]})
    run({"customers": [fields]})
    assert Job.objects.count() == 1
    assert jobs.run_next()
    assert not jobs.run_next()
    assert len(mail.outbox) == 1
    message = mail.outbox[0]
    assert message.to == ["new@example.net"]
    assert "User name: new" in message.body
    assert settings.PUBLIC_URL in message.body
    assert "secret-9" not in message.body


def test_mail_that_cannot_be_sent_fails_with_the_reason(world: None, run: Run, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    run({"customers": [{"username": "new", "email": "new@example.net", "send_welcome_email": True}]})
    jobs.run_next()
    job = Job.objects.get()
    assert job.state == "failed"
    assert job.error["message"] == "No mail server is set: STREAMFLEET_PANEL_EMAIL_HOST"


def test_a_job_of_a_dead_process_is_begun_anew(api: Callable[..., Api]) -> None:
    document = {"customers": [{"username": f"n{n}", "password": "secret1"} for n in range(51)]}
    api("root")("POST", "/apply", {"document": document})
    Job.objects.update(state=Job.State.RUNNING, heartbeat_at=timezone.now())
    assert not jobs.run_next()
    assert jobs.requeue_orphans() == 0
    assert jobs.requeue_orphans(everything=True) == 1
    assert jobs.run_next()
    assert Job.objects.get().state == "succeeded"


def test_a_job_does_only_what_its_author_still_may(api: Callable[..., Api]) -> None:
    document = {"customers": [{"username": f"n{n}", "password": "secret1"} for n in range(51)]}
    assert api("boss")("POST", "/apply", {"document": document})[0] == 202
    api("root")("PUT", "/customers/boss", {"status": "disabled"})
    jobs.run_next()
    job = Job.objects.get()
    assert (job.state, job.error["code"]) == ("failed", "account_disabled")
    assert not Account.objects.filter(username="n1").exists()
