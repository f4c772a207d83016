"""Media users: what is stored, refused, shown, deleted, pruned; what of it nodes are told; and their passwords."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamfleet_panel import crypt, nodedoc
from streamfleet_panel.apply import ApiError, media_users
from streamfleet_panel.models import Account, AuditLog, MediaService, MediaUser, Node
from tests_support import Api

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
SECRET = "correct horse, battery"


def login(**fields: Any) -> dict[str, Any]:
    """A document of one media user of alice."""
    return {"media_users": [{"customer": "alice", "name": "studio", **fields}]}


@pytest.fixture
def library(world: None, run: Run) -> None:
    """alice and eve have media libraries on node1."""
    run({"media_services": [{"slug": slug, "autodj": {}, "disk_quota_mb": 500} for slug in ("rock", "eve-fm")]})


def stored(name: str = "studio") -> MediaUser:
    return MediaUser.objects.select_related("customer").get(customer__username="alice", name=name)


def told(node: str = "node1") -> list[dict[str, Any]]:
    """What the node is told."""
    found: list[dict[str, Any]] = nodedoc.document(Node.objects.get(name=node))["media_users"]
    return found


def refused(run: Run, document: dict[str, Any], who: str | None = None, **options: Any) -> ApiError:
    def snapshot() -> list[Any]:
        return [list(model.objects.order_by("pk").values_list()) for model in (MediaUser, Account, Node)]

    before = snapshot()
    with pytest.raises(ApiError) as caught:
        run(document, who, **options)
    assert snapshot() == before
    return caught.value


# --- hashes -----------------------------------------------------------------------------------------------------------


def test_a_hash_is_what_the_systems_library_checks() -> None:
    made = crypt.make(SECRET)
    assert made.startswith("$y$")
    assert crypt.check(SECRET, made)
    assert not crypt.check("correct horse", made)
    assert crypt.make(SECRET) != made
    # As another program made it (openssl passwd -6 -salt saltsalt), and what is no hash.
    other = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/"
    assert crypt.check("password", other)
    for nothing in ("!", "", "*", "$y$", "$nosuch$x"):
        assert not crypt.check("password", nothing)


# --- stored and changed -----------------------------------------------------------------------------------------------


def test_a_new_one_has_the_defaults_and_nobody_sees_the_password(library: None, run: Run) -> None:
    answer = run(login(password=SECRET), return_objects=True)
    result = answer["results"][0]
    assert (result["kind"], result["key"], result["action"]) == ("media_user", "alice/studio", "created")
    assert result["changes"] == {"password": {"before": "********", "after": "********"}}
    created = dict(result["object"])
    assert created.pop("created_at")
    assert created == {
        "customer": "alice",
        "name": "studio",
        "login": "alice.studio",
        "read_only": False,
        "protocols": ["sftp", "ftps"],
        "enabled": True,
        "label": None,
    }
    assert crypt.check(SECRET, stored().password)
    log = [entry.changes for entry in AuditLog.objects.filter(kind="media_user")]
    assert len(log) == 1
    for word in (SECRET, "$y$"):
        assert word not in str([answer, log])


def test_a_password_is_compared_and_set_as_those_of_accounts(library: None, run: Run) -> None:
    run(login(password=SECRET))
    first = stored().password
    assert not run(login(password="another one"))["changed"]
    assert not run(login(password=SECRET), update_password="always")["changed"]
    assert stored().password == first
    predicted = run(login(password="another one"), update_password="always", dry_run=True)
    assert stored().password == first
    answer = run(login(password="another one"), update_password="always")
    assert answer["results"][0]["changes"] == predicted["results"][0]["changes"] != {}
    assert answer["nodes"] == predicted["nodes"] == {"node1": Node.objects.get(name="node1").generation}
    assert crypt.check("another one", stored().password)


def test_many_passwords_are_work_for_a_job(
    library: None, run: Run, api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.conf.settings.PASSWORDS_IN_REQUEST", 2)
    many = [{"customer": "alice", "name": f"n{n}", "password": SECRET} for n in range(4)]
    status, answer = api("root")("POST", "/apply", {"document": {"media_users": many}})
    assert status == 202, answer
    assert api("root")("GET", f"/jobs/{answer['job']['id']}")[1]["total"] == 4


def test_every_change_reaches_the_nodes_of_the_library_and_no_other(library: None, run: Run) -> None:
    generations = dict(Node.objects.values_list("name", "generation"))
    services = dict(MediaService.objects.values_list("slug", "generation"))
    steps: list[dict[str, Any]] = [
        {"password": SECRET},
        {"read_only": True},
        {"protocols": ["ftps"]},
        {"state": "absent"},
    ]
    for number, fields in enumerate(steps, 1):
        expected = {"node1": generations["node1"] + number}
        assert run(login(**fields), dry_run=True)["nodes"] == expected, fields
        assert run(login(**fields))["nodes"] == expected, fields
    # Nobody's service is any different.
    assert dict(MediaService.objects.values_list("slug", "generation")) == services
    assert not run(login(state="absent"))["changed"]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"password": "short"}, "password"),
        ({"password": "with\nbreak"}, "password"),
        ({"password": "x" * 129}, "password"),
        ({"password": None}, "password"),
        ({"protocols": []}, "protocols"),
        ({"protocols": ["ftp"]}, "protocols"),
        ({"protocols": ["sftp", "sftp"]}, "protocols"),
        ({"protocols": "sftp"}, "protocols"),
        ({"read_only": "yes"}, "read_only"),
        ({"enabled": None}, "enabled"),
        ({"shell": "/bin/sh"}, "shell"),
        ({"name": "a.b"}, "name"),
        ({"name": "a:b"}, "name"),
        ({"name": "a\nroot"}, "name"),
        ({"name": "-a"}, "name"),
        ({"customer": "nobody"}, "customer"),
        ({"customer": "a:b"}, "customer"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_stored(
    library: None, run: Run, fields: dict[str, Any], path: str
) -> None:
    error = refused(run, login(**fields))
    assert [problem.path for problem in error.errors] == [f"media_users[0].{path}"]
    assert "short" not in str(error.as_dict())


def test_two_ways_to_write_the_protocols_are_no_change(library: None, run: Run) -> None:
    run(login(protocols=["ftps", "sftp"]))
    assert not run(login(protocols=["sftp", "ftps"]))["changed"]


def test_a_customer_has_room_for_a_few(library: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_users, "MOST_MEDIA_USERS", 2)
    run(login())
    two = [{"customer": "alice", "name": name} for name in ("a", "b")]
    assert "at most 2 fit" in refused(run, {"media_users": two}).errors[0].message
    run({"media_users": [*two, {"customer": "alice", "name": "studio", "state": "absent"}]})


def test_they_go_and_come_back_with_their_customer(library: None, run: Run) -> None:
    run(login(password=SECRET), label="shop")
    run({"customers": [{"username": "alice", "state": "absent"}]})
    assert told() == []
    assert "this customer is deleted" in refused(run, login(read_only=True)).errors[0].message
    # Kept for when the customer comes back, and so not pruned.
    run({}, label="shop", prune=True)
    run({"customers": [{"username": "alice"}], "media_services": [{"slug": "rock"}]})
    assert [item["login"] for item in told()] == ["alice.studio"]
    answer = run({}, label="shop", prune=True)
    assert [(item["kind"], item["key"], item["action"]) for item in answer["results"]] == [
        ("media_user", "alice/studio", "deleted")
    ]


def test_a_document_may_make_customer_service_and_log_in_at_once(world: None, run: Run) -> None:
    run(
        {
            "media_users": [{"customer": "dora", "name": "studio", "password": SECRET}],
            "media_services": [
                {"slug": "dora-fm", "customer": "dora", "engine": "icecast", "node": "node1", "autodj": {}}
            ],
            "customers": [{"username": "dora"}],
        }
    )
    assert [item["login"] for item in told()] == ["dora.studio"]


# --- what nodes are told ----------------------------------------------------------------------------------------------


def test_a_node_is_told_the_hash_and_the_quota(library: None, run: Run) -> None:
    run(login(password=SECRET, read_only=True, protocols=["sftp"]))
    run({"media_users": [{"customer": "eve", "name": "desk"}]})  # has no password yet
    assert told() == [
        {
            "login": "alice.studio",
            "customer": "alice",
            "uid": Account.objects.get(username="alice").uid,
            "password": stored().password,
            "read_only": True,
            "protocols": ["sftp"],
            "disk_quota_mb": 500,
        }
    ]
    assert told("node2") == []


def test_quotas_of_all_services_with_the_library_are_added(library: None, run: Run) -> None:
    # bob belongs to no reseller, whose plan would have limits of its own.
    run({"media_users": [{"customer": "bob", "name": "studio", "password": SECRET}]})
    more = {"customer": "bob", "engine": "icecast", "node": "node1", "autodj": {}}
    run({"media_services": [{**more, "slug": f"bob-{size}", "disk_quota_mb": size} for size in (200, 500)]})
    assert told()[0]["disk_quota_mb"] == 700
    run({"media_services": [{"slug": "bob-200", "disk_quota_mb": None}]})
    assert told()[0]["disk_quota_mb"] is None
    run({"media_services": [{"slug": "bob-200", "state": "absent"}]})
    assert told()[0]["disk_quota_mb"] == 500
    run({"media_services": [{"slug": "bob-500", "disk_quota_mb": 0}]})
    assert told()[0]["disk_quota_mb"] == 0


def test_libraries_are_told_with_the_quotas_of_the_nodes_documents(library: None, run: Run, api: Api) -> None:
    def libraries() -> Any:
        status, answer = api("root")("GET", "/customers/bob/libraries")
        assert status == 200
        return answer["items"]

    assert libraries() == []
    run(
        {
            "media_users": [{"customer": "bob", "name": "studio", "password": SECRET}],
            "nodes": [{"name": "node1", "engines": ["icecast", "nginx_rtmp", "wowza"]}],
        }
    )
    more = {"customer": "bob", "engine": "icecast", "node": "node1"}
    film = {"customer": "bob", "engine": "wowza", "service_type": "on_demand", "node": "node1"}
    run(
        {
            "media_services": [
                {**more, "slug": "bob-200", "autodj": {}, "disk_quota_mb": 200},
                {**more, "slug": "bob-none"},
                {**more, "slug": "bob-gone", "autodj": {}},
                {**film, "slug": "bob-films", "disk_quota_mb": 500},
            ]
        }
    )
    assert libraries() == [{"node": "node1", "disk_quota_mb": None}]
    for change in (
        {"slug": "bob-gone", "state": "absent"},
        {"slug": "bob-films", "suspended": True},
        {"slug": "bob-films", "state": "absent"},
    ):
        run({"media_services": [change]})
        quota = told()[0]["disk_quota_mb"]
        assert libraries() == [{"node": "node1", "disk_quota_mb": quota}]
    assert quota == 200
    run({"media_services": [{"slug": "bob-200", "suspended": True}]})
    assert (libraries(), [item for item in told() if item["customer"] == "bob"]) == ([], [])


@pytest.mark.parametrize(
    ("document", "there"),
    [
        ({"customers": [{"username": "alice", "status": "disabled"}]}, False),
        ({"customers": [{"username": "shop", "status": "disabled"}]}, False),
        ({"media_services": [{"slug": "rock", "suspended": True}]}, False),
        ({"media_services": [{"slug": "rock", "enabled": False}]}, False),
        ({"media_services": [{"slug": "rock", "state": "absent"}]}, False),
        ({"media_services": [{"slug": "rock", "autodj": None}]}, False),
        ({"media_users": [{"customer": "alice", "name": "studio", "enabled": False}]}, False),
        ({"media_services": [{"slug": "rock", "autodj": {"enabled": False}}]}, True),
    ],
    ids=lambda value: str(value)[:80],
)
def test_who_is_switched_off_cannot_log_in(library: None, run: Run, document: dict[str, Any], there: bool) -> None:
    run(login(password=SECRET))
    generation = Node.objects.get(name="node1").generation
    run(document)
    assert [item["login"] for item in told()] == (["alice.studio"] if there else [])
    assert Node.objects.get(name="node1").generation > generation


def test_over_quota_can_still_make_room(library: None, run: Run) -> None:
    run(login(password=SECRET))
    MediaService.objects.filter(slug="rock").update(over_quota=True, stopped=True)
    assert len(told()) == 1
