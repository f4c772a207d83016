"""DJs: what is stored, refused, shown, deleted, pruned; what of it services and nodes notice; and their port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfleet_panel import control, nodedoc
from streamfleet_panel.access import system
from streamfleet_panel.apply import ApiError, djs
from streamfleet_panel.models import AuditLog, Dj, MediaService, Node
from tests_support import Api

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
L = "djs[0]"
TIMES = {"start": "22:00", "end": "02:00"}


def dj(**fields: Any) -> dict[str, Any]:
    """A document of one DJ of rock."""
    return {"djs": [{"media_service": "rock", "username": "anna", **fields}]}


@pytest.fixture
def station(world: None, run: Run) -> None:
    """rock and eve-fm have what DJs need."""
    run({"media_services": [{"slug": slug, "autodj": {}} for slug in ("rock", "eve-fm")]})


def stored(username: str = "anna", slug: str = "rock") -> Dj:
    return Dj.objects.get(media_service__slug=slug, username=username)


def generations() -> tuple[int, int, int]:
    """Of the node, of rock and of another service."""
    services = dict(MediaService.objects.values_list("slug", "generation"))
    return Node.objects.get(name="node1").generation, services["rock"], services["eve-fm"]


def refused(run: Run, document: dict[str, Any], who: str | None = None, **options: Any) -> ApiError:
    def snapshot() -> list[Any]:
        return [list(model.objects.order_by("pk").values_list()) for model in (Dj, MediaService, Node)]

    before = snapshot()
    with pytest.raises(ApiError) as caught:
        run(document, who, **options)
    assert snapshot() == before
    return caught.value


# --- stored and changed ---------------------------------------------------------------------------------------------


def test_a_new_dj_has_the_defaults_and_a_password(station: None, run: Run) -> None:
    answer = run(dj(), return_objects=True)
    result = answer["results"][0]
    assert (result["kind"], result["key"], result["path"], result["action"]) == ("dj", "rock/anna", L, "created")
    assert result["changes"] == {"password": {"before": "********", "after": "********"}}
    created = dict(result["object"])
    assert created.pop("created_at")
    assert created == {
        "media_service": "rock",
        "username": "anna",
        "name": "",
        "priority": 10,
        "enabled": True,
        "scheduled_only": False,
        "active": None,
        "grace_seconds": 10,
        "record": False,
        "connection": [
            {"label": "Server", "value": "stream.example.net"},
            {"label": "Port", "value": str(stored().media_service.settings["live_port"])},
            {"label": "Mount", "value": "/anna"},
            {"label": "Username", "value": "anna"},
            {"label": "Password", "credential": "password"},
        ],
        "label": None,
    }
    password = stored().password
    assert password is not None
    assert len(password) == 24
    assert password not in stored().credentials_encrypted
    assert not run(dj())["changed"]
    assert not run(dj(password=password, name=None))["changed"]
    assert stored().password == password


def test_a_password_that_is_named_is_set_and_never_shown(station: None, run: Run) -> None:
    answer = run(dj(password="correct-horse"), return_objects=True)
    assert stored().password == "correct-horse"
    answers = [answer, run(dj(password="battery-staple"), return_objects=True)]
    assert answers[1]["results"][0]["changes"] == {"password": {"before": "********", "after": "********"}}
    assert stored().password == "battery-staple"
    assert not run(dj(password="battery-staple"))["changed"]
    answers.append(refused(run, dj(password="battery staple")).as_dict())
    log = [entry.changes for entry in AuditLog.objects.filter(kind="dj")]
    assert len(log) == 2
    for secret in ("correct-horse", "battery"):
        assert secret not in str([*answers, log])


def test_a_password_is_no_work_for_a_job(station: None, run: Run, api: Callable[..., Api]) -> None:
    many = [{"media_service": "rock", "username": f"dj{n}", "password": f"password-{n}"} for n in range(60)]
    status, answer = api("root")("POST", "/apply", {"document": {"djs": many}})
    assert (status, answer["summary"]["created"]) == (200, 60)


def test_every_change_reaches_the_service_and_its_node_and_nobody_else(station: None, run: Run) -> None:
    node, _, other = generations()
    changes: list[dict[str, Any]] = [{}, {"priority": 3}, {"password": "correct-horse"}, {"state": "absent"}]
    for number, fields in enumerate(changes, 1):
        answer = run(dj(**fields))
        assert answer["nodes"] == {"node1": node + number}, fields
        assert generations() == (node + number, node + number, other), fields
    run(dj())
    # A label is the panel's own business.
    assert run(dj(), label="x")["nodes"] == {}
    assert run(dj(username="ben", state="absent"))["changed"] is False


def test_the_name_may_be_none(station: None, run: Run) -> None:
    run(dj(name="Anna B. 🎶"))
    answer = run(dj(name=None))
    assert answer["results"][0]["changes"] == {"name": {"before": "Anna B. 🎶", "after": ""}}
    assert not run(dj(name=""))["changed"]
    assert stored().name == ""


def test_times_are_kept_while_they_do_not_bind(station: None, run: Run) -> None:
    run(dj(scheduled_only=True, active=[{**TIMES, "days": ["sun", "mon"]}]))
    assert stored().active == [{"days": ["mon", "sun"], **TIMES}]
    assert refused(run, dj(active=None)).errors[0].path == f"{L}.active"
    run(dj(scheduled_only=False))
    run(dj(scheduled_only=True))
    run(dj(scheduled_only=False, active=None))
    assert stored().active is None


def test_declared_along_with_the_service_in_any_order(world: None, run: Run) -> None:
    run(
        {
            "djs": [{"media_service": "fm", "username": "anna"}],
            "media_services": [{"slug": "fm", "customer": "bob", "engine": "icecast", "autodj": {}}],
        }
    )
    assert AuditLog.objects.get(kind="dj").owner == stored(slug="fm").media_service.customer


# --- refused --------------------------------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str, Any, str]] = [
    # document, path, value, part of the message
    ({"djs": [{"username": "x"}]}, f"{L}.media_service", None, "is missing"),
    ({"djs": [{"media_service": "rock"}]}, f"{L}.username", None, "is missing"),
    (dj(username="Anna"), f"{L}.username", "Anna", "form"),
    (dj(username="a/b"), f"{L}.username", "a/b", "form"),
    (dj(username="-a"), f"{L}.username", "-a", "form"),
    (dj(username="a\n"), f"{L}.username", "a\n", "line break"),
    (dj(username="a" * 33), f"{L}.username", "a" * 33, "33 characters"),
    (dj(media_service="ghost"), f"{L}.media_service", "ghost", "there is no such media service"),
    (dj(media_service="tv"), f"{L}.media_service", "tv", "a service of Nginx RTMP, which has no DJs"),
    (dj(media_service="shop-fm"), f"{L}.media_service", "shop-fm", "has no AutoDJ"),
    (dj(kick=1), f"{L}.kick", None, "is not a field"),
    (dj(name="a\x1b[2J"), f"{L}.name", "a\x1b[2J", "control character"),
    (dj(name="x" * 101), f"{L}.name", "x" * 97 + "…", "101 characters"),
    (dj(name=7), f"{L}.name", 7, "must be a text"),
    (dj(name=" "), f"{L}.name", " ", "is empty"),
    (dj(password=None), f"{L}.password", None, "may not be null"),
    (dj(password="1234567"), f"{L}.password", None, "form"),
    (dj(password="x" * 65), f"{L}.password", None, "form"),
    (dj(password="with:a-colon"), f"{L}.password", None, "form"),
    (dj(password="correct-horse\n"), f"{L}.password", None, "form"),
    (dj(password=12345678), f"{L}.password", None, "must be a text"),
    (dj(priority=0), f"{L}.priority", 0, "between 1 and 100"),
    (dj(priority=101), f"{L}.priority", 101, "between 1 and 100"),
    (dj(priority=True), f"{L}.priority", True, "must be a whole number"),
    (dj(enabled="yes"), f"{L}.enabled", "yes", "must be true or false"),
    (dj(record=1), f"{L}.record", 1, "must be true or false"),
    (dj(grace_seconds=301), f"{L}.grace_seconds", 301, "between 0 and 300"),
    (dj(grace_seconds=None), f"{L}.grace_seconds", None, "may not be null"),
    (dj(scheduled_only=True), f"{L}.active", None, "scheduled_only needs times"),
    (dj(active=[]), f"{L}.active", "[]", "is empty"),
    (dj(active=[{**TIMES, "start": 1320}]), f"{L}.active[0].start", 1320, "must be a text"),
    (dj(active=[{**TIMES, "days": ["fri", "freitag"]}]), f"{L}.active[0].days[1]", "freitag", "is not a day"),
]


@pytest.mark.parametrize(("document", "path", "value", "message"), BAD, ids=[f"{b[1]}-{b[3]}" for b in BAD])
def test_bad_input(station: None, run: Run, document: Any, path: str, value: Any, message: str) -> None:
    for dry_run in (True, False):
        error = refused(run, document, dry_run=dry_run)
        assert error.status == 422
        found = [problem for problem in error.errors if problem.path == path]
        assert found, error.as_dict()
        assert message in found[0].message
        assert found[0].value == value
        assert found[0].fix


def test_a_service_without_an_autodj_keeps_its_djs_and_takes_none(station: None, run: Run) -> None:
    run(dj())
    both = {"media_services": [{"slug": "rock", "autodj": None}], **dj(priority=2)}
    assert refused(run, both).errors[0].fix == "Set autodj of the service."
    run({"media_services": [{"slug": "rock", "autodj": None}]})
    assert stored().for_node()["username"] == "anna"
    assert refused(run, dj()).errors[0].value == "rock"
    run({"media_services": [{"slug": "rock", "autodj": {"enabled": False}}], **dj(priority=2)})
    run({"media_services": [{"slug": "rock", "autodj": None}], **dj(state="absent")})
    assert not Dj.objects.exists()


def test_at_most_100_of_a_service(station: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(djs, "MOST_DJS", 2)
    run({"djs": [{"media_service": "rock", "username": name} for name in ("anna", "ben")]})
    error = refused(run, dj(username="cleo"))
    assert [(problem.path, problem.message) for problem in error.errors] == [
        (L, "rock would have 3 DJs, at most 2 fit")
    ]
    # One goes, one comes; and another service has its own.
    gone = {"media_service": "rock", "username": "ben", "state": "absent"}
    run({"djs": [*dj(username="cleo")["djs"], gone, *dj(media_service="eve-fm")["djs"]]})


def test_keys_of_full_length_reach_the_audit_log(world: None, run: Run) -> None:
    slug, name = "s" * 63, "n" * 32
    run({"media_services": [{"slug": slug, "customer": "bob", "engine": "icecast", "autodj": {}}]})
    run(dj(media_service=slug, username=name))
    assert AuditLog.objects.filter(kind="dj", key=f"{slug}/{name}").count() == 1


# --- whose ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["alice", "shop", "root"])
def test_whoever_may_change_the_service_may_change_its_djs(station: None, run: Run, who: str) -> None:
    run(dj(priority=2, enabled=False), who)
    run(dj(state="absent"), who)
    entries = AuditLog.objects.filter(kind="dj", key="rock/anna").order_by("pk")
    assert [(entry.action, entry.actor_name) for entry in entries] == [("created", who), ("deleted", who)]
    assert {entry.owner.username for entry in entries if entry.owner} == {"alice"}


@pytest.mark.parametrize("who", ["bob", "eve", "rival"])
def test_foreign_djs_are_told_from_none_by_nobody(station: None, run: Run, who: str) -> None:
    run(dj())
    there, none = (refused(run, dj(media_service=slug, priority=2), who) for slug in ("rock", "ghost"))
    assert [problem.message for problem in there.errors] == [problem.message for problem in none.errors]
    assert there.errors[0].message == "there is no such media service"
    assert not run(dj(state="absent"), who)["changed"]


def test_they_go_and_come_back_with_their_service(station: None, run: Run, api: Callable[..., Api]) -> None:
    run(dj(password="correct-horse"))
    root = api("root")
    root("DELETE", "/customers/alice")
    assert root("GET", "/media-services/rock/djs")[0] == 404
    assert root("GET", "/djs?media_service=rock")[1]["count"] == 0
    assert root("POST", "/media-services/rock/djs/anna/kick")[0] == 404
    status, answer = root("PUT", "/media-services/rock/djs/anna", {"priority": 2})
    assert (status, answer["error"]["errors"][0]["message"]) == (422, "this media service is deleted")
    root("POST", "/customers/alice/restore")
    assert root("GET", "/media-services/rock/djs")[1]["count"] == 1
    assert stored().password == "correct-horse"


def test_prune(station: None, run: Run) -> None:
    two = {"djs": [*dj()["djs"], *dj(username="ben", media_service="eve-fm")["djs"]]}
    run(two, label="djs")
    assert not run(two, label="djs", prune=True)["changed"]
    # Only within reach.
    assert not run(dj(), "shop", label="djs", prune=True)["changed"]
    answer = run(dj(), label="djs", prune=True)
    assert [(item["key"], item["path"], item["action"]) for item in answer["results"]] == [
        ("rock/anna", L, "unchanged"),
        ("eve-fm/ben", "", "deleted"),
    ]
    assert refused(run, {}, label="djs", prune=True, max_delete=0).code == "max_delete_exceeded"
    assert run({}, "alice", label="djs", prune=True)["summary"]["deleted"] == 1


# --- routes ---------------------------------------------------------------------------------------------------------


def test_one_by_its_address(station: None, api: Callable[..., Api]) -> None:
    call = api("alice")
    path = "/media-services/rock/djs/anna"
    body = {"name": "Anna B.", "scheduled_only": True, "active": [TIMES]}
    assert call("GET", path)[0] == 404
    assert call("PUT", f"{path}?dry_run=true", body)[1]["action"] == "created"
    assert call("GET", path)[0] == 404
    status, answer = call("PUT", f"{path}?label=mine", {**body, "media_service": "rock", "username": "anna"})
    assert (status, answer["key"], answer["object"]["label"]) == (200, "rock/anna", "mine")
    assert call("GET", path) == (200, answer["object"])
    # What was read can be sent back.
    read = {
        name: value for name, value in answer["object"].items() if name not in ("label", "created_at", "connection")
    }
    assert call("PUT", path, read)[1]["action"] == "unchanged"
    for name in ("media_service", "username"):
        status, answer = call("PUT", path, {**body, name: "other"})
        assert (status, answer["error"]["errors"][0]["path"]) == (422, name)
    assert call("DELETE", f"{path}?dry_run=true")[1]["action"] == "deleted"
    assert call("DELETE", path)[1]["action"] == "deleted"
    assert call("DELETE", path) == (
        404,
        {"error": {"code": "not_found", "message": "There is no DJ anna", "errors": []}},
    )


def test_lists(station: None, run: Run, api: Callable[..., Api]) -> None:
    named = [("rock", "anna", "Anna B."), ("rock", "ben", "X"), ("eve-fm", "anna", "Anna C.")]
    run({"djs": [{"media_service": slug, "username": user, "name": name} for slug, user, name in named]})
    run(dj(username="ben"), label="x")
    root = api("root")

    def found(path: str) -> list[str]:
        status, answer = root("GET", path)
        assert (status, answer["count"]) == (200, len(answer["items"]))
        assert "password" not in {key for item in answer["items"] for key in item}
        return [f"{item['media_service']}/{item['username']}" for item in answer["items"]]

    assert found("/djs") == ["eve-fm/anna", "rock/anna", "rock/ben"]
    assert found("/media-services/rock/djs") == ["rock/anna", "rock/ben"]
    assert found("/djs?label=x") == ["rock/ben"]
    assert found("/djs?search=ANNA B") == found("/djs?media_service=rock&search=anna") == ["rock/anna"]
    assert found("/media-services/tv/djs") == []
    assert root("GET", "/media-services/ghost/djs")[0] == 404


def test_reading_the_password_is_recorded(station: None, run: Run, api: Callable[..., Api]) -> None:
    run(dj(password="correct-horse"))
    status, answer = api("alice")("GET", "/media-services/rock/djs/anna/credentials")
    assert (status, answer["credentials"]) == (200, {"password": "correct-horse"})
    assert answer["connection"][-1] == {"label": "Password", "credential": "password", "value": "correct-horse"}
    entry = AuditLog.objects.get(action="read_credentials")
    assert (entry.kind, entry.key, entry.actor_name) == ("dj", "rock/anna", "alice")
    assert entry.owner is not None
    assert entry.owner.username == "alice"


def test_kick(station: None, run: Run, api: Callable[..., Api]) -> None:
    run(dj())
    node, _, other = generations()
    for number in (1, 2):
        answer = api("alice")("POST", "/media-services/rock/djs/anna/kick")
        assert answer == (200, {"generation": node + number})
        assert generations() == (node + number, node + number, other)
    document = nodedoc.document(Node.objects.get(name="node1"))
    rock = next(service for service in document["services"] if service["slug"] == "rock")
    assert [(item["username"], item["kick"]) for item in rock["djs"]] == [("anna", 2)]
    entry = AuditLog.objects.filter(action="kick").latest("pk")
    assert (entry.kind, entry.key, entry.changes) == ("dj", "rock/anna", {"kick": {"before": 1, "after": 2}})
    # The number is nobody's field, so an apply keeps it.
    run(dj(priority=2))
    assert stored().kick == 2
    gone = stored()
    run(dj(state="absent"))
    with pytest.raises(ApiError, match="There is no DJ anna"):
        control.kick(system(), gone)


# --- the port of DJs ------------------------------------------------------------------------------------------------


def port(slug: str = "rock") -> int | None:
    found: int | None = MediaService.objects.get(slug=slug).settings.get("live_port")
    return found


def service(**fields: Any) -> dict[str, Any]:
    return {"media_services": [{"slug": "rock", **fields}]}


def test_the_port_is_there_as_long_as_the_autodj(world: None, run: Run) -> None:
    assert port() is None
    # 8100 to 8102 are the stations' own.
    answer = run(service(autodj={}), return_objects=True)
    assert answer["results"][0]["changes"]["live_port"] == {"before": None, "after": 8103}
    assert answer["results"][0]["object"]["live_port"] == port() == 8103
    assert not run(service(autodj={}))["changed"]
    assert not run(service(live_port=8103))["changed"]
    # null asks for "any", and it has one.
    assert not run(service(live_port=None))["changed"]
    run(service(autodj={"enabled": False}))
    assert port() == 8103
    answer = run(service(autodj=None))
    assert answer["results"][0]["changes"]["live_port"] == {"before": 8103, "after": None}
    assert port() is None
    # Free again for others.
    run({"media_services": [{"slug": "new", "customer": "bob", "engine": "icecast"}]})
    assert MediaService.objects.get(slug="new").port == 8103
    run(service(autodj={}))
    assert port() == 8104


def test_a_port_may_be_chosen_out_of_the_range_once(world: None, run: Run) -> None:
    path = "media_services[0].live_port"
    run(service(autodj={}, live_port=8150))
    assert port() == 8150
    run(service(live_port=8151))
    for number, message in (
        (8151, "is taken on node1 by rock"),
        (8100, "is taken on node1 by rock"),
        (8102, "is taken on node1 by eve-fm"),
        (8300, "is outside the port range of node1 (8100-8299)"),
    ):
        document = {"media_services": [{"slug": "shop-fm", "autodj": {}, "live_port": number}]}
        error = refused(run, document)
        assert [(problem.path, problem.message) for problem in error.errors] == [(path, message)]
    # What it had is free; its own port and the one of DJs are not the same.
    run({"media_services": [{"slug": "shop-fm", "autodj": {}, "live_port": 8150}]})
    error = refused(run, {"media_services": [{"slug": "shop-fm", "port": 8150}]})
    assert error.errors[0].message == "is taken on node1 by shop-fm"
    error = refused(run, {"media_services": [{"slug": "eve-fm", "port": 8151}]}, "rival")
    assert error.errors[0].message == "is taken on node1"


def test_no_port_without_an_autodj(world: None, run: Run) -> None:
    error = refused(run, service(live_port=8150))
    assert (error.errors[0].message, error.errors[0].fix) == (
        "is the port of the AutoDJ, which the service has not",
        "Set autodj as well, or leave live_port out.",
    )
    assert not run(service(live_port=None))["changed"]
    for bad in ("8150", 0, 70000, True):
        error = refused(run, service(autodj={}, live_port=bad))
        assert {problem.path for problem in error.errors} == {"media_services[0].live_port"}
    error = refused(run, {"media_services": [{"slug": "tv", "live_port": 8150}]})
    assert "is not a field" in error.errors[0].message


def test_named_ports_go_before_free_ones(world: None, run: Run) -> None:
    def new(slug: str, **fields: Any) -> dict[str, Any]:
        return {"slug": slug, "customer": "bob", "engine": "icecast", "autodj": {}, **fields}

    run({"media_services": [new("a"), new("b", live_port=8103), new("c", port=8104), new("d", live_port=8105)]})
    ports = {item.slug: (item.port, port(item.slug)) for item in MediaService.objects.filter(customer__username="bob")}
    taken = [number for pair in (ports[slug] for slug in "abcd") for number in pair]
    assert sorted(number for number in taken if number is not None) == list(range(8103, 8111))
    assert (ports["b"][1], ports["c"][0], ports["d"][1]) == (8103, 8104, 8105)


def test_a_full_node_says_so(world: None, run: Run) -> None:
    run({"nodes": [{"name": "node1", "port_range_end": 8102}]})
    error = refused(run, service(autodj={}))
    assert [(problem.path, problem.message) for problem in error.errors] == [
        ("media_services[0].live_port", "no port is free on node1 (8100-8102)")
    ]


def test_the_port_is_kept_through_the_grace_period(station: None, run: Run) -> None:
    before = port()
    run(service(state="absent"))
    new = {"slug": "new", "customer": "bob", "engine": "icecast", "autodj": {}}
    run({"media_services": [new]})
    assert before not in (port("new"), MediaService.objects.get(slug="new").port)
    run(service())
    assert port() == before


def test_a_customer_gets_a_port_and_chooses_none(world: None, run: Run) -> None:
    error = refused(run, service(autodj={}, live_port=8150), "alice")
    assert (error.status, error.errors[0].path) == (403, "media_services[0].live_port")
    run(service(autodj={}), "alice")
    read = port()
    assert not run(service(live_port=read), "alice")["changed"]
    run(service(live_port=8150), "shop")
    assert port() == 8150


def test_djs_are_told_no_port_where_their_station_lets_none_in(station: None, run: Run) -> None:
    def told() -> str:
        line: str = run(dj(name="Al"), return_objects=True)["results"][0]["object"]["connection"][1]["value"]
        return line

    before = told()
    run(service(autodj={"class": "eco"}))
    assert (before, told()) == (str(port()), "")
    run(service(autodj={}))
    assert told() == before


def test_a_station_of_an_older_release_gets_its_port_with_the_first_dj(world: None, run: Run) -> None:
    MediaService.objects.filter(slug="rock").update(settings={"autodj": {}})
    answer = run(dj(), return_objects=True)
    assert port() == 8103
    assert answer["results"][0]["object"]["connection"][1] == {"label": "Port", "value": "8103"}
    MediaService.objects.filter(slug="eve-fm").update(settings={"autodj": {}})
    run({"media_services": [{"slug": "eve-fm", "genre": "rock"}]})
    assert port("eve-fm") == 8104
