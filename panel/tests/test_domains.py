"""Domains: what is stored, refused, shown and deleted, and what of it services and nodes notice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from streamfleet_panel.apply import ApiError
from streamfleet_panel.models import Account, AuditLog, Domain, MediaService, Node
from tests_support import Api

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
D = "domains[0]"
RADIO = "radio.example.com"
MODELS = (Domain, MediaService, Node, AuditLog)


def domain(name: str = RADIO, slug: str = "rock", **fields: Any) -> dict[str, Any]:
    """A document of one domain."""
    return {"domains": [{"media_service": slug, "name": name, **fields}]}


def verified(name: str = RADIO, slug: str = "rock") -> Domain:
    """A domain of which it was found that it is proved."""
    claim = Domain.objects.get(name=name, media_service__slug=slug)
    claim.status, claim.holds, claim.verified_at = Domain.Status.VERIFIED, name, timezone.now()
    claim.save()
    return claim


def refused(run: Run, document: dict[str, Any], who: str | None = None) -> ApiError:
    def snapshot() -> list[Any]:
        return [list(model.objects.order_by("pk").values_list()) for model in MODELS]

    before = snapshot()
    with pytest.raises(ApiError) as caught:
        run(document, who)
    assert snapshot() == before
    return caught.value


def on_node(api: Callable[..., Api], node: str = "node1") -> dict[str, list[str]]:
    """Domains of the node's services, by slug."""
    services = api(node=node)("GET", f"/nodes/{node}/document")[1]["services"]
    return {service["slug"]: service["domains"] for service in services}


def test_a_new_domain_waits_for_its_proof(world: None, run: Run) -> None:
    answer = run(domain(), return_objects=True)
    result = answer["results"][0]
    assert (result["kind"], result["key"], result["path"], result["action"]) == (
        "domain",
        f"rock/{RADIO}",
        D,
        "created",
    )
    created = dict(result["object"])
    token = Account.objects.get(username="alice").domain_token
    assert created.pop("created_at")
    assert created == {
        "media_service": "rock",
        "name": RADIO,
        "enabled": True,
        "status": "pending",
        "message": "It has not been looked at yet.",
        "verified_at": None,
        "checked_at": None,
        "proof": {"txt": {"name": f"_streamfleet.{RADIO}", "value": f"streamfleet={token}"}, "cname": None},
        "points_to": "stream.example.net",
        "cname": None,
        "cname_change": None,
        "label": None,
    }
    # Nothing of it is the node's business yet.
    assert answer["nodes"] == {}
    assert not run(domain())["changed"]


def test_a_target_makes_a_cname_a_proof_too(world: None, run: Run, settings: Any) -> None:
    settings.DOMAIN_TARGET = "cname.example.net"
    shown = run(domain(), return_objects=True, dry_run=True)["results"][0]["object"]
    token = Account.objects.get(username="alice").domain_token
    assert shown["proof"]["cname"] == {"name": RADIO, "value": f"{token}.cname.example.net"}
    assert not Domain.objects.exists()
    # Of a customer that is not there yet nothing is promised.
    new = {
        "customers": [{"username": "zoe"}],
        "media_services": [{"slug": "zoe-fm", "customer": "zoe", "engine": "icecast"}],
        **domain(slug="zoe-fm"),
    }
    assert run(new, return_objects=True, dry_run=True)["results"][-1]["object"]["proof"] is None
    assert (
        run(new, return_objects=True)["results"][-1]["object"]["proof"]["txt"]["value"]
        != shown["proof"]["txt"]["value"]
    )


def test_accounts_have_tokens_of_their_own(world: None) -> None:
    tokens = list(Account.objects.values_list("domain_token", flat=True))
    assert len(set(tokens)) == len(tokens) > 5
    assert all(len(token) == 24 and token.isalnum() and token == token.lower() for token in tokens)


@pytest.mark.parametrize(
    ("name", "message", "fix"),
    [
        ("*.example.com", "is a wildcard", "Name each domain by itself"),
        ("Radio.Example.com", "is not in lower case", "Write it as radio.example.com."),
        ("radio.example.com.", "or ends in a dot", "Write it as radio.example.com."),
        ("rádio.example", "is not as DNS has it", "Write it as xn--rdio-5na.example."),
        ("straße.example", "is not as DNS has it", "an A-label (xn--…), which your registrar shows"),
        ("localhost", "is not a full domain", "Write it as radio.example.com"),
        ("radio.localhost", "is a name of no public domain", "registered"),
        ("192.0.2.7", "is an IP address", "Name a domain"),
        ("2001:db8::7", "is an IP address", "Name a domain"),
        ("https://radio.example.com/", "is an address of the Web", "Write the host name alone"),
        ("radio.example.com:8000", "or has a port", "Write the host name alone"),
        ("-radio.example.com", "is not a full domain", "letters, digits"),
        ("radio_one.example.com", "is not a full domain", "letters, digits"),
        ("radio..example.com", "is not a full domain", "letters, digits"),
        ("radio.example.1", "is not a full domain", "letters, digits"),
        ("../etc/passwd", "is an address of the Web or has a port", "host name alone"),
        ("a" * 64 + ".example.com", "is not a full domain", "letters, digits"),
        (".".join(["abcdefgh"] * 15), "has 134 characters, at most 128 fit", "shorter"),
        (7, "must be a text", "quotes"),
    ],
)
def test_names_that_are_refused(world: None, run: Run, name: Any, message: str, fix: str) -> None:
    error = refused(run, domain(name)).errors[0]
    assert error.path == f"{D}.name"
    assert message in error.message
    assert fix in error.fix


@pytest.mark.parametrize(
    "name",
    [
        "stream.example.net",
        "radio.stream.example.net",
        "panel.example.net",
        "a.panel.example.net",
        "x.cname.example.net",
    ],
)
def test_names_of_the_installation_are_nobodys(world: None, run: Run, settings: Any, name: str) -> None:
    settings.DOMAIN_TARGET = "cname.example.net"
    error = refused(run, domain(name), "alice").errors[0]
    assert (error.path, error.value) == (f"{D}.name", name)
    assert "is a name of this installation" in error.message


def test_one_customer_has_a_name_once_and_several_customers_may_claim_it(world: None, run: Run) -> None:
    run(domain())
    error = refused(run, domain(slug="tv"), "alice").errors[0]
    assert (error.path, error.message, error.fix) == (
        f"{D}.name",
        "is a domain of rock already",
        "Delete it there first.",
    )
    two = {"domains": [*domain("a.example.com")["domains"], *domain("a.example.com", "tv")["domains"]]}
    assert refused(run, two).errors[0].path == "domains[1].name"
    run(domain(slug="eve-fm"), "eve")
    assert Domain.objects.filter(name=RADIO).count() == 2
    # Taken from one and given to the other at once.
    moved = {"domains": [*domain(state="absent")["domains"], *domain(slug="tv")["domains"]]}
    run(moved, "alice")
    assert set(Domain.objects.values_list("media_service__slug", flat=True)) == {"tv", "eve-fm"}


def test_a_deleted_service_keeps_its_domains_until_they_are_named_anew(world: None, run: Run, api: Any) -> None:
    run({"domains": [*domain()["domains"], *domain("b.example.com")["domains"]]})
    verified(), verified("b.example.com")
    run({"media_services": [{"slug": "rock", "state": "absent"}]})
    assert on_node(api)["rock"] == []
    run(domain(slug="tv"), "alice")
    run({"media_services": [{"slug": "rock"}]})
    # What was not named elsewhere has come back with it, proved as it was.
    assert on_node(api) == {**{slug: [] for slug in on_node(api)}, "rock": ["b.example.com"]}
    assert Domain.objects.get(name=RADIO).media_service.slug == "tv"


def test_the_node_is_told_of_what_is_verified_and_enabled(world: None, run: Run, api: Any) -> None:
    names = [RADIO, "b.example.com", "a.example.com"]
    run({"domains": [domain(name)["domains"][0] for name in names]})
    assert on_node(api)["rock"] == []
    for name in names[:2]:
        verified(name)
    assert on_node(api)["rock"] == ["b.example.com", RADIO]
    generation = Node.objects.get(name="node1").generation
    assert run(domain(enabled=False))["nodes"] == {"node1": generation + 1}
    assert on_node(api)["rock"] == ["b.example.com"]
    # What is not verified changes nothing there, come or go.
    assert run(domain("a.example.com", enabled=False))["nodes"] == {}
    assert run(domain("a.example.com", state="absent"))["nodes"] == {}
    assert run(domain("b.example.com", state="absent"))["nodes"] == {"node1": generation + 2}
    assert set(map(tuple, on_node(api).values())) == {()}


def test_limits(world: None, run: Run, api: Any) -> None:
    assert MediaService.objects.get(slug="rock").max_domains == 5
    many = {"domains": [domain(f"d{number}.example.com")["domains"][0] for number in range(6)]}
    error = refused(run, many, "alice").errors[0]
    assert (error.path, error.value) == ("domains[5]", 6)
    assert error.message == "rock would have 6 domains, max_domains allows 5"
    run({"domains": many["domains"][:5]}, "alice")
    assert refused(run, domain("d5.example.com"), "alice").errors[0].path == D
    assert refused(run, {"media_services": [{"slug": "rock", "max_domains": 9}]}, "alice").code == "forbidden"
    assert run({"media_services": [{"slug": "rock", "max_domains": None}]}, "shop")["nodes"] == {}
    run(domain("d5.example.com"), "alice")
    # A lower limit takes nothing away.
    run({"media_services": [{"slug": "rock", "max_domains": 1}]}, "shop")
    assert Domain.objects.count() == 6
    assert api("alice")("GET", "/media-services/rock")[1]["max_domains"] == 1


def test_listen_urls_have_the_domains(world: None, run: Run, api: Any) -> None:
    run({"media_services": [{"slug": "rock", "mounts": [{"name": "/stream"}, {"name": "/low"}]}]})
    run({"domains": [*domain()["domains"], *domain("tv.example.com", "tv")["domains"]]})
    alice = api("alice")
    node = "https://stream.example.net"
    radio, channel = [f"{node}/listen/rock/stream", f"{node}/listen/rock/low"], [f"{node}/hls/tv/index.m3u8"]
    assert alice("GET", "/media-services/rock")[1]["listen_urls"] == radio
    verified(), verified("tv.example.com", "tv")
    shown = {item["slug"]: item["listen_urls"] for item in alice("GET", "/media-services")[1]["items"]}
    assert shown["rock"] == [*radio, f"https://{RADIO}/stream", f"https://{RADIO}/low"]
    assert shown["tv"] == [*channel, "https://tv.example.com/index.m3u8"]


def test_check_now(world: None, run: Run, api: Any) -> None:
    run(domain())
    long_ago = timezone.now() - timedelta(days=31)
    Domain.objects.update(next_check_at=None, sought_since=long_ago)
    alice, path = api("alice"), f"/media-services/rock/domains/{RADIO}/check"
    assert api("eve")("POST", path)[0] == 404
    status, answer = alice("POST", path)
    assert (status, answer["status"]) == (202, "pending")
    claim = Domain.objects.get()
    assert claim.next_check_at is not None
    assert claim.sought_since > long_ago + timedelta(days=30)
    status, answer = alice("POST", path)
    assert (status, answer["error"]["code"]) == (429, "too_many_requests")
    assert RADIO in answer["error"]["message"]
    Domain.objects.update(asked_at=timezone.now() - timedelta(seconds=61))
    assert alice("POST", path)[0] == 202
    assert AuditLog.objects.filter(action="check", kind="domain", key=f"rock/{RADIO}").count() == 2


def test_api(world: None, run: Run, api: Any) -> None:
    alice, path = api("alice"), f"/media-services/rock/domains/{RADIO}"
    status, answer = alice("PUT", f"{path}?dry_run=true", {})
    assert (status, answer["action"], alice("GET", path)[0]) == (200, "created", 404)
    assert alice("PUT", path, {"enabled": False})[1]["object"]["enabled"] is False
    assert alice("GET", path)[1]["status"] == "pending"
    assert alice("PUT", path, {"status": "verified"})[1]["error"]["errors"][0]["path"] == f"{D}.status"
    assert alice("GET", "/domains?status=verified")[1]["count"] == 0
    assert alice("GET", "/domains?media_service=rock")[1]["items"][0]["name"] == RADIO
    assert alice("DELETE", path)[1]["action"] == "deleted"
    assert alice("DELETE", path)[0] == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"stream_host": RADIO},
        {"stream_host": RADIO.upper()},
        {"former_stream_hosts": ["a.net", RADIO]},
        {"address": RADIO},
    ],
)
def test_a_node_is_refused_a_name_that_a_customer_holds(world: None, run: Run, fields: dict[str, Any]) -> None:
    run(domain())
    document = {"nodes": [{"name": "node1", **fields}]}
    assert run(document, dry_run=True)["changed"], "that somebody claims it is nothing"
    verified()
    problems = refused(run, document).errors
    field = next(iter(fields))
    assert [problem.as_dict()["path"] for problem in problems] == [f"nodes[0].{field}"]
    assert "is a domain of alice's, who has proved it for rock" in str(problems[0].as_dict())
    # Nor a new one; nor both in one document, in whichever order.
    new = {"name": "node7", "address": "192.0.2.7", "engines": ["icecast"], **fields}
    assert refused(run, {"nodes": [new]}).errors
    assert run({**document, "domains": [{"media_service": "rock", "name": RADIO, "state": "absent"}]})["changed"]


def test_a_node_that_has_such_a_name_may_be_changed_otherwise(world: None, run: Run) -> None:
    run(domain())
    verified()
    Node.objects.filter(name="node1").update(stream_host=RADIO)
    assert run({"nodes": [{"name": "node1", "max_media_services": 7}]})["changed"]


def test_a_deleted_service_holds_no_name_against_a_node(world: None, run: Run) -> None:
    run(domain())
    verified()
    run({"media_services": [{"slug": "rock", "state": "absent"}]})
    assert run({"nodes": [{"name": "node1", "stream_host": RADIO}]})["changed"]


def test_what_a_node_was_called_before_is_no_customers(world: None, run: Run, api: Callable[..., Api]) -> None:
    run({"nodes": [{"name": "node1", "former_stream_hosts": ["Old.example.org", "older.example.org"]}]})
    document = api(node="node1")("GET", "/nodes/node1/document")[1]
    assert document["former_stream_hosts"] == ["old.example.org", "older.example.org"]
    assert not run({"nodes": [{"name": "node1", "former_stream_hosts": ["older.example.org", "old.example.org"]}]})[
        "changed"
    ]
    for name in ("old.example.org", "x.older.example.org"):
        assert "is a name of this installation" in str(refused(run, domain(name)).errors[0].as_dict())
    run({"nodes": [{"name": "node1", "former_stream_hosts": []}]})
    assert run(domain("old.example.org"))["changed"]
    for wrong in ("old.example.org", [7], ["a b"], ["x.net"] * 51):
        assert refused(run, {"nodes": [{"name": "node1", "former_stream_hosts": wrong}]}).errors
