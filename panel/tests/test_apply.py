"""Documents: what is created, changed, kept, deleted, restored."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from streamfleet_panel import secrets
from streamfleet_panel.apply import ApiError
from streamfleet_panel.models import Account, AuditLog, Dj, MediaService, Node, Playlist
from tests_support import WORLD, apply_as, stand

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]


def actions(answer: dict[str, Any]) -> dict[str, str]:
    return {result["key"]: result["action"] for result in answer["results"]}


def test_objects_may_refer_to_each_other_in_any_order(run: Run) -> None:
    answer = run(
        {
            "media_services": [{"slug": "rock", "customer": "alice", "engine": "icecast"}],
            "customers": [{"username": "alice", "reseller": "shop"}, {"username": "shop", "reseller_plan": "gold"}],
            "reseller_plans": [{"name": "gold"}],
            "nodes": [{"name": "node1", "address": "192.0.2.1", "engines": ["icecast"]}],
        }
    )
    assert answer["summary"]["created"] == 5
    # In the order of the document.
    assert [result["key"] for result in answer["results"]] == ["rock", "alice", "shop", "gold", "node1"]
    assert [result["path"] for result in answer["results"]][:2] == ["media_services[0]", "customers[0]"]
    service = MediaService.objects.get(slug="rock")
    assert service.customer.reseller is not None
    assert service.customer.reseller.reseller_plan.name == "gold"


def test_a_second_apply_changes_nothing(run: Run) -> None:
    run(WORLD)
    audit = AuditLog.objects.count()
    generations = list(Node.objects.values_list("name", "generation"))
    answer = run(WORLD)
    assert not answer["changed"]
    assert answer["nodes"] == {}
    assert answer["summary"]["unchanged"] == sum(len(items) for items in WORLD.values())
    assert AuditLog.objects.count() == audit
    assert list(Node.objects.values_list("name", "generation")) == generations


def test_dry_run_writes_nothing_and_predicts_everything(run: Run) -> None:
    predicted = run(WORLD, dry_run=True)
    assert predicted["dry_run"]
    assert Account.objects.count() == 0
    assert AuditLog.objects.count() == 0
    assert {**run(WORLD), "dry_run": True} == predicted


def test_omitted_fields_stay(world: None, run: Run) -> None:
    run({"media_services": [{"slug": "rock", "suspended": True, "suspend_reason": "unpaid"}]})
    answer = run(WORLD)
    assert not answer["changed"]
    service = MediaService.objects.get(slug="rock")
    assert service.suspended
    assert service.suspend_reason == "unpaid"


def test_null_is_none(world: None, run: Run) -> None:
    answer = run({"customers": [{"username": "alice", "email": None}]})
    assert answer["results"][0]["changes"] == {"email": {"before": "alice@example.net", "after": None}}
    answer = run({"media_services": [{"slug": "bob-tv", "max_listeners": None}]})
    assert not answer["changed"]


def test_defaults_of_a_new_service(world: None, run: Run) -> None:
    answer = run({"media_services": [{"slug": "new", "customer": "bob", "engine": "icecast"}]}, return_objects=True)
    created = answer["results"][0]["object"]
    assert created["service_type"] == "radio"
    assert created["node"] == "node1"  # node2 drains, and has no icecast
    assert created["port"] == 8103  # three stations are there
    assert created["name"] == "new"
    assert created["mounts"][0]["name"] == "/stream"
    assert created["max_listeners"] is None


def test_the_emptiest_node_is_chosen(world: None, run: Run) -> None:
    run({"nodes": [{"name": "node3", "address": "192.0.2.12", "engines": ["icecast"]}]})
    slugs = [f"s{number}" for number in range(6)]
    run({"media_services": [{"slug": slug, "customer": "bob", "engine": "icecast"} for slug in slugs]})
    # node1 has five services, node3 none: the first five go to node3, then the names decide.
    nodes = dict(MediaService.objects.filter(slug__in=slugs).values_list("slug", "node__name"))
    assert [nodes[slug] for slug in slugs] == ["node3"] * 5 + ["node1"]


def test_named_ports_go_before_free_ones(world: None, run: Run) -> None:
    run(
        {
            "media_services": [
                {"slug": "any", "customer": "bob", "engine": "icecast"},
                {"slug": "named", "customer": "bob", "engine": "icecast", "port": 8103},
            ]
        }
    )
    ports = dict(MediaService.objects.filter(slug__in=["any", "named"]).values_list("slug", "port"))
    assert ports == {"named": 8103, "any": 8104}


def test_engines_with_several_ports_get_them_in_a_row(run: Run) -> None:
    node = {"name": "n", "address": "192.0.2.20", "engines": ["icecast", "shoutcast2"]}
    run({"nodes": [{**node, "port_range_start": 8100, "port_range_end": 8106}], "customers": [{"username": "bob"}]})

    def ports(*services: tuple[str, str, int | None]) -> dict[str, int]:
        entries = [
            {"slug": slug, "customer": "bob", "engine": engine, **({"port": port} if port else {})}
            for slug, engine, port in services
        ]
        run({"media_services": entries})
        return dict(MediaService.objects.filter(slug__in=[slug for slug, *_ in services]).values_list("slug", "port"))

    def refused(message: str, *services: tuple[str, str, int | None]) -> None:
        with pytest.raises(ApiError) as caught:
            ports(*services)
        assert message in str(caught.value.errors)

    assert ports(("one", "icecast", 8101)) == {"one": 8101}
    # A pair does not fit below 8101, and what comes after it still finds the one port there.
    assert ports(("two", "shoutcast2", None), ("three", "icecast", None)) == {"two": 8102, "three": 8100}
    refused("is taken on n", ("four", "shoutcast2", 8101))
    refused("is taken on n", ("four", "icecast", 8103))
    refused("is outside the port range of n (8100-8106)", ("four", "shoutcast2", 8106))
    # It moves by one, onto a port that was its own second.
    assert ports(("two", "shoutcast2", 8103)) == {"two": 8103}
    assert ports(("four", "shoutcast2", None), ("five", "icecast", None)) == {"four": 8105, "five": 8102}
    refused("no port is free on n", ("six", "icecast", None))


def test_keys_that_no_two_items_may_share(world: None, run: Run) -> None:
    run({"nodes": [{"name": "node1", "engines": ["icecast", "nginx_rtmp", "shoutcast2"]}]})
    service: dict[str, Any] = {"slug": "sc", "customer": "bob", "engine": "shoutcast2"}
    twice = [{"id": 3, "name": "/a"}, {"id": 4, "name": "/b"}, {"id": 3, "name": "/c"}]
    with pytest.raises(ApiError) as caught:
        run({"media_services": [{**service, "streams": twice}]})
    assert [(error.path, error.value) for error in caught.value.errors] == [("media_services[0].streams[2].id", 3)]
    run({"media_services": [{**service, "streams": twice[:2]}]})


def test_generations(world: None, run: Run) -> None:
    node = Node.objects.get(name="node1")
    before = node.generation
    answer = run({"media_services": [{"slug": "rock", "name": "Rock!"}, {"slug": "tv", "max_bitrate_kbps": 300}]})
    assert answer["nodes"] == {"node1": before + 1}
    generations = dict(MediaService.objects.values_list("slug", "generation"))
    assert generations["rock"] == generations["tv"] == before + 1
    assert generations["bob-tv"] == before
    # What the node does not see does not move it.
    assert run({"media_services": [{"slug": "rock", "max_mounts": 3}]})["nodes"] == {}
    assert run({"customers": [{"username": "alice", "name": "Alice"}]})["nodes"] == {}
    assert run({"nodes": [{"name": "node1", "facts": {"cores": 2}}]})["nodes"] == {}
    assert run({"nodes": [{"name": "node1", "stream_host": "s.example.net"}]})["nodes"] == {"node1": before + 2}


@pytest.mark.parametrize("who", ["alice", "shop"])
def test_a_disabled_account_takes_its_services_off(world: None, run: Run, who: str) -> None:
    before = Node.objects.get(name="node1").generation
    predicted = run({"customers": [{"username": who, "status": "disabled"}]}, dry_run=True)
    answer = run({"customers": [{"username": who, "status": "disabled"}]})
    assert predicted["nodes"] == answer["nodes"]
    assert answer["nodes"] == {"node1": before + 1}
    states = {s.slug: s.desired_state()[0] for s in MediaService.objects.select_related("customer__reseller")}
    assert states["rock"] == states["tv"] == "disabled"
    assert states["shop-fm"] == ("disabled" if who == "shop" else "running")
    assert states["bob-tv"] == "running"
    generations = dict(MediaService.objects.values_list("slug", "generation"))
    assert generations["rock"] == before + 1
    assert generations["bob-tv"] == before
    assert run({"customers": [{"username": who, "status": "enabled"}]})["nodes"] == {"node1": before + 2}


def test_deleting_a_customer_takes_its_services_along(world: None, run: Run) -> None:
    answer = run({"customers": [{"username": "alice", "state": "absent"}]})
    assert actions(answer) == {"alice": "deleted", "rock": "deleted", "tv": "deleted"}
    assert answer["results"][1]["path"] == "customers[0]"
    assert set(MediaService.objects.filter(deleted_at=None).values_list("slug", flat=True)) == {
        "shop-fm",
        "eve-fm",
        "bob-tv",
    }
    # Kept, with its port, for the grace period; deleting again changes nothing.
    assert MediaService.objects.get(slug="rock").port == 8100
    assert not run({"customers": [{"username": "alice", "state": "absent"}]})["changed"]


def test_present_restores_with_data(world: None, run: Run) -> None:
    service = MediaService.objects.get(slug="rock")
    credentials, uid = service.credentials, service.customer.uid
    run({"customers": [{"username": "alice", "state": "absent"}]})
    document = {
        "customers": [{"username": "alice"}],
        "media_services": [{"slug": "rock", "customer": "alice", "engine": "icecast"}],
    }
    answer = run(document)
    assert answer["results"][0]["changes"] == {"state": {"before": "absent", "after": "present"}}
    service = MediaService.objects.get(slug="rock")
    assert service.deleted_at is None
    assert service.credentials == credentials
    assert service.customer.uid == uid
    # What was not named stays deleted.
    assert MediaService.objects.get(slug="tv").deleted_at is not None


def test_a_slug_in_grace_belongs_to_its_owner(world: None, run: Run) -> None:
    run({"media_services": [{"slug": "rock", "state": "absent"}]})
    for username, customer in ((None, "bob"), ("rival", "eve"), ("shop", "carol")):
        with pytest.raises(ApiError) as refused:
            run({"media_services": [{"slug": "rock", "customer": customer, "engine": "icecast"}]}, username)
        assert refused.value.status == 422
        assert refused.value.errors[0].path == "media_services[0].slug"


def test_plans_and_nodes_in_use_stay(world: None, run: Run) -> None:
    with pytest.raises(ApiError) as refused:
        run(
            {
                "reseller_plans": [{"name": "gold", "state": "absent"}],
                "nodes": [{"name": "node1", "state": "absent"}],
            }
        )
    messages = [problem.message for problem in refused.value.errors]
    assert messages == [
        "this reseller plan is in use by shop",
        "this node is in use by bob-tv, eve-fm, rock, shop-fm, tv",
    ]
    run({"nodes": [{"name": "node2", "state": "absent"}]})
    assert not Node.objects.filter(name="node2").exists()
    # Taken away and deleted in one document.
    run(
        {
            "reseller_plans": [{"name": "free", "state": "absent"}],
            "customers": [{"username": "eve", "state": "absent"}, {"username": "rival", "reseller_plan": None}],
        }
    )


def test_a_plan_given_in_the_same_document_is_in_use(world: None, run: Run) -> None:
    run({"reseller_plans": [{"name": "spare"}]})
    with pytest.raises(ApiError) as refused:
        run(
            {
                "reseller_plans": [{"name": "spare", "state": "absent"}],
                "customers": [{"username": "bob", "reseller_plan": "spare"}],
            }
        )
    assert refused.value.errors[0].message == "this reseller plan is in use by bob"


def test_a_reseller_with_customers_stays(world: None, run: Run) -> None:
    with pytest.raises(ApiError) as refused:
        run({"customers": [{"username": "shop", "state": "absent"}]})
    assert refused.value.errors[0].message == "this reseller still has customers: alice, carol"
    everyone = [{"username": name, "state": "absent"} for name in ("shop", "alice", "carol")]
    assert run({"customers": everyone})["summary"]["deleted"] == 6


def test_labels_and_prune(world: None, run: Run) -> None:
    document = {
        "customers": [{"username": "l1"}, {"username": "l2"}],
        "media_services": [{"slug": "ls", "customer": "l1", "engine": "nginx_rtmp"}],
    }
    run(document, label="shop-a")
    assert not run(document, label="shop-a", prune=True)["changed"]
    del document["customers"][1]
    answer = run(document, label="shop-a", prune=True, dry_run=True)
    assert actions(answer) == {"l1": "unchanged", "ls": "unchanged", "l2": "deleted"}
    assert Account.objects.get(username="l2").deleted_at is None
    run(document, label="shop-a", prune=True)
    assert Account.objects.get(username="l2").deleted_at is not None
    # Others' objects are not touched, whatever the document lacks.
    assert Account.objects.get(username="bob").deleted_at is None


def test_prune_is_guarded(world: None, run: Run) -> None:
    run({"customers": [{"username": f"l{number}"} for number in range(12)]}, label="many")
    with pytest.raises(ApiError) as refused:
        run({"customers": []}, label="many", prune=True)
    assert (refused.value.code, refused.value.status) == ("max_delete_exceeded", 409)
    assert len(refused.value.errors) == 12
    assert refused.value.errors[0].value == "l0"
    assert run({"customers": []}, label="many", prune=True, max_delete=12)["summary"]["deleted"] == 12


def test_services_that_go_with_a_pruned_customer_count(world: None, run: Run) -> None:
    run({"customers": [{"username": "l1"}]}, label="x")
    services = [{"slug": f"s{n}", "customer": "l1", "engine": "nginx_rtmp"} for n in range(3)]
    run({"media_services": services})
    with pytest.raises(ApiError) as refused:
        run({}, label="x", prune=True, max_delete=3)
    assert refused.value.code == "max_delete_exceeded"
    assert run({}, label="x", prune=True, max_delete=4)["summary"]["deleted"] == 4


def test_a_label_is_taken_over_visibly(world: None, run: Run) -> None:
    run({"customers": [{"username": "bob"}]}, label="a")
    answer = run({"customers": [{"username": "bob"}]}, label="b")
    assert answer["results"][0]["changes"] == {"label": {"before": "a", "after": "b"}}
    assert not run({}, label="a", prune=True)["changed"]


def test_prune_stays_within_reach(world: None, run: Run) -> None:
    run({"customers": [{"username": "alice"}, {"username": "eve"}, {"username": "bob"}]}, label="same")
    answer = run({"customers": []}, "shop", label="same", prune=True)
    assert actions(answer) == {"alice": "deleted", "rock": "deleted", "tv": "deleted"}
    # A customer may delete nothing, so its prune deletes nothing.
    assert not run({"customers": []}, "eve", label="same", prune=True)["changed"]


def test_passwords(world: None, run: Run) -> None:
    run({"customers": [{"username": "new", "password": "first1"}]})
    assert Account.objects.get(username="new").check_password("first1")
    # on_create: left alone.
    assert not run({"customers": [{"username": "new", "password": "second"}]})["changed"]
    assert Account.objects.get(username="new").check_password("first1")
    changed = run({"customers": [{"username": "new", "password": "second"}]}, update_password="always")
    assert changed["results"][0]["changes"] == {"password": {"before": "********", "after": "********"}}
    assert Account.objects.get(username="new").check_password("second")
    stored = Account.objects.get(username="new").password
    assert not run({"customers": [{"username": "new", "password": "second"}]}, update_password="always")["changed"]
    assert Account.objects.get(username="new").password == stored
    dry = run({"customers": [{"username": "new", "password": "third3"}]}, update_password="always", dry_run=True)
    assert dry["summary"]["updated"] == 1
    assert Account.objects.get(username="new").password == stored


def test_lifting_a_suspension_lifts_its_end(world: None, run: Run) -> None:
    run({"media_services": [{"slug": "rock", "suspended": True, "suspended_until": "2099-01-01T00:00:00+02:00"}]})
    again = {"media_services": [{"slug": "rock", "suspended": True, "suspended_until": "2098-12-31T22:00:00Z"}]}
    assert not run(again)["changed"]
    run({"media_services": [{"slug": "rock", "suspended": False}]})
    assert MediaService.objects.get(slug="rock").suspended_until is None


def test_credentials(world: None, run: Run) -> None:
    before = MediaService.objects.get(slug="rock").credentials
    assert set(before) == {"source_password", "admin_password", "autodj_password"}
    assert len(before["source_password"]) == 24
    answer = run({"media_services": [{"slug": "rock", "source_password": "new-secret-1"}]})
    assert answer["results"][0]["changes"] == {"source_password": {"before": "********", "after": "********"}}
    after = MediaService.objects.get(slug="rock").credentials
    assert after == {**before, "source_password": "new-secret-1"}
    assert not run({"media_services": [{"slug": "rock", "source_password": "new-secret-1"}]})["changed"]
    assert "new-secret-1" not in MediaService.objects.get(slug="rock").credentials_encrypted


def test_a_credential_of_a_later_release_is_made_when_it_may_be_needed(world: None, run: Run) -> None:
    service = MediaService.objects.get(slug="rock")
    old = {"source_password": "source-pw-1", "admin_password": "admin-pw-1"}
    service.credentials_encrypted = secrets.encrypt(old)
    service.save()
    run({"media_services": [{"slug": "rock", "max_listeners": 90}]})
    assert MediaService.objects.get(slug="rock").credentials == old
    answer = run({"media_services": [{"slug": "rock", "autodj": {}}]})
    assert answer["results"][0]["changes"]["autodj_password"] == {"before": "********", "after": "********"}
    made = MediaService.objects.get(slug="rock").credentials
    assert {name: made[name] for name in old} == old
    assert len(made["autodj_password"]) == 24
    run({"media_services": [{"slug": "rock", "autodj": None}]})
    assert MediaService.objects.get(slug="rock").credentials == made


def test_stream_keys_are_unique(world: None, run: Run) -> None:
    key = "k" * 20
    run({"media_services": [{"slug": "tv", "stream_key": key}]})
    for document in (
        {"media_services": [{"slug": "bob-tv", "stream_key": key}]},
        {"media_services": [{"slug": "x", "customer": "bob", "engine": "nginx_rtmp", "stream_key": key}]},
    ):
        with pytest.raises(ApiError) as refused:
            run(document)
        assert refused.value.errors[0].path == "media_services[0].stream_key"
        assert refused.value.errors[0].value is None
    both = [{"slug": s, "customer": "bob", "engine": "nginx_rtmp", "stream_key": "z" * 20} for s in ("x", "y")]
    with pytest.raises(ApiError):
        run({"media_services": both})
    # Given up, it is free.
    run({"media_services": [{"slug": "tv", "stream_key": "n" * 20}]})
    run({"media_services": [{"slug": "bob-tv", "stream_key": key}]})


def test_engine_fields_equal_in_meaning_are_equal(world: None, run: Run) -> None:
    mounts = [{"name": "/stream", "format": "mp3"}, {"name": "/low", "bitrate_kbps": 64, "fallback": "/stream"}]
    answer = run({"media_services": [{"slug": "rock", "mounts": mounts}]})
    assert answer["results"][0]["changes"]["mounts"]["after"][1] == {
        "name": "/low",
        "format": "mp3",
        "bitrate_kbps": 64,
        "max_listeners": None,
        "fallback": "/stream",
        "fallback_when_full": False,
        "default": False,
    }
    assert not run({"media_services": [{"slug": "rock", "mounts": mounts}]})["changed"]


def test_an_object_can_be_sent_back_as_it_was_read(world: None, run: Run) -> None:
    answer = run({"media_services": [{"slug": "rock"}]}, return_objects=True)
    from streamfleet_panel.apply.fields import KINDS

    fields = {*KINDS["media_service"], "mounts", "genre", "description", "website", "autodj"}
    back = {name: value for name, value in answer["results"][0]["object"].items() if name in fields}
    assert not run({"media_services": [back]})["changed"]
    assert not run({"media_services": [back]}, "alice")["changed"]


NAMES = st.sampled_from(["alice", "bob", "new1", "new2", "shop"])
TEXTS = st.one_of(st.none(), st.sampled_from(["x", "Żółć 🎶", "'; DROP TABLE", "{{ 7*7 }}", "#{1}", "]]>", '"\\']))
CUSTOMER = st.fixed_dictionaries(
    {"username": NAMES, "status": st.sampled_from(["enabled", "disabled"])},
    optional={
        "name": TEXTS,
        "api_access": st.booleans(),
        "state": st.sampled_from(["present", "absent"]),
    },
)
SERVICE = st.fixed_dictionaries(
    {"slug": st.sampled_from(["rock", "bob-tv", "s1", "s2", "s3"])},
    optional={
        "customer": st.sampled_from(["alice", "bob", "new1", "ghost"]),
        "engine": st.sampled_from(["icecast", "nginx_rtmp"]),
        "name": st.sampled_from(["A", "Ü 🎶", "; rm -rf"]),
        "suspended": st.booleans(),
        "max_listeners": st.one_of(st.none(), st.integers(-1, 3)),
        "port": st.one_of(st.none(), st.integers(8098, 8105)),
        "autodj": st.sampled_from([None, {}]),
        "live_port": st.one_of(st.none(), st.integers(8098, 8105)),
        "state": st.sampled_from(["present", "absent"]),
    },
)
PLAYLIST = st.fixed_dictionaries(
    {"media_service": st.sampled_from(["rock", "s1", "bob-tv"]), "name": st.sampled_from(["day", "jingles", "p1"])},
    optional={
        "folder": st.sampled_from([None, ".", "music", "../x"]),
        "files": st.sampled_from([None, ["a.mp3"], []]),
        "type": st.sampled_from(["rotation", "scheduled", "jingle"]),
        "active": st.sampled_from([None, [{"start": "22:00", "end": "02:00"}]]),
        "every_tracks": st.sampled_from([None, 3]),
        "weight": st.integers(0, 3),
        "state": st.sampled_from(["present", "absent"]),
    },
)
DJ = st.fixed_dictionaries(
    {"media_service": st.sampled_from(["rock", "s1", "bob-tv"]), "username": st.sampled_from(["anna", "ben"])},
    optional={
        "name": st.sampled_from([None, "", "Ü 🎶"]),
        "password": st.sampled_from(["correct-horse", "short", None]),
        "scheduled_only": st.booleans(),
        "active": st.sampled_from([None, [{"start": "22:00", "end": "02:00"}]]),
        "priority": st.integers(0, 3),
        "state": st.sampled_from(["present", "absent"]),
    },
)
DOCUMENT = st.fixed_dictionaries(
    {},
    optional={
        "customers": st.lists(CUSTOMER, max_size=4, unique_by=lambda item: item["username"]),
        "media_services": st.lists(SERVICE, max_size=4, unique_by=lambda item: item["slug"]),
        "playlists": st.lists(PLAYLIST, max_size=3, unique_by=lambda item: (item["media_service"], item["name"])),
        "djs": st.lists(DJ, max_size=3, unique_by=lambda item: (item["media_service"], item["username"])),
    },
)


class Properties(TestCase):
    """For any documents: what is predicted is what happens, twice is once, refused is unchanged."""

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(DOCUMENT, min_size=1, max_size=3), st.sampled_from([None, "shop", "alice"]))
    def test_plan_is_outcome_and_twice_is_once(self, documents: list[dict[str, Any]], username: str | None) -> None:
        stand("world", lambda: apply_as(None, copy.deepcopy(WORLD)))
        for document in documents:
            before = snapshot()
            try:
                predicted = apply_as(username, copy.deepcopy(document), dry_run=True)
            except ApiError as error:
                refused = error.as_dict()
                with pytest.raises(ApiError) as again:
                    apply_as(username, copy.deepcopy(document))
                unequal = [
                    pair for pair in ((again.value.as_dict(), refused), (snapshot(), before)) if pair[0] != pair[1]
                ]
                if unequal:
                    pytest.fail(f"a refused document is refused otherwise, or changes something: {unequal}")
                continue
            assert snapshot() == before
            outcome = apply_as(username, copy.deepcopy(document))
            assert {**outcome, "dry_run": True} == predicted
            assert outcome["changed"] == (snapshot() != before)
            after = snapshot()
            repeated = apply_as(username, copy.deepcopy(document))
            assert not repeated["changed"], repeated
            assert snapshot() == after


def snapshot() -> list[Any]:
    """Everything stored that a document can change."""
    return [list(model.objects.order_by("pk").values_list()) for model in (Account, MediaService, Playlist, Dj, Node)]
