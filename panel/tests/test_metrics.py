"""``GET /metrics``: who may read it, what it tells, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from streamfleet_panel import transfer
from streamfleet_panel.metrics import families, views
from streamfleet_panel.models import (
    MB,
    Account,
    ApiToken,
    Collection,
    ConvergeRun,
    MediaService,
    Node,
    ServiceStatus,
    Transfer,
    Usage,
)
from tests_support import Api, apply_as, token_for

pytestmark = pytest.mark.django_db
SOURCE = {"mount": "/stream", "kind": "encoder", "since": 1795777200, "announced_kbps": 128, "kbps": 131}


def asked(token: str | None, method: str = "GET") -> Any:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return Client(raise_request_exception=False).generic(method, "/metrics", headers=headers)


@pytest.fixture
def scrape(world: None) -> Callable[..., Any]:
    """``scrape(name, label="value")``: the one value of a sample with these labels, None where there is none."""
    token = token_for(metrics=True)

    def call(name: str, **labels: str) -> float | None:
        response = asked(token)
        assert response.status_code == 200, response.content
        found = [
            sample.value
            for family in text_string_to_metric_families(response.content.decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) <= 1, found
        return found[0] if found else None

    return call


@pytest.mark.parametrize(
    ("bearer", "status", "code"),
    [
        ({"metrics": True}, 200, ""),
        ({"username": "root"}, 200, ""),
        ({"username": "shop"}, 403, "forbidden"),
        ({"username": "alice"}, 403, "forbidden"),
        ({"node": "node1"}, 403, "forbidden"),
        ({"worker": True}, 403, "forbidden"),
    ],
)
def test_for_administrators_and_tokens_of_its_own(world: None, bearer: Any, status: int, code: str) -> None:
    response = asked(token_for(**bearer))
    assert response.status_code == status
    assert response["Cache-Control"] == "no-store"
    if status == 200:
        assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b"\nstreamfleet_node_behind{" in response.content
    else:
        assert response.json()["error"]["code"] == code
        assert b"node1" not in response.content


def test_without_a_token_nothing_is_told(world: None) -> None:
    session = Client()
    session.force_login(Account.objects.get(username="root"), "streamfleet_panel.auth.AccountBackend")
    for response in (asked(None), asked("sft_aaaaaaaa_" + "x" * 43), asked("nonsense"), session.get("/metrics")):
        assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")
        assert response.json()["error"]["code"] == "unauthenticated"
    expired = token_for(metrics=True)
    ApiToken.objects.filter(scope="metrics").update(expires_at=timezone.now() - timedelta(seconds=1))
    assert asked(expired).status_code == 401
    assert asked(token_for("root"), "POST").status_code == 405
    assert asked(token_for("root"), "HEAD").content == b""


def test_a_token_of_metrics_may_do_nothing_else(world: None, api: Callable[..., Api]) -> None:
    machine = api(metrics=True)
    status, told = machine("GET", "/whoami")
    assert (status, told["role"], told["account"]) == (200, "metrics", None)
    assert machine("POST", "/apply", {"document": {"customers": [{"username": "new"}]}})[0] == 403
    assert machine("GET", "/nodes/node1/document")[0] == 404


def test_administrators_make_such_tokens(world: None, api: Callable[..., Api]) -> None:
    status, made = api("root")("POST", "/tokens", {"name": "prometheus", "scope": "metrics"})
    assert (status, made["scope"], made["account"]) == (201, "metrics", None)
    assert asked(made["token"]).status_code == 200
    assert api("shop")("POST", "/tokens", {"name": "prometheus", "scope": "metrics"})[0] == 403
    assert api("root")("POST", "/tokens", {"name": "x", "scope": "metrics", "account": "root"})[0] == 422


def test_of_nodes(scrape: Callable[..., Any]) -> None:
    node = Node.objects.get(name="node1")
    assert scrape("streamfleet_node_info", node="node2", status="draining") == 1
    assert scrape("streamfleet_node_behind", node="node1") == 1
    assert scrape("streamfleet_node_generation", node="node1") == node.generation
    assert scrape("streamfleet_node_converge_failures", node="node1") == 0
    assert scrape("streamfleet_node_collected_timestamp_seconds", node="node1") is None
    ConvergeRun.objects.create(node=node, attempts=3, message="no route")
    at = timezone.now()
    Collection.objects.create(node=node, collected_at=at)
    Node.objects.filter(pk=node.pk).update(observed_generation=node.generation)
    assert scrape("streamfleet_node_behind", node="node1") == 0
    assert scrape("streamfleet_node_converge_failures", node="node1") == 3
    assert scrape("streamfleet_node_collected_timestamp_seconds", node="node1") == pytest.approx(at.timestamp(), abs=1)
    own = MediaService.objects.filter(node=node)
    assert scrape("streamfleet_node_services", node="node1", state="pending") == own.count() > 1
    assert scrape("streamfleet_node_services", node="node1", state="failed") == 0
    failing = own.get(slug="rock")
    ServiceStatus.objects.create(
        service=failing, generation=failing.generation, state="failed", message="x", reported_at=at
    )
    assert scrape("streamfleet_node_services", node="node1", state="failed") == 1
    assert scrape("streamfleet_service_state", media_service="rock", node="node1", state="failed") == 1


def use(slug: str, **fields: Any) -> None:
    month, now = transfer.month_of(timezone.now()), timezone.now()
    defaults = {
        "month": month, "reported_at": now, "listeners": 12, "sources": [SOURCE], "disk_bytes": 7, "library_bytes": 9,
    }  # fmt: skip
    Usage.objects.update_or_create(media_service=MediaService.objects.get(slug=slug), defaults=defaults | fields)


def test_of_services(scrape: Callable[..., Any]) -> None:
    apply_as(None, {"media_services": [{"slug": "rock", "monthly_transfer_mb": 3, "disk_quota_mb": 5, "autodj": {}}]})
    rock = {"media_service": "rock"}
    assert scrape("streamfleet_service_info", **rock, customer="alice", engine="icecast", type="radio") == 1
    assert scrape("streamfleet_service_listeners", **rock) is None, "nothing was told yet"
    use("rock", sources=[SOURCE, {**SOURCE, "kind": "autodj", "kbps": None}])
    Transfer.objects.create(
        media_service=MediaService.objects.get(slug="rock"), month=transfer.month_of(timezone.now()), bytes=2 * MB,
        counter="a" * 32,
    )  # fmt: skip
    told = {
        "desired_running": 1, "listeners": 12, "max_listeners": 100, "source_bits_per_second": 131_000,
        "files_bytes": 7,
        "month_transferred_bytes": 2 * MB, "month_transfer_limit_bytes": 3 * MB,
    }  # fmt: skip
    assert {name: scrape(f"streamfleet_service_{name}", **rock) for name in told} == told
    kinds = [scrape("streamfleet_service_sources", **rock, kind=kind) for kind in families.KINDS]
    assert kinds == [1, 0, 1]
    place = {"customer": "alice", "node": "node1"}
    assert scrape("streamfleet_library_bytes", **place) == 9
    assert scrape("streamfleet_library_limit_bytes", **place) == 5 * MB
    assert scrape("streamfleet_service_max_listeners", media_service="eve-fm") is None, "no limit, no sample"


def test_what_is_not_known_is_left_out_and_who_is_off_the_air_has_nobody(scrape: Callable[..., Any]) -> None:
    rock = {"media_service": "rock"}
    for unknown in ({"listeners": None, "sources": None}, {"reported_at": timezone.now() - timedelta(minutes=16)}):
        use("rock", **unknown)
        for name in ("listeners", "source_bits_per_second"):
            assert scrape(f"streamfleet_service_{name}", **rock) is None
        assert scrape("streamfleet_service_sources", **rock, kind="encoder") is None
    use("rock", sources=[])
    assert scrape("streamfleet_service_source_bits_per_second", **rock) == 0
    assert scrape("streamfleet_service_sources", **rock, kind="encoder") == 0
    use("rock", sources=[{**SOURCE, "kbps": None}])
    assert scrape("streamfleet_service_source_bits_per_second", **rock) is None, "not measured yet"
    apply_as(None, {"media_services": [{"slug": "rock", "suspended": True}]})
    assert scrape("streamfleet_service_listeners", **rock) == 0
    assert scrape("streamfleet_service_desired_running", **rock) == 0
    assert scrape("streamfleet_service_sources", **rock, kind="encoder") is None, "nothing is lost that was taken off"


def test_names_of_tenants_are_encoded(scrape: Callable[..., Any]) -> None:
    hostile = 'x"} 1\nstreamfleet_evil 1\n\\'
    Node.objects.filter(name="node1").update(stream_host=hostile)
    assert scrape("streamfleet_node_info", node="node1", stream_host=hostile) == 1
    assert scrape("streamfleet_evil") is None


def test_the_number_of_statements_does_not_grow(world: None) -> None:
    token = token_for(metrics=True)
    asked(token)
    counts = []
    for count, name in ((2, "a"), (30, "b")):
        nodes = [{"name": f"{name}{n}", "address": "192.0.2.9", "engines": ["icecast"]} for n in range(count)]
        customers = [{"username": f"{name}{n}"} for n in range(count)]
        services = [
            {"slug": f"{name}{n}", "customer": f"{name}{n}", "engine": "icecast", "node": f"{name}{n}", "autodj": {}}
            for n in range(count)
        ]
        apply_as(None, {"nodes": nodes, "customers": customers, "media_services": services})
        for service in services:
            use(str(service["slug"]))
        with CaptureQueriesContext(connection) as captured:
            assert asked(token).status_code == 200
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 9, counts


def test_a_database_that_is_away_is_said(world: None, monkeypatch: pytest.MonkeyPatch) -> None:
    token = token_for(metrics=True)

    def away(_self: Any) -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr(views.Fleet, "collect", away)
    response = asked(token)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
