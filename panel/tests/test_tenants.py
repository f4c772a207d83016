"""Nobody reaches what is not theirs: every route of the API, every kind of caller, own and foreign objects.

Routes come from the OpenAPI document; a route that this file does not know fails the test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from django.db import connection

from streamfleet_panel.api import api as ninja_api
from streamfleet_panel.models import (
    Account,
    ApiToken,
    AuditLog,
    ConvergeRun,
    Dj,
    Domain,
    Job,
    MediaService,
    MediaUser,
    Node,
    PanelDomain,
    Playlist,
    QueuedTrack,
    Relay,
    ResellerPlan,
    ServiceStatus,
)
from tests_support import Api, stand

pytestmark = pytest.mark.django_db

CALLERS = ["root", "shop", "rival", "alice", "eve", "bob", "node:node1", "node:node2", "worker", "metrics"]
PEOPLE = {"root", "shop", "rival", "alice", "eve", "bob"}
# Who may reach whom, written down apart from access.py.
REACH = {
    "root": {"root", "boss", "shop", "rival", "alice", "carol", "eve", "bob"},
    "shop": {"shop", "alice", "carol"},
    "rival": {"rival", "eve"},
    "alice": {"alice"},
    "eve": {"eve"},
    "bob": {"bob"},
}
OWNER = {"rock": "alice", "tv": "alice", "shop-fm": "shop", "eve-fm": "eve", "bob-tv": "bob"}
PLAYLISTS = [("rock", "day"), ("rock", "jingles"), ("shop-fm", "day"), ("eve-fm", "day")]
DJS = [("rock", "anna"), ("rock", "ben"), ("shop-fm", "anna"), ("eve-fm", "anna")]
SCHEDULES = [("rock", "noon"), ("shop-fm", "noon"), ("eve-fm", "noon")]
RELAYS = [("rock", "network"), ("shop-fm", "network"), ("eve-fm", "network")]
DOMAINS = [("rock", "rock.example.com"), ("tv", "tv.example.com"), ("eve-fm", "eve.example.com")]
RADIOS = ["rock", "shop-fm", "eve-fm"]
WITH_DJS = {
    "media_services": [{"slug": slug, "autodj": {}} for slug in ("rock", "shop-fm", "eve-fm")],
    "djs": [{"media_service": slug, "username": name, "password": "dj-password"} for slug, name in DJS],
    "schedules": [
        {"media_service": slug, "name": name, "dj": "anna", "start": "12:00", "end": "13:00"}
        for slug, name in SCHEDULES
    ],
    "relays": [
        {
            "media_service": slug,
            "name": name,
            "direction": "in",
            "address": "https://network.example/live",
            "username": "relay-user",
            "password": "relay-password",
        }
        for slug, name in RELAYS
    ],
    "domains": [{"media_service": slug, "name": name} for slug, name in DOMAINS],
}
MEDIA_USERS = [("alice", "studio"), ("shop", "studio"), ("eve", "studio"), ("eve", "desk")]
WITH_MEDIA_USERS = {
    "media_users": [{"customer": owner, "name": name, "password": "media-password"} for owner, name in MEDIA_USERS],
}
PANEL_DOMAINS = [("shop", "panel.shop.example"), ("rival", "panel.rival.example")]
WITH_PANEL_DOMAINS = {"panel_domains": [{"reseller": owner, "name": name} for owner, name in PANEL_DOMAINS]}
NODES = {"root": {"node1", "node2"}, "node:node1": {"node1"}, "node:node2": {"node2"}, "worker": {"node1", "node2"}}
PLANS = {"root": {"gold", "free"}, "shop": {"gold"}, "rival": {"free"}}
RESELLERS, ADMINS = {"shop", "rival"}, {"root"}

BODIES: dict[str, Any] = {
    "PUT /customers/{username}": {"contact_number": "taken over"},
    "PUT /media-services/{slug}": {"name": "taken over"},
    "PUT /reseller-plans/{name}": {"max_customers": 9999},
    "PUT /nodes/{name}": {"address": "203.0.113.66"},
    "POST /media-services/{slug}/actions": {"action": "restart"},
    "POST /media-services/{slug}/credentials/rotate": {},
    "PUT /media-services/{slug}/playlists/{name}": {"enabled": False},
    "PUT /media-services/{slug}/djs/{username}": {"enabled": False},
    "PUT /media-services/{slug}/schedules/{name}": {"enabled": False},
    "PUT /media-services/{slug}/relays/{name}": {"enabled": False},
    "PUT /media-services/{slug}/domains/{name}": {"enabled": False},
    "PUT /media-services/{slug}/mounts/{name}": {"max_listeners": 1},
    "PUT /customers/{username}/media-users/{name}": {"enabled": False},
    "PUT /customers/{username}/panel-domains/{name}": {"brand": "taken over"},
    "POST /media-services/{slug}/queue": {"files": ["taken/over.mp3"]},
}
# Routes by what they are about; the value is who may use them on what they can see (None: everybody who sees it).
ON_CUSTOMERS = {
    "GET /customers/{username}": PEOPLE,
    "PUT /customers/{username}": PEOPLE,
    "DELETE /customers/{username}": RESELLERS | ADMINS,
    "POST /customers/{username}/restore": RESELLERS | ADMINS,
    "GET /customers/{username}/media-users": PEOPLE,
    "GET /customers/{username}/panel-domains": RESELLERS | ADMINS,
    "GET /customers/{username}/libraries": PEOPLE,
    "GET /customers/{username}/usage": PEOPLE,
}
ON_SERVICES = {
    "GET /media-services/{slug}": None,
    "GET /media-services/{slug}/status": None,
    "PUT /media-services/{slug}": PEOPLE,
    "DELETE /media-services/{slug}": RESELLERS | ADMINS,
    "POST /media-services/{slug}/restore": RESELLERS | ADMINS,
    "GET /media-services/{slug}/credentials": PEOPLE,
    "POST /media-services/{slug}/credentials/rotate": PEOPLE,
    "POST /media-services/{slug}/actions": PEOPLE,
    "GET /media-services/{slug}/playlists": None,
    "GET /media-services/{slug}/djs": None,
    "GET /media-services/{slug}/listener-sessions": PEOPLE,
    "GET /media-services/{slug}/schedules": None,
    "GET /media-services/{slug}/relays": None,
    "GET /media-services/{slug}/domains": None,
    "GET /media-services/{slug}/played": None,
    "GET /media-services/{slug}/air": None,
    "GET /media-services/{slug}/passed-over": None,
    "GET /media-services/{slug}/mounts": None,
    "GET /media-services/{slug}/usage": None,
}
ON_PLAYLISTS = {
    "GET /media-services/{slug}/playlists/{name}": None,
    "PUT /media-services/{slug}/playlists/{name}": PEOPLE,
    "DELETE /media-services/{slug}/playlists/{name}": PEOPLE,
}
ON_DJS = {
    "GET /media-services/{slug}/djs/{username}": None,
    "PUT /media-services/{slug}/djs/{username}": PEOPLE,
    "DELETE /media-services/{slug}/djs/{username}": PEOPLE,
    "GET /media-services/{slug}/djs/{username}/credentials": PEOPLE,
    "POST /media-services/{slug}/djs/{username}/kick": PEOPLE,
}
ON_SCHEDULES = {
    "GET /media-services/{slug}/schedules/{name}": None,
    "PUT /media-services/{slug}/schedules/{name}": PEOPLE,
    "DELETE /media-services/{slug}/schedules/{name}": PEOPLE,
}
ON_RELAYS = {
    "GET /media-services/{slug}/relays/{name}": None,
    "PUT /media-services/{slug}/relays/{name}": PEOPLE,
    "DELETE /media-services/{slug}/relays/{name}": PEOPLE,
}
ON_DOMAINS = {
    "GET /media-services/{slug}/domains/{name}": None,
    "PUT /media-services/{slug}/domains/{name}": PEOPLE,
    "DELETE /media-services/{slug}/domains/{name}": PEOPLE,
    "POST /media-services/{slug}/domains/{name}/check": PEOPLE,
}
ON_MOUNTS = {
    "GET /media-services/{slug}/mounts/{name}": None,
    "PUT /media-services/{slug}/mounts/{name}": PEOPLE,
    "DELETE /media-services/{slug}/mounts/{name}": PEOPLE,
}
ON_QUEUES = {
    "GET /media-services/{slug}/queue": None,
    "POST /media-services/{slug}/queue": PEOPLE,
    "DELETE /media-services/{slug}/queue": PEOPLE,
    "DELETE /media-services/{slug}/queue/{name}": PEOPLE,
}
ON_MEDIA_USERS = {
    "GET /customers/{username}/media-users/{name}": PEOPLE,
    "PUT /customers/{username}/media-users/{name}": PEOPLE,
    "DELETE /customers/{username}/media-users/{name}": PEOPLE,
}
ON_PANEL_DOMAINS = {
    "GET /customers/{username}/panel-domains/{name}": RESELLERS | ADMINS,
    "PUT /customers/{username}/panel-domains/{name}": RESELLERS | ADMINS,
    "DELETE /customers/{username}/panel-domains/{name}": RESELLERS | ADMINS,
    "POST /customers/{username}/panel-domains/{name}/check": RESELLERS | ADMINS,
}
ON_NODES = {
    "GET /nodes/{name}": None,
    "PUT /nodes/{name}": ADMINS,
    "DELETE /nodes/{name}": ADMINS,
    "GET /nodes/{name}/document": None,
    "PUT /nodes/{name}/status": None,
    "POST /nodes/{name}/converge": ADMINS,
    "GET /nodes/{name}/runs": None,
}
ON_PLANS = {
    "GET /reseller-plans/{name}": RESELLERS | ADMINS,
    "PUT /reseller-plans/{name}": ADMINS,
    "DELETE /reseller-plans/{name}": ADMINS,
}
OTHERS = {
    "POST /apply",
    "GET /health",
    "GET /whoami",
    "GET /jobs/{id}",
    "GET /tokens",
    "POST /tokens",
    "DELETE /tokens/{id}",
    "GET /audit-log",
    "GET /customers",
    "GET /djs",
    "GET /domains",
    "GET /listener-sessions",
    "GET /media-services",
    "GET /media-users",
    "GET /mounts",
    "GET /nodes",
    "GET /panel-domains",
    "GET /playlists",
    "GET /schedules",
    "GET /relays",
    "GET /reseller-plans",
    "GET /usage",
    "GET /transfers",
    "POST /transfers",
    "GET /transfers/{id}",
    "POST /transfers/{id}/steps",
}


def routes() -> set[str]:
    schema = ninja_api.get_openapi_schema()
    return {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, methods in schema["paths"].items()
        for method in methods
    }


@cache
def _queries() -> list[str]:
    models = (
        Account,
        MediaService,
        Playlist,
        QueuedTrack,
        Dj,
        Domain,
        Relay,
        MediaUser,
        PanelDomain,
        Node,
        ResellerPlan,
        ServiceStatus,
        ConvergeRun,
        Job,
    )
    of_tokens = ("token_id", "name", "account_id", "scope")
    return [
        *(str(model.objects.order_by("pk").values_list().query) for model in models),
        str(ApiToken.objects.order_by("pk").values_list(*of_tokens).query),
    ]


def snapshot() -> list[Any]:
    # Taken thousands of times: the queries are written once, and rows compared as the database gives them.
    found: list[Any] = [list(AuditLog.objects.exclude(action="read_credentials").values_list("pk"))]
    with connection.cursor() as cursor:
        for query in _queries():
            cursor.execute(query)
            found.append(cursor.fetchall())
    return found


class Callers(dict[str, Api]):
    """A client of each kind of caller, made when it is first asked for."""

    def __init__(self, api: Callable[..., Api]) -> None:
        super().__init__()
        self.api = api

    def __missing__(self, name: str) -> Api:
        if name in ("worker", "metrics"):
            self[name] = self.api(**{name: True})
        elif name.startswith("node:"):
            self[name] = self.api(node=name.removeprefix("node:"))
        else:
            self[name] = self.api(name)
        return self[name]


@pytest.fixture
def callers(api: Callable[..., Api]) -> Callers:
    return Callers(api)


def test_every_route_is_known() -> None:
    of_objects = (ON_PLAYLISTS, ON_DJS, ON_SCHEDULES, ON_RELAYS, ON_DOMAINS, ON_MOUNTS, ON_QUEUES, ON_MEDIA_USERS)
    known = {*ON_CUSTOMERS, *ON_SERVICES, *ON_NODES, *ON_PLANS, *ON_PANEL_DOMAINS, *OTHERS}.union(*of_objects)
    assert routes() == known


@pytest.mark.parametrize("route", sorted(ON_CUSTOMERS))
@pytest.mark.parametrize("caller", CALLERS)
def test_customers(callers: Callers, caller: str, route: str) -> None:
    for target in sorted(REACH["root"]):
        visible = target in REACH.get(caller, set())
        _check(callers[caller], caller, route, {"username": target}, visible, ON_CUSTOMERS[route])


@pytest.mark.parametrize("route", sorted(ON_SERVICES))
@pytest.mark.parametrize("caller", CALLERS)
def test_services(callers: Callers, caller: str, route: str) -> None:
    for target, owner in OWNER.items():
        visible = owner in REACH.get(caller, set()) or caller in ("worker", "node:node1")
        _check(callers[caller], caller, route, {"slug": target}, visible, ON_SERVICES[route])


@pytest.mark.parametrize("route", sorted(ON_PLAYLISTS))
@pytest.mark.parametrize("caller", CALLERS)
def test_playlists(callers: Callers, caller: str, route: str) -> None:
    for slug, name in PLAYLISTS:
        visible = OWNER[slug] in REACH.get(caller, set()) or caller in ("worker", "node:node1")
        _check(callers[caller], caller, route, {"slug": slug, "name": name}, visible, ON_PLAYLISTS[route])


@pytest.mark.parametrize("route", sorted(ON_DJS))
@pytest.mark.parametrize("caller", CALLERS)
def test_djs(callers: Callers, run: Callable[..., Any], caller: str, route: str) -> None:
    stand("DJs", lambda: run(WITH_DJS))
    for slug, name in DJS:
        visible = OWNER[slug] in REACH.get(caller, set()) or caller in ("worker", "node:node1")
        _check(callers[caller], caller, route, {"slug": slug, "username": name}, visible, ON_DJS[route])


@pytest.mark.parametrize("route", sorted(ON_MEDIA_USERS))
@pytest.mark.parametrize("caller", CALLERS)
def test_media_users(callers: Callers, run: Callable[..., Any], caller: str, route: str) -> None:
    stand("media users", lambda: run(WITH_MEDIA_USERS))
    for owner, name in MEDIA_USERS:
        visible = owner in REACH.get(caller, set())
        _check(callers[caller], caller, route, {"username": owner, "name": name}, visible, ON_MEDIA_USERS[route])


@pytest.mark.parametrize("route", sorted(ON_PANEL_DOMAINS))
@pytest.mark.parametrize("caller", CALLERS)
def test_panel_domains(callers: Callers, run: Callable[..., Any], caller: str, route: str) -> None:
    stand("panel domains", lambda: run(WITH_PANEL_DOMAINS))
    for owner, name in PANEL_DOMAINS:
        visible = caller in (owner, "root")
        _check(callers[caller], caller, route, {"username": owner, "name": name}, visible, ON_PANEL_DOMAINS[route])


@pytest.mark.parametrize("route", sorted(ON_NODES))
@pytest.mark.parametrize("caller", CALLERS)
def test_nodes(callers: Callers, caller: str, route: str) -> None:
    for target in ("node1", "node2"):
        body = None
        if route == "PUT /nodes/{name}/status":
            _, document = callers["root"]("GET", f"/nodes/{target}/document")
            body = {"epoch": document["epoch"], "generation": document["generation"], "services": {}}
        visible = target in NODES.get(caller, set())
        _check(callers[caller], caller, route, {"name": target}, visible, ON_NODES[route], body)


@pytest.mark.parametrize("route", sorted(ON_PLANS))
@pytest.mark.parametrize("caller", CALLERS)
def test_plans(callers: Callers, caller: str, route: str) -> None:
    for target in ("gold", "free"):
        visible = target in PLANS.get(caller, set())
        _check(callers[caller], caller, route, {"name": target}, visible, ON_PLANS[route])


@pytest.mark.parametrize("route", sorted(ON_SCHEDULES))
@pytest.mark.parametrize("caller", CALLERS)
def test_schedules(callers: Callers, run: Callable[..., Any], caller: str, route: str) -> None:
    stand("DJs", lambda: run(WITH_DJS))
    for slug, name in SCHEDULES:
        visible = OWNER[slug] in REACH.get(caller, set()) or caller in ("worker", "node:node1")
        _check(callers[caller], caller, route, {"slug": slug, "name": name}, visible, ON_SCHEDULES[route])


@pytest.mark.parametrize("route", sorted(ON_DOMAINS))
@pytest.mark.parametrize("caller", CALLERS)
def test_domains(callers: Callers, run: Callable[..., Any], caller: str, route: str) -> None:
    stand("DJs", lambda: run(WITH_DJS))
    for slug, name in DOMAINS:
        visible = OWNER[slug] in REACH.get(caller, set()) or caller in ("worker", "node:node1")
        _check(callers[caller], caller, route, {"slug": slug, "name": name}, visible, ON_DOMAINS[route])


@pytest.mark.parametrize("route", sorted(ON_RELAYS))
@pytest.mark.parametrize("caller", CALLERS)
def test_relays(callers: Callers, run: Callable[..., Any], caller: str, route: str) -> None:
    stand("DJs", lambda: run(WITH_DJS))
    for slug, name in RELAYS:
        visible = OWNER[slug] in REACH.get(caller, set()) or caller in ("worker", "node:node1")
        _check(callers[caller], caller, route, {"slug": slug, "name": name}, visible, ON_RELAYS[route])


@pytest.mark.parametrize("route", sorted(ON_MOUNTS))
@pytest.mark.parametrize("caller", CALLERS)
def test_mounts(callers: Callers, caller: str, route: str) -> None:
    for slug in RADIOS:
        visible = OWNER[slug] in REACH.get(caller, set()) or caller in ("worker", "node:node1")
        _check(callers[caller], caller, route, {"slug": slug, "name": "stream"}, visible, ON_MOUNTS[route])


@pytest.mark.parametrize("route", sorted(ON_QUEUES))
@pytest.mark.parametrize("caller", CALLERS)
def test_queues(callers: Callers, run: Callable[..., Any], caller: str, route: str) -> None:
    stand("DJs", lambda: run(WITH_DJS))
    for slug in RADIOS:
        service = MediaService.objects.get(slug=slug)
        track = QueuedTrack.objects.create(media_service=service, path="music/queued.mp3")
        visible = OWNER[slug] in REACH.get(caller, set()) or caller in ("worker", "node:node1")
        _check(callers[caller], caller, route, {"slug": slug, "name": track.name}, visible, ON_QUEUES[route])


def _check(
    call: Api,
    caller: str,
    route: str,
    target: dict[str, str],
    visible: bool,
    who: set[str] | None,
    body: Any = None,
) -> None:
    method, path = route.split(" ", 1)
    address = path.format(**target)
    before = snapshot()
    status, answer = call(method, address, BODIES.get(route) if body is None else body)
    allowed = visible and (who is None or caller in who)
    if allowed:
        # 409: "is not deleted", "cannot delete itself", "is in use", …; 422: the planner's refusal on its own merits.
        assert status in (200, 202, 409, 422), (address, status, answer)
        if method == "GET":
            assert status == 200
        return
    assert status in (403, 404, 422), (address, status, answer)
    assert set(answer) == {"error"}
    assert snapshot() == before, f"{caller} changed something by {method} {address}"
    told = json.dumps(answer)
    for secret in (
        "example.net",
        "192.0.2.1",
        "8100",
        "8101",
        "music",
        "dj-password",
        "relay-user",
        "relay-password",
        "media-password",
        "$y$",
        "gold" if "gold" not in target.values() else "\0",
    ):
        assert secret not in told, f"{caller} learns {secret} from {method} {address}: {told}"
    if not visible and method in ("GET", "DELETE", "POST"):
        assert status in (403, 404), (address, status, answer)


LISTS = [
    "customers",
    "media-services",
    "playlists",
    "djs",
    "schedules",
    "relays",
    "domains",
    "mounts",
    "media-users",
    "panel-domains",
    "nodes",
    "reseller-plans",
    "tokens",
    "audit-log",
]


@pytest.mark.parametrize("route", LISTS)
@pytest.mark.parametrize("caller", CALLERS)
def test_lists_hold_nothing_foreign(callers: Callers, run: Callable[..., Any], caller: str, route: str) -> None:
    names = {"customers": [{"username": "eve", "name": "Eve"}, {"username": "alice", "name": "Alice"}]}
    stand("everything", lambda: (run(WITH_DJS), run(WITH_MEDIA_USERS), run(WITH_PANEL_DOMAINS), run(names, "root")))
    reach = REACH.get(caller, set())
    slugs = {slug for slug, owner in OWNER.items() if owner in reach or caller in ("worker", "node:node1")}
    expected = {
        "customers": reach,
        "media-services": slugs,
        "playlists": {f"{slug}/{name}" for slug, name in PLAYLISTS if slug in slugs},
        "djs": {f"{slug}/{name}" for slug, name in DJS if slug in slugs},
        "schedules": {f"{slug}/{name}" for slug, name in SCHEDULES if slug in slugs},
        "relays": {f"{slug}/{name}" for slug, name in RELAYS if slug in slugs},
        "domains": {f"{slug}/{name}" for slug, name in DOMAINS if slug in slugs},
        "mounts": {f"{slug}//stream" for slug in RADIOS if slug in slugs},
        "media-users": {f"{owner}/{name}" for owner, name in MEDIA_USERS if owner in reach},
        "panel-domains": {f"{owner}/{name}" for owner, name in PANEL_DOMAINS if caller in (owner, "root")},
        "nodes": NODES.get(caller, set()),
        "reseller-plans": PLANS.get(caller, set()),
    }
    for query in ("", "?search=e", "?limit=1000&offset=0"):
        status, answer = callers[caller]("GET", f"/{route}{query}")
        if status == 403:
            assert not expected.get(route)
            continue
        assert status == 200
        if route == "tokens":
            assert {item["account"] for item in answer["items"]} <= reach | {None}
            if caller != "root":
                assert {item["account"] for item in answer["items"]} == {caller}
        elif route == "audit-log":
            assert {item["owner"] for item in answer["items"]} <= reach | {None}
            if caller != "root":
                assert None not in {item["owner"] for item in answer["items"]}
        else:
            key = {
                "customers": ["username"],
                "media-services": ["slug"],
                "playlists": ["media_service", "name"],
                "djs": ["media_service", "username"],
                "schedules": ["media_service", "name"],
                "relays": ["media_service", "name"],
                "domains": ["media_service", "name"],
                "mounts": ["media_service", "name"],
                "media-users": ["customer", "name"],
                "panel-domains": ["reseller", "name"],
            }
            found = {"/".join(item[name] for name in key.get(route, ["name"])) for item in answer["items"]}
            assert found <= expected[route]
            if "search" not in query:
                assert found == expected[route]
                assert answer["count"] == len(found)


ESCAPES: list[dict[str, Any]] = [
    {"customers": [{"username": "mallory", "account_type": "administrator"}]},
    {"customers": [{"username": "eve", "name": "taken over"}]},
    {"customers": [{"username": "mallory", "reseller": "rival"}]},
    {"customers": [{"username": "eve", "reseller": "shop"}]},
    {"customers": [{"username": "eve", "state": "absent"}]},
    {"media_services": [{"slug": "eve-fm", "name": "taken over"}]},
    {"media_services": [{"slug": "eve-fm", "state": "absent"}]},
    {"media_services": [{"slug": "eve-fm", "source_password": "taken-over"}]},
    {"media_services": [{"slug": "mine", "customer": "eve", "engine": "icecast"}]},
    {"media_services": [{"slug": "mine", "customer": "shop", "engine": "icecast", "node": "node1"}]},
    {"playlists": [{"media_service": "eve-fm", "name": "day", "folder": "."}]},
    {"playlists": [{"media_service": "eve-fm", "name": "day", "enabled": False}]},
    {"playlists": [{"media_service": "eve-fm", "name": "mine", "folder": "."}]},
    {"playlists": [{"media_service": "eve-fm", "name": "day", "state": "absent"}]},
    {"media_services": [{"slug": "eve-fm"}], "playlists": [{"media_service": "eve-fm", "name": "day", "weight": 7}]},
    {"djs": [{"media_service": "eve-fm", "username": "anna", "password": "taken-over"}]},
    {"djs": [{"media_service": "eve-fm", "username": "mine"}]},
    {"djs": [{"media_service": "eve-fm", "username": "anna", "state": "absent"}]},
    {"schedules": [{"media_service": "eve-fm", "name": "noon", "enabled": False}]},
    {"schedules": [{"media_service": "eve-fm", "name": "mine", "dj": "anna", "start": "10:00", "end": "11:00"}]},
    {"schedules": [{"media_service": "eve-fm", "name": "noon", "state": "absent"}]},
    {"relays": [{"media_service": "eve-fm", "name": "network", "enabled": False}]},
    {
        "relays": [
            {"media_service": "eve-fm", "name": "mine", "direction": "in", "address": "https://mine.example/live"}
        ]
    },
    {"relays": [{"media_service": "eve-fm", "name": "network", "state": "absent"}]},
    {"domains": [{"media_service": "eve-fm", "name": "eve.example.com", "enabled": False}]},
    {"domains": [{"media_service": "eve-fm", "name": "mine.example.com"}]},
    {"domains": [{"media_service": "eve-fm", "name": "eve.example.com", "state": "absent"}]},
    {"mounts": [{"media_service": "eve-fm", "name": "/stream", "max_listeners": 1}]},
    {"mounts": [{"media_service": "eve-fm", "name": "/mine"}]},
    {"mounts": [{"media_service": "eve-fm", "name": "/stream", "state": "absent"}]},
    {"media_services": [{"slug": "eve-fm", "live_port": 8150}]},
    {"media_users": [{"customer": "eve", "name": "studio", "password": "taken-over"}]},
    {"media_users": [{"customer": "eve", "name": "mine"}]},
    {"media_users": [{"customer": "eve", "name": "studio", "state": "absent"}]},
    {"panel_domains": [{"reseller": "rival", "name": "panel.rival.example", "brand": "taken over"}]},
    {"panel_domains": [{"reseller": "rival", "name": "mine.rival.example"}]},
    {"panel_domains": [{"reseller": "rival", "name": "panel.rival.example", "state": "absent"}]},
    {"reseller_plans": [{"name": "gold", "max_listeners": None}]},
    {"reseller_plans": [{"name": "mine"}]},
    {"nodes": [{"name": "node1", "address": "203.0.113.66"}]},
    {"nodes": [{"name": "node1", "state": "absent"}]},
    {"customers": [{"username": "shop", "reseller_plan": "free"}]},
    {"customers": [{"username": "shop", "account_type": "administrator"}]},
    {"customers": [{"username": "alice", "reseller_plan": "free"}]},
]


@pytest.mark.parametrize("document", ESCAPES, ids=lambda document: json.dumps(document)[:70])
@pytest.mark.parametrize("caller", ["shop", "alice", "bob", "node:node1", "worker"])
def test_documents_that_reach_too_far(
    callers: Callers, run: Callable[..., Any], caller: str, document: dict[str, Any]
) -> None:
    stand("DJs and names", lambda: (run(WITH_DJS), run(WITH_PANEL_DOMAINS)))
    call, before = callers[caller], snapshot()
    for options in ({}, {"dry_run": True}, {"label": "x", "prune": True, "max_delete": 100}):
        status, answer = call("POST", "/apply", {"document": document, "return_objects": True, **options})
        absent = [item for items in document.values() for item in items if item.get("state") == "absent"]
        if status == 200 and absent:
            # What one cannot see is absent already.
            assert answer["changed"] is False
            assert "object" not in answer["results"][0]
        else:
            assert status in (403, 422), answer
        assert snapshot() == before


SAFE = {"name", "email", "contact_number", "password", "accessibility_features"}


def test_a_customer_may_change_safe_fields_only(callers: Callers) -> None:
    values = {
        "name": "A",
        "email": "a@example.org",
        "contact_number": "1",
        "password": "secret99",
        "accessibility_features": True,
        "status": "disabled",
        "api_access": False,
        "account_type": "administrator",
        "reseller_plan": "gold",
        "reseller": None,
    }
    for field, value in values.items():
        status, answer = callers["alice"]("PUT", "/customers/alice", {field: value})
        assert (status == 200) == (field in SAFE), (field, answer)
    services = {
        "name": "Rock 2",
        "genre": "rock",
        "source_password": "new-secret-1",
        "mounts": [{"name": "/a"}, {"name": "/b"}],
        "max_listeners": 5000,
        "max_bitrate_kbps": 320,
        "max_mounts": 3,
        "monthly_transfer_mb": None,
        "suspended": True,
        "enabled": False,
        "port": 8150,
        "live_port": 8150,
        "node": "node2",
        "autodj": {},
    }
    unchanged = {"monthly_transfer_mb"}  # says what is there already
    allowed = {"name", "genre", "source_password", "mounts", "autodj"} | unchanged
    for field, value in services.items():
        status, answer = callers["alice"]("PUT", "/media-services/rock", {field: value})
        assert (status == 200) == (field in allowed), (field, answer)
    mounts = [{"name": f"/{letter}"} for letter in "abc"]
    status, answer = callers["alice"]("PUT", "/media-services/rock", {"mounts": mounts})
    assert status == 422
    assert "max_mounts" in answer["error"]["message"]


def test_a_customer_may_not_lift_a_suspension(callers: Callers) -> None:
    callers["shop"]("PUT", "/media-services/rock", {"suspended": True, "suspend_reason": "unpaid"})
    assert callers["alice"]("PUT", "/media-services/rock", {"suspended": False})[0] == 403
    status, answer = callers["alice"]("POST", "/media-services/rock/actions", {"action": "start"})
    assert status == 409
    assert answer["error"]["message"] == "rock cannot be started, it is suspended: unpaid"


def test_a_deleted_service_is_restored_by_who_may_only(callers: Callers) -> None:
    callers["shop"]("DELETE", "/media-services/rock")
    for caller in ("alice", "bob", "rival", "worker"):
        assert callers[caller]("POST", "/media-services/rock/restore")[0] in (403, 404)
        assert callers[caller]("PUT", "/media-services/rock", {"name": "x"})[0] in (403, 422)
    status, answer = callers["shop"]("POST", "/media-services/rock/restore")
    assert status == 200
    assert answer["object"]["deleted_at"] is None


def test_tokens_are_for_oneself(callers: Callers) -> None:
    foreign = callers["root"].token.split("_")[1]
    for caller in ("shop", "alice", "bob"):
        assert callers[caller]("POST", "/tokens", {"name": "x", "account": "root"})[0] == 403
        assert callers[caller]("POST", "/tokens", {"name": "x", "scope": "worker"})[0] == 403
        assert callers[caller]("POST", "/tokens", {"name": "x", "scope": "node:node1"})[0] == 403
        assert callers[caller]("DELETE", f"/tokens/{foreign}")[0] == 404
    for caller in ("worker", "node:node1"):
        assert callers[caller]("POST", "/tokens", {"name": "x"})[0] == 403


def test_jobs_are_seen_by_who_asked(callers: Callers) -> None:
    job = Job.objects.create(kind=Job.Kind.APPLY, requested_by=Account.objects.get(username="shop"))
    for caller in CALLERS:
        status, _ = callers[caller]("GET", f"/jobs/{job.pk}")
        assert status == (200 if caller in ("root", "shop") else 404)


@pytest.mark.parametrize("route", sorted(routes() - {"GET /health"}))
def test_without_a_token(api: Callable[..., Api], route: str) -> None:
    call = api("root")
    call.token = "none"
    method, path = route.split(" ", 1)
    before = snapshot()
    status, answer = call(method, path.replace("{", "").replace("}", ""), BODIES.get(route, {}))
    assert (status, answer["error"]["code"]) == (401, "unauthenticated")
    assert snapshot() == before
