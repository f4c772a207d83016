"""Bad documents: a clear error that names field, value and fix; nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfleet_panel.apply import ApiError
from streamfleet_panel.models import Account, AuditLog, MediaService, Node

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]


def customer(**fields: Any) -> dict[str, Any]:
    return {"customers": [{"username": "new", **fields}]}


def service(**fields: Any) -> dict[str, Any]:
    return {"media_services": [{"slug": "new", "customer": "bob", "engine": "icecast", **fields}]}


def node(**fields: Any) -> dict[str, Any]:
    return {"nodes": [{"name": "new", "address": "192.0.2.9", **fields}]}


def stored(**fields: Any) -> dict[str, Any]:
    return {"media_services": [{"slug": "rock", **fields}]}


C, S, N, P = "customers[0]", "media_services[0]", "nodes[0]", "reseller_plans[0]"
BAD: list[tuple[dict[str, Any] | Any, str, Any, str]] = [
    # document, path, value, part of the message
    ([], "document", "[]", "must be a mapping"),
    ({"customer": []}, "customer", None, "is not a kind"),
    ({"customers": {}}, "customers", "{}", "must be a list"),
    ({"customers": ["alice"]}, C, "alice", "must be a mapping"),
    ({"customers": [{}]}, f"{C}.username", None, "is missing"),
    (customer(state="gone"), f"{C}.state", "gone", "present or absent"),
    (customer(colour="red"), f"{C}.colour", None, "is not a field"),
    (customer(emial="a@b.de"), f"{C}.emial", None, "is not a field"),
    ({"customers": [{"username": "Alice"}]}, f"{C}.username", "Alice", "form"),
    ({"customers": [{"username": "../x"}]}, f"{C}.username", "../x", "form"),
    ({"customers": [{"username": 7}]}, f"{C}.username", 7, "must be a text"),
    ({"customers": [{"username": "a"}, {"username": "a"}]}, "customers[1].username", "a", "is the key of customers[0]"),
    (customer(password="1234"), f"{C}.password", None, "shorter than 5"),
    (customer(password="a" * 257), f"{C}.password", None, "longer"),
    (customer(password=12345), f"{C}.password", None, "must be a text"),
    (customer(password="abc\ndef"), f"{C}.password", None, "line break"),
    (customer(email="nobody"), f"{C}.email", "nobody", "not an e-mail"),
    (customer(email="a@b.de\nBcc: x@y.de"), f"{C}.email", "a@b.de\nBcc: x@y.de", "line break"),
    (customer(name="x" * 300), f"{C}.name", "x" * 97 + "…", "300 characters"),
    (customer(name="a\x00b"), f"{C}.name", "a\x00b", "control character"),
    (customer(name="a\u2028b"), f"{C}.name", "a\u2028b", "line break"),
    (customer(name="\ud800"), f"{C}.name", "\\ud800", "control character"),
    (customer(name=""), f"{C}.name", "", "is empty"),
    (customer(name="   "), f"{C}.name", "   ", "is empty"),
    (customer(name=["a"]), f"{C}.name", '["a"]', "must be a text"),
    (customer(api_access="yes"), f"{C}.api_access", "yes", "must be true or false"),
    (customer(api_access=1), f"{C}.api_access", 1, "must be true or false"),
    (customer(api_access=None), f"{C}.api_access", None, "may not be null"),
    (customer(status="gone"), f"{C}.status", "gone", "one of enabled, disabled"),
    (customer(account_type="god"), f"{C}.account_type", "god", "one of"),
    (customer(reseller_plan="platinum"), f"{C}.reseller_plan", "platinum", "no such reseller plan"),
    (customer(reseller_plan=3), f"{C}.reseller_plan", 3, "must be a name"),
    (customer(reseller="ghost"), f"{C}.reseller", "ghost", "no such account"),
    (customer(reseller="bob"), f"{C}.reseller", "bob", "not a reseller"),
    (customer(reseller="new"), f"{C}.reseller", "new", "itself"),
    (customer(reseller="shop", reseller_plan="gold"), f"{C}.reseller", "shop", "cannot belong to a reseller"),
    (customer(account_type="administrator", reseller_plan="gold"), f"{C}.reseller_plan", "gold", "no reseller plan"),
    (customer(send_welcome_email=True), f"{C}.send_welcome_email", True, "needs an e-mail"),
    ({"reseller_plans": [{"name": "a/b"}]}, f"{P}.name", "a/b", "form"),
    ({"reseller_plans": [{"name": "x", "max_customers": -1}]}, f"{P}.max_customers", -1, "between"),
    ({"reseller_plans": [{"name": "x", "max_customers": 1.5}]}, f"{P}.max_customers", 1.5, "whole number"),
    ({"reseller_plans": [{"name": "x", "max_customers": 10**30}]}, f"{P}.max_customers", str(10**30), "between"),
    (
        {"reseller_plans": [{"name": "x", "allowed_engines": ["sc1"]}]},
        f"{P}.allowed_engines",
        '["sc1"]',
        "does not exist",
    ),
    ({"nodes": [{"name": "new"}]}, f"{N}.address", None, "is missing"),
    (node(address="a b"), f"{N}.address", "a b", "form"),
    (node(engines=["icecast", "icecast"]), f"{N}.engines", '["icecast", "icecast"]', "twice"),
    (node(engines="icecast"), f"{N}.engines", "icecast", "must be a list"),
    (node(ssh_port=0), f"{N}.ssh_port", 0, "between"),
    (node(port_range_start=9000, port_range_end=8000), f"{N}.port_range_end", 8000, "is below"),
    (node(host_key="ssh-ed25519 AAAA\nssh-rsa BBBB"), f"{N}.host_key", "ssh-ed25519 AAAA\nssh-rsa BBBB", "line break"),
    (node(stream_host="x;y"), f"{N}.stream_host", "x;y", "form"),
    (node(ssh_user="-oProxyCommand=x"), f"{N}.ssh_user", "-oProxyCommand=x", "form"),
    (node(facts=[1]), f"{N}.facts", "[1]", "must be a mapping"),
    ({"nodes": [{"name": "node1", "engines": ["icecast"]}]}, f"{N}.engines", '["icecast"]', "lacks nginx_rtmp"),
    ({"media_services": [{"slug": "new"}]}, f"{S}.customer", None, "is missing"),
    ({"media_services": [{"slug": "new", "customer": "bob"}]}, f"{S}.engine", None, "is missing"),
    ({"media_services": [{"slug": "../x"}]}, f"{S}.slug", "../x", "form"),
    ({"media_services": [{"slug": "-x"}]}, f"{S}.slug", "-x", "form"),
    ({"media_services": [{"slug": "a" * 64}]}, f"{S}.slug", "a" * 64, "64 characters"),
    ({"media_services": [{"slug": "rock\n"}]}, f"{S}.slug", "rock\n", "line break"),
    (service(customer="ghost"), f"{S}.customer", "ghost", "no such customer"),
    (service(customer=None), f"{S}.customer", None, "no such customer"),
    (service(engine="winamp"), f"{S}.engine", "winamp", "not an engine"),
    (service(engine=["icecast"]), f"{S}.engine", '["icecast"]', "not an engine"),
    (service(service_type="tv"), f"{S}.service_type", "tv", "not a type of icecast"),
    (service(node="ghost"), f"{S}.node", "ghost", "no such node"),
    (service(engine="nginx_rtmp", node="node2"), f"{S}.node", "node2", "draining"),
    (service(port=8100), f"{S}.port", 8100, "is taken on node1 by rock"),
    (service(port=80), f"{S}.port", 80, "outside the port range"),
    (service(port="8105"), f"{S}.port", "8105", "whole number"),
    (service(engine="nginx_rtmp", port=8105), f"{S}.port", 8105, "no port of its own"),
    (service(stream_key="k" * 20), f"{S}.stream_key", None, "is not a field"),
    (service(engine="nginx_rtmp", max_listeners=5), f"{S}.max_listeners", 5, "nginx_rtmp does not hold"),
    (service(engine="nginx_rtmp", max_listeners=0), f"{S}.max_listeners", 0, "nginx_rtmp does not hold"),
    ({"media_services": [{"slug": "tv", "max_listeners": 5}]}, f"{S}.max_listeners", 5, "nginx_rtmp does not hold"),
    (service(max_listeners=True), f"{S}.max_listeners", True, "whole number"),
    (service(suspended_until="tomorrow"), f"{S}.suspended_until", "tomorrow", "RFC 3339"),
    (service(suspended_until="2030-01-01T00:00:00"), f"{S}.suspended_until", "2030-01-01T00:00:00", "offset"),
    (service(suspended_until="2030-01-01T00:00:00Z"), f"{S}.suspended_until", "2030-01-01T00:00:00Z", "not suspended"),
    (service(name="a\nb"), f"{S}.name", "a\nb", "line break"),
    (service(name="x" * 300), f"{S}.name", "x" * 97 + "…", "300 characters"),
    (service(genre="a\nb"), f"{S}.genre", "a\nb", "line break"),
    (service(website="javascript:x"), f"{S}.website", "javascript:x", "pattern"),
    (service(mounts=[]), f"{S}.mounts", "[]", "at least 1"),
    (service(mounts="x"), f"{S}.mounts", "x", "type array"),
    (service(mounts=[{"name": "/../x"}]), f"{S}.mounts[0].name", "/../x", "pattern"),
    (service(mounts=[{"name": "/a", "colour": 1}]), f"{S}.mounts[0]", '{"name": "/a", "colour": 1}', "does not exist"),
    (service(mounts=[{"name": "/a"}, {"name": "/a"}]), f"{S}.mounts[1].name", "/a", "another mount"),
    (service(mounts=[{"name": "/a", "fallback": "/b"}]), f"{S}.mounts[0].fallback", "/b", "not a mount"),
    (service(mounts=[{"name": "/a", "fallback": "/a"}]), f"{S}.mounts[0].fallback", "/a", "leads back"),
    (service(mounts=[{"name": "/a", "bitrate_kbps": True}]), f"{S}.mounts[0].bitrate_kbps", True, "type integer"),
    (service(max_mounts=1, mounts=[{"name": "/a"}, {"name": "/b"}]), f"{S}.mounts", 2, "more than max_mounts"),
    (
        service(max_bitrate_kbps=64, mounts=[{"name": "/a", "bitrate_kbps": 128}]),
        f"{S}.mounts[0].bitrate_kbps",
        128,
        "above",
    ),
    (service(source_password="short"), f"{S}.source_password", None, "at least 8"),
    (service(source_password='x"</a>\n12345'), f"{S}.source_password", None, "pattern"),
    (stored(engine="nginx_rtmp"), f"{S}.engine", "nginx_rtmp", "is fixed after creation: it is icecast"),
    (stored(customer="bob"), f"{S}.customer", "bob", "is fixed after creation: it is alice"),
    (stored(service_type="tv"), f"{S}.service_type", "tv", "is fixed"),
    (stored(node="node2"), f"{S}.node", "node2", "is fixed after creation: it is node1"),
    (stored(port=8101), f"{S}.port", 8101, "is taken"),
    (stored(max_mounts=0), f"{S}.max_mounts", 1, "more than max_mounts"),
    (stored(stream_key="k" * 20), f"{S}.stream_key", None, "is not a field"),
]


def state() -> list[Any]:
    return [list(model.objects.order_by("pk").values_list()) for model in (Account, MediaService, Node, AuditLog)]


@pytest.mark.parametrize(("document", "path", "value", "message"), BAD, ids=[f"{b[1]}-{b[3]}" for b in BAD])
def test_refused(world: None, run: Run, document: Any, path: str, value: Any, message: str) -> None:
    before = state()
    for dry_run in (True, False):
        with pytest.raises(ApiError) as refused:
            run(document, dry_run=dry_run)
        error = refused.value
        assert error.status == 422, error.as_dict()
        found = [problem for problem in error.errors if problem.path == path]
        assert found, error.as_dict()
        assert message in found[0].message, found
        assert found[0].value == value
        error.as_dict()["error"]["message"].encode()
    assert state() == before


def test_every_fault_is_listed(world: None, run: Run) -> None:
    document = {
        "customers": [{"username": "Bad Name", "email": "x"}, {"username": "ok", "colour": 1, "password": "123"}],
        "nodes": [{"name": "n", "ssh_port": "22"}],
        "media_services": [{"slug": "s", "engine": "winamp", "port": -1}],
        "radios": [],
    }
    with pytest.raises(ApiError) as refused:
        run(document)
    assert {problem.path for problem in refused.value.errors} == {
        "customers[0].username",
        "customers[0].email",
        "customers[1].colour",
        "customers[1].password",
        "nodes[0].ssh_port",
        "nodes[0].address",
        "media_services[0].engine",
        "media_services[0].port",
        "media_services[0].customer",
        "radios",
    }
    assert all(problem.fix or problem.path == "nodes[0].ssh_port" for problem in refused.value.errors)


def test_a_typo_gets_a_hint(world: None, run: Run) -> None:
    with pytest.raises(ApiError) as refused:
        run(service(max_listenrs=3))
    assert refused.value.errors[0].fix == "Did you mean max_listeners?"


def test_100001_objects_are_too_many(db: None, run: Run) -> None:
    with pytest.raises(ApiError) as refused:
        run({"customers": [{}] * 100_001})
    assert (refused.value.code, refused.value.status) == ("too_large", 413)


@pytest.mark.parametrize(
    "name",
    ['O\'Brien "quoted"', "#{1+1}", "{{ 7*7 }}", "]]>", "; rm -rf /", "🎶 Радио", "%s %d", "<script>", "a\\b", "$HOME"],
)
def test_any_printable_text_is_data(world: None, run: Run, name: str) -> None:
    document = {
        "customers": [{"username": "new", "name": name}],
        "media_services": [
            {"slug": "new", "customer": "new", "engine": "icecast", "name": name, "genre": name, "description": name}
        ],
    }
    run(document)
    stored_service = MediaService.objects.get(slug="new")
    assert (stored_service.name, stored_service.settings["genre"]) == (name, name)
    assert Account.objects.get(username="new").name == name
    assert not run(document)["changed"]


def test_a_full_range_and_a_full_node(world: None, run: Run) -> None:
    run({"nodes": [{"name": "node1", "port_range_end": 8103}]})
    run(service())
    with pytest.raises(ApiError) as refused:
        run({"media_services": [{"slug": "one-more", "customer": "bob", "engine": "icecast"}]})
    assert refused.value.errors[0].message == "no port is free on node1 (8100-8103)"
    run({"nodes": [{"name": "node1", "port_range_end": 8200, "max_media_services": 6}]})
    for extra in ({}, {"node": "node1"}):
        with pytest.raises(ApiError) as refused:
            run({"media_services": [{"slug": "one-more", "customer": "bob", "engine": "icecast", **extra}]})
        assert refused.value.errors[0].path == f"{S}.node"


def test_contradictions_in_one_document(world: None, run: Run) -> None:
    with pytest.raises(ApiError) as refused:
        run({"customers": [{"username": "alice", "state": "absent"}], "media_services": [{"slug": "rock"}]})
    assert refused.value.errors[0].path == f"{S}.slug"
    gone = {"customers": [{"username": "bob", "state": "absent"}], **service()}
    with pytest.raises(ApiError) as refused:
        run(gone)
    assert refused.value.errors[0].message == "this customer is deleted"


def test_the_last_administrator_stays(world: None, run: Run) -> None:
    for fields in ({"state": "absent"}, {"status": "disabled"}, {"account_type": "customer"}):
        with pytest.raises(ApiError):
            run({"customers": [{"username": "root", **fields}]}, "root")
    run({"customers": [{"username": "boss", "state": "absent"}]}, "root")
