"""API v1: tokens, errors, lists, credentials, actions, nodes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from streamfleet_panel.models import Account, ApiToken, AuditLog, ConvergeRun, MediaService, Node
from tests_support import Api

pytestmark = pytest.mark.django_db
Clients = Callable[..., Api]


def test_health_is_open(db: None, client: Client) -> None:
    response = client.get("/api/v1/health")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"


def test_openapi_and_swagger_are_local(db: None, client: Client) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    apply = schema["paths"]["/api/v1/apply"]["post"]
    properties = apply["requestBody"]["content"]["application/json"]["schema"]["properties"]
    service = properties["document"]["properties"]["media_services"]["items"]["properties"]
    assert "mounts" in service
    assert service["stream_key"]["writeOnly"] is True
    assert service["max_listeners"]["description"].endswith(
        "Engines that hold it: icecast, shoutcast2, wowza, flussonic, icecast_kh."
    )
    assert service["max_bitrate_kbps"]["description"].endswith(
        "Engines that hold it: icecast, nginx_rtmp, shoutcast2, icecast_kh."
    )
    page = client.get("/api/v1/docs").content.decode()
    assert "cdn." not in page
    assert "https://" not in page


def test_whoami(api: Clients) -> None:
    status, body = api("shop")("GET", "/whoami")
    assert (status, body["role"], body["account"]["username"]) == (200, "reseller", "shop")
    assert api(worker=True)("GET", "/whoami")[1]["role"] == "worker"
    assert api(node="node1")("GET", "/whoami")[1]["token"]["scope"] == "node:node1"


def test_api_access_off_stops_every_call(api: Clients) -> None:
    call, root = api("alice"), api("root")
    assert call("GET", "/whoami")[0] == 200
    root("PUT", "/customers/alice", {"api_access": False})
    for method, path in (("GET", "/whoami"), ("GET", "/media-services"), ("POST", "/apply"), ("DELETE", "/tokens/x")):
        status, body = call(method, path, {})
        assert (status, body["error"]["code"]) == (403, "api_access_disabled")
    root("PUT", "/customers/alice", {"api_access": True})
    assert call("GET", "/whoami")[0] == 200


@pytest.mark.parametrize("who", ["alice", "shop"])
def test_a_disabled_account_is_refused(api: Clients, who: str) -> None:
    call, root = api("alice"), api("root")
    root("PUT", f"/customers/{who}", {"status": "disabled"})
    status, body = call("GET", "/whoami")
    assert (status, body["error"]["code"]) == (403, "account_disabled")


def test_a_deleted_account_is_refused(api: Clients) -> None:
    call = api("alice")
    api("root")("DELETE", "/customers/alice")
    assert call("GET", "/whoami")[0] == 403


def test_expired_and_deleted_tokens(api: Clients) -> None:
    call = api("alice")
    token = ApiToken.objects.get(account__username="alice")
    assert token.last_used_at is None
    call("GET", "/whoami")
    token.refresh_from_db()
    assert token.last_used_at is not None
    token.expires_at = timezone.now() - timedelta(seconds=1)
    token.save()
    assert call("GET", "/whoami")[0] == 401


def test_token_life(api: Clients) -> None:
    call = api("alice")
    status, made = call("POST", "/tokens", {"name": "ci", "expires_at": "2099-01-01T00:00:00Z"})
    assert status == 201
    assert made["expires_at"] == "2099-01-01T00:00:00Z"
    other = Api(Client(), made["token"])
    assert other("GET", "/whoami")[0] == 200
    _, listing = call("GET", "/tokens")
    assert made["token"] not in str(listing)
    assert call("DELETE", f"/tokens/{made['id']}")[0] == 200
    assert other("GET", "/whoami")[0] == 401
    for body, path in (
        ({}, "name"),
        ({"name": "x", "scope": "everything"}, None),
        ({"name": "x", "expires_at": "soon"}, "expires_at"),
        ({"name": "x", "colour": 1}, "colour"),
    ):
        status, answer = api("root")("POST", "/tokens", body)
        assert status == 422
        assert path is None or answer["error"]["errors"][0]["path"] == path


def test_failures_are_throttled(api: Clients, settings: Any) -> None:
    settings.API_FAILURES_PER_MINUTE = 5
    bad, good = api("root"), api("root")
    bad.token = bad.token[:-1] + ("x" if bad.token[-1] != "x" else "y")
    statuses = [bad("GET", "/whoami")[0] for _ in range(7)]
    # The minute may have turned once in between.
    assert statuses[:5] == [401] * 5
    assert statuses[-1] in (429, 401)
    assert 429 in statuses or timezone.now().second < 2
    # A valid token is not slowed down by others' failures from the same address.
    assert good("GET", "/whoami")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nothing", None, 404, "not_found"),
        ("GET", "/customers/ghost", None, 404, "not_found"),
        ("PATCH", "/customers/alice", {}, 405, "method_not_allowed"),
        ("POST", "/customers", {}, 405, "method_not_allowed"),
        ("GET", "/customers?limit=0", None, 422, "invalid_document"),
        ("GET", "/customers?limit=1001", None, 422, "invalid_document"),
        ("GET", "/media-services?state=odd", None, 422, "invalid_document"),
        ("POST", "/apply", "{", 422, "invalid_document"),
        ("POST", "/apply", "[]", 422, "invalid_document"),
        ("POST", "/apply", "[" * 100_000, 422, "invalid_document"),
        ("POST", "/apply", '{"document": {"customers": [{"username": NaN}]}}', 422, "invalid_document"),
        ("POST", "/apply", b"\xff\xfe", 422, "invalid_document"),
        ("POST", "/apply", {}, 422, "invalid_document"),
        ("POST", "/apply", {"document": {}, "dryrun": True}, 422, "invalid_document"),
        ("POST", "/apply", {"document": {}, "max_delete": -1}, 422, "invalid_document"),
        ("POST", "/apply", {"document": {}, "max_delete": True}, 422, "invalid_document"),
        ("POST", "/apply", {"document": {}, "update_password": "never"}, 422, "invalid_document"),
        ("POST", "/apply", {"document": {}, "prune": True}, 422, "invalid_document"),
        ("POST", "/apply", {"document": {}, "label": "a b"}, 422, "invalid_document"),
        ("PUT", "/customers/alice", {"username": "bob"}, 422, "invalid_document"),
        ("PUT", "/customers/alice?update_password=never", {}, 422, "invalid_document"),
        ("DELETE", "/nodes/node1", None, 422, "invalid_document"),
        ("DELETE", "/customers/root", None, 422, "invalid_document"),
        ("POST", "/customers/alice/restore", None, 409, "conflict"),
        ("POST", "/media-services/rock/actions", {"action": "explode"}, 422, "invalid_document"),
        ("POST", "/media-services/rock/actions", {}, 422, "invalid_document"),
        ("POST", "/media-services/rock/credentials/rotate", {"names": ["x"]}, 422, "invalid_document"),
        ("POST", "/media-services/rock/credentials/rotate", {"overlap_seconds": -1}, 422, "invalid_document"),
        ("PUT", "/nodes/node1/status", {"epoch": 1}, 422, "invalid_document"),
        ("GET", "/jobs/x", None, 404, "not_found"),
    ],
)
def test_every_error_has_the_one_shape(api: Clients, method: str, path: str, body: Any, status: int, code: str) -> None:
    got, answer = api("root")(method, path, body)
    assert (got, answer["error"]["code"]) == (status, code), answer
    assert set(answer["error"]) == {"code", "message", "errors"}
    for problem in answer["error"]["errors"]:
        assert set(problem) == {"path", "value", "message", "fix"}


def test_a_large_body_is_refused_before_it_is_parsed(api: Clients) -> None:
    status, answer = api("root")("POST", "/apply", b" " * (32 * 1024 * 1024 + 1))
    assert (status, answer["error"]["code"]) == (413, "too_large")


def test_failures_show_no_traceback(api: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("canary-in-an-exception")

    monkeypatch.setattr("streamfleet_panel.api.objects.represent.customer", fail)
    status, answer = api("root")("GET", "/customers/alice")
    assert (status, answer["error"]["code"]) == (500, "internal_error")
    assert "canary" not in str(answer)


def test_one_object(api: Clients) -> None:
    call = api("root")
    status, answer = call("PUT", "/customers/new?dry_run=true", {"email": "n@example.net"})
    assert (status, answer["action"]) == (200, "created")
    assert not Account.objects.filter(username="new").exists()
    status, answer = call("PUT", "/customers/new?label=x", {"email": "n@example.net"})
    assert answer["object"]["label"] == "x"
    assert call("PUT", "/customers/new", {"email": "n@example.net"})[1]["action"] == "unchanged"
    assert call("GET", "/customers/new")[1] == answer["object"]
    assert call("DELETE", "/customers/new?dry_run=true")[1]["action"] == "deleted"
    assert call("DELETE", "/customers/new")[1]["action"] == "deleted"
    assert call("DELETE", "/customers/new")[0] == 404
    assert call("GET", "/customers?deleted=true")[1]["items"][0]["username"] == "new"


def test_restoring_a_customer_brings_what_went_with_it(api: Clients) -> None:
    call = api("shop")
    call("DELETE", "/media-services/tv")
    call("DELETE", "/customers/alice")
    assert call("GET", "/media-services/rock")[0] == 404
    status, answer = call("POST", "/customers/alice/restore")
    assert (status, answer["action"], answer["object"]["deleted_at"]) == (200, "updated", None)
    assert call("GET", "/media-services/rock")[0] == 200
    # It was deleted by itself, before.
    assert call("GET", "/media-services/tv")[0] == 404


def test_filters_and_pages(api: Clients) -> None:
    call = api("root")

    def slugs(query: str) -> list[str]:
        return [item["slug"] for item in call("GET", f"/media-services?{query}")[1]["items"]]

    assert slugs("customer=alice") == ["rock", "tv"]
    assert slugs("engine=icecast") == ["eve-fm", "rock", "shop-fm"]
    assert slugs("node=node2") == []
    assert slugs("search=fm") == ["eve-fm", "shop-fm"]
    call("PUT", "/media-services/tv", {"suspended": True})
    call("PUT", "/customers/eve", {"status": "disabled"})
    assert slugs("state=suspended") == ["tv"]
    assert slugs("state=disabled") == ["eve-fm"]
    assert slugs("state=running&customer=alice") == ["rock"]
    assert slugs("limit=2&offset=1") == ["eve-fm", "rock"]
    assert call("GET", "/media-services?limit=2")[1]["count"] == 5
    assert call("GET", "/customers?reseller=shop")[1]["count"] == 2
    assert call("GET", "/customers?account_type=administrator")[1]["count"] == 2
    assert call("GET", "/customers?search=ALICE")[1]["count"] == 1


def test_reading_credentials_is_audited(api: Clients) -> None:
    status, answer = api("alice")("GET", "/media-services/rock/credentials")
    assert status == 200
    assert answer["credentials"] == {
        **MediaService.objects.get(slug="rock").credentials,
        "listener_password": None,
    }
    assert {"label": "Server", "value": "stream.example.net"} in answer["connection"]
    entry = AuditLog.objects.first()
    assert entry is not None
    assert (entry.actor_name, entry.action, entry.key) == ("alice", "read_credentials", "rock")


def test_a_stream_key_with_a_secret_in_it_is_shown_to_whoever_may_see_the_secret(api: Clients) -> None:
    call = api("root")
    call("PUT", "/nodes/node1", {"engines": ["icecast", "nginx_rtmp", "flussonic"]})
    wanted = {"customer": "alice", "engine": "flussonic", "max_listeners": 5, "publish_password": "correct-horse-1"}
    status, answer = call("PUT", "/media-services/flu-tv", wanted)
    assert status == 200, answer
    shown = call("GET", "/media-services/flu-tv")[1]["connection"]
    assert shown[1] == {"label": "Stream key", "credential": "publish_password"}
    told = api("alice")("GET", "/media-services/flu-tv/credentials")[1]["connection"]
    assert told[1] == {**shown[1], "value": "flu-tv?password=correct-horse-1"}


def test_an_encoder_is_told_where_its_node_has_moved_the_port(api: Clients) -> None:
    call = api("root")

    def server() -> str:
        lines = call("GET", "/media-services/tv")[1]["connection"]
        return str(next(line["value"] for line in lines if line["label"] == "Server"))

    assert server() == "rtmp://stream.example.net/live"
    for ports, expected in (
        ({"nginx_rtmp": {"RTMP": 1935}}, "rtmp://stream.example.net/live"),
        ({"nginx_rtmp": {"RTMP": 1945}, "flussonic": {"RTMP": 1955}}, "rtmp://stream.example.net:1945/live"),
        ({"flussonic": {"RTMP": 1955}}, "rtmp://stream.example.net/live"),
        ("odd", "rtmp://stream.example.net/live"),
    ):
        assert call("PUT", "/nodes/node1", {"facts": {"host_ports": ports}})[0] == 200
        assert server() == expected


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ({}, []),
        ({"nginx_rtmp": {"RTMP": 1935}}, []),
        ({"nginx_rtmp": {"RTMPS": 0}}, []),
        ({"nginx_rtmp": {"RTMPS": "1936; x"}}, []),
        ({"nginx_rtmp": {"RTMPS": 1936}}, ["rtmps://stream.example.net:1936/live"]),
        ({"nginx_rtmp": {"RTMP": 1945, "RTMPS": 1946}}, ["rtmps://stream.example.net:1946/live"]),
    ],
)
def test_an_encoder_is_told_of_tls_where_its_node_has_it(api: Clients, ports: Any, expected: list[str]) -> None:
    call = api("root")
    assert call("PUT", "/nodes/node1", {"facts": {"host_ports": ports}})[0] == 200
    for path in ("/media-services/tv", "/media-services/tv/credentials"):
        lines = api("alice")("GET", path)[1]["connection"]
        assert [line["value"] for line in lines if line["label"] == "Server with TLS"] == expected
        assert [line["label"] for line in lines if line["label"] != "Server with TLS"] == ["Server", "Stream key"]


def test_rotating_with_overlap(api: Clients) -> None:
    call = api("alice")
    old = MediaService.objects.get(slug="tv").credentials["stream_key"]
    generation = Node.objects.get(name="node1").generation
    status, answer = call("POST", "/media-services/tv/credentials/rotate", {"overlap_seconds": 3600})
    assert status == 200
    assert answer["generation"] == generation + 1
    new = answer["credentials"]["stream_key"]
    assert new != old
    assert answer["previous_credentials"]["stream_key"][0]["value"] == old
    _, document = api(node="node1")("GET", "/nodes/node1/document")
    channel = next(item for item in document["services"] if item["slug"] == "tv")
    assert channel["credentials"]["stream_key"] == new
    assert channel["previous_credentials"]["stream_key"][0]["value"] == old
    # Nobody else can take the old key while it works.
    assert api("bob")("PUT", "/media-services/bob-tv", {"stream_key": old})[0] == 422
    # At once: the older ones end too.
    call("POST", "/media-services/tv/credentials/rotate", {})
    assert MediaService.objects.get(slug="tv").previous_credentials == {}
    assert api("bob")("PUT", "/media-services/bob-tv", {"stream_key": old})[0] == 200


def test_an_overlap_that_the_engine_cannot_hold_is_refused(api: Clients) -> None:
    call, before = api("alice"), MediaService.objects.get(slug="rock").credentials
    status, answer = call("POST", "/media-services/rock/credentials/rotate", {"overlap_seconds": 60})
    assert (status, answer["error"]["errors"][0]["path"]) == (422, "overlap_seconds")
    assert MediaService.objects.get(slug="rock").credentials == before
    assert call("POST", "/media-services/rock/credentials/rotate", {"names": ["source_password"]})[0] == 200
    after = MediaService.objects.get(slug="rock").credentials
    assert after["source_password"] != before["source_password"]
    assert after["admin_password"] == before["admin_password"]


def test_actions(api: Clients) -> None:
    call = api("alice")
    generation = Node.objects.get(name="node1").generation
    assert call("POST", "/media-services/rock/actions", {"action": "start"})[1] == {
        "generation": MediaService.objects.get(slug="rock").generation
    }
    assert Node.objects.get(name="node1").generation == generation
    assert call("POST", "/media-services/rock/actions", {"action": "stop"})[1] == {"generation": generation + 1}
    assert MediaService.objects.get(slug="rock").stopped
    _, answer = call("POST", "/media-services/rock/actions", {"action": "restart"})
    assert answer == {"generation": generation + 2}
    service = MediaService.objects.get(slug="rock")
    assert (service.stopped, service.restart, service.generation) == (False, 1, generation + 2)


def test_status_tells_the_truth(api: Clients) -> None:
    node, alice, root = api(node="node1"), api("alice"), api("root")

    def state() -> tuple[str, str]:
        _, answer = alice("GET", "/media-services/rock/status")
        return answer["state"], answer["message"]

    assert state() == ("pending", "")
    record = ConvergeRun.objects.create(node=Node.objects.get(name="node1"), state="running")
    assert state() == ("applying", "")
    record.state, record.attempts, record.message = "pending", 1, "ssh: connect to host 192.0.2.10: No route"
    record.save()
    assert state() == ("failed", "the node could not be brought up to date yet")
    assert root("GET", "/media-services/rock/status")[1]["message"] == record.message
    _, document = node("GET", "/nodes/node1/document")
    report = {
        "epoch": document["epoch"],
        "generation": document["generation"],
        "services": {s["slug"]: {"generation": s["generation"], "state": "running"} for s in document["services"]},
    }
    report["services"]["tv"] = {**report["services"]["tv"], "state": "failed", "message": "port in use"}
    assert node("PUT", "/nodes/node1/status", report)[1] == {"generation": document["generation"], "behind": False}
    assert state() == ("running", "")
    assert alice("GET", "/media-services/tv/status")[1]["message"] == "port in use"
    assert root("GET", "/media-services?state=failed")[1]["count"] == 1
    alice("PUT", "/media-services/rock", {"genre": "x"})
    assert state()[0] in ("pending", "failed")
    # Reports that are old, from another database, or of the future are refused.
    assert node("PUT", "/nodes/node1/status", {**report, "generation": 0})[0] == 409
    assert node("PUT", "/nodes/node1/status", {**report, "epoch": "x"})[0] == 409
    assert node("PUT", "/nodes/node1/status", {**report, "generation": 10**6})[0] == 409


def test_the_document_has_an_etag(api: Clients) -> None:
    node = api(node="node1")
    response = node.client.get("/api/v1/nodes/node1/document", headers={"authorization": f"Bearer {node.token}"})
    etag = response["ETag"]
    assert node("GET", "/nodes/node1/document", **{"if-none-match": etag})[0] == 304
    api("alice")("PUT", "/media-services/rock", {"genre": "x"})
    assert node("GET", "/nodes/node1/document", **{"if-none-match": etag})[0] == 200


def test_asking_for_a_run_joins_the_one_that_waits(api: Clients) -> None:
    root = api("root")
    status, first = root("POST", "/nodes/node1/converge")
    assert (status, first["run"]["state"], first["run"]["requested_by"]) == (202, "pending", "root")
    assert root("POST", "/nodes/node1/converge")[1]["run"]["id"] == first["run"]["id"]
    assert root("GET", "/nodes/node1/runs")[1]["count"] == 1


def test_many_new_passwords_become_a_job(api: Clients) -> None:
    from streamfleet_panel import jobs
    from streamfleet_panel.models import Job

    root = api("root")
    document = {"customers": [{"username": f"n{n}", "password": f"canary-{n}"} for n in range(51)]}
    status, answer = root("POST", "/apply", {"document": document})
    assert status == 202
    job = Job.objects.get()
    assert "canary" not in job.payload_encrypted
    url = answer["job"]["url"].removeprefix("/api/v1")
    assert root("GET", url)[1]["state"] == "pending"
    assert jobs.run_next()
    _, done = root("GET", url)
    assert (done["state"], done["done"], done["total"]) == ("succeeded", 51, 51)
    assert done["result"]["summary"]["created"] == 51
    job.refresh_from_db()
    assert job.payload_encrypted == ""
    account = Account.objects.get(username="n7")
    assert account.check_password("canary-7")
    # A document with faults is refused at once, not in the job.
    document["customers"][3]["email"] = "bad"
    assert root("POST", "/apply", {"document": document})[0] == 422
    # 50 are hashed in the request.
    few = {"customers": [{"username": f"m{n}", "password": "secret1"} for n in range(2)]}
    assert root("POST", "/apply", {"document": few})[0] == 200


def test_the_audit_log_names_who_and_from_where(api: Clients) -> None:
    call = api("shop")
    call("PUT", "/customers/alice", {"name": "Alice"})
    _, answer = call("GET", "/audit-log?kind=customer&key=alice")
    entry = answer["items"][0]
    assert (entry["actor"], entry["via"], entry["ip"], entry["action"]) == ("shop", "api", "127.0.0.1", "updated")
    assert entry["changes"] == {"name": {"before": None, "after": "Alice"}}
