"""Resellers' limits: each service and all together, on the state that a document would leave."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from streamfleet_panel.apply import ApiError
from streamfleet_panel.models import MediaService

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]

FINE = {"customer": "carol", "engine": "icecast", "max_listeners": 10, "max_mounts": 1, "max_bitrate_kbps": 128}


def refusals(run: Run, document: dict[str, Any], who: str | None = "shop") -> list[tuple[str, str]]:
    with pytest.raises(ApiError) as refused:
        run(document, who)
    assert refused.value.status == 422
    return [(problem.path, problem.message) for problem in refused.value.errors]


@pytest.mark.parametrize("who", ["shop", None])
@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"max_bitrate_kbps": 321}, "max_bitrate_kbps", "is above max_bitrate_kbps of the plan gold (320)"),
        ({"max_bitrate_kbps": None}, "max_bitrate_kbps", "unlimited is above max_bitrate_kbps of the plan gold (320)"),
        ({"max_mounts": 6}, "max_mounts", "is above max_mounts_per_service of the plan gold (5)"),
        ({"max_mounts": None}, "max_mounts", "unlimited is above max_mounts_per_service of the plan gold (5)"),
        (
            {"max_listeners": 891},
            "max_listeners",
            "shop would use 1001 in all, the plan gold allows 1000 (max_listeners)",
        ),
        (
            {"max_listeners": None},
            "max_listeners",
            "a service of shop is unlimited, the plan gold allows 1000 in all (max_listeners)",
        ),
    ],
)
def test_new_services(world: None, run: Run, who: str | None, fields: dict[str, Any], path: str, message: str) -> None:
    found = refusals(run, {"media_services": [{"slug": "new", **FINE, **fields}]}, who)
    assert (f"media_services[0].{path}", message) in found


def test_up_to_the_limit(world: None, run: Run) -> None:
    # 100 + 10 are given out.
    run({"media_services": [{"slug": "new", **FINE, "max_listeners": 890}]}, "shop")
    assert refusals(run, {"media_services": [{"slug": "rock", "max_listeners": 101}]}) != []
    # Moved within one document.
    run({"media_services": [{"slug": "new", "max_listeners": 880}, {"slug": "rock", "max_listeners": 110}]}, "shop")


def test_numbers_of_services_and_customers(world: None, run: Run) -> None:
    services = [{"slug": f"s{n}", **FINE} for n in range(4)]
    assert refusals(run, {"media_services": services}) == [
        ("media_services[3]", "shop would use 7 in all, the plan gold allows 6 (max_media_services)")
    ]
    run({"media_services": services[:3]}, "shop")
    customers = [{"username": f"c{n}"} for n in range(4)]
    assert refusals(run, {"customers": customers}) == [
        ("customers[3]", "shop would use 6 in all, the plan gold allows 5 (max_customers)")
    ]
    run({"customers": customers[:3]}, "shop")


def test_deleting_makes_room_and_restoring_takes_it(world: None, run: Run) -> None:
    run({"media_services": [{"slug": f"s{n}", **FINE} for n in range(3)]}, "shop")
    run({"media_services": [{"slug": "rock", "state": "absent"}, {"slug": "s9", **FINE}]}, "shop")
    assert refusals(run, {"media_services": [{"slug": "rock"}]}) == [
        ("media_services[0]", "shop would use 7 in all, the plan gold allows 6 (max_media_services)")
    ]


def test_what_does_not_touch_limits_is_free(world: None, run: Run) -> None:
    # The plan was lowered below what is in use, which only administrators may, by raising nothing.
    run({"media_services": [{"slug": "rock", "name": "Rock 2"}]}, "alice")
    run({"media_services": [{"slug": "eve-fm", "max_listeners": None}]}, "rival")


def test_lowering_a_plan_below_its_use(world: None, run: Run) -> None:
    assert refusals(run, {"reseller_plans": [{"name": "gold", "max_listeners": 109}]}, None) == [
        (
            "reseller_plans[0].max_listeners",
            "shop would use 110 in all, the plan gold allows 109 (max_listeners)",
        )
    ]
    run({"reseller_plans": [{"name": "gold", "max_listeners": 110}]})


def test_changing_a_resellers_plan(world: None, run: Run) -> None:
    run({"reseller_plans": [{"name": "tiny", "max_customers": 1}]})
    assert refusals(run, {"customers": [{"username": "shop", "reseller_plan": "tiny"}]}, None) == [
        ("customers[0].reseller_plan", "shop would use 2 in all, the plan tiny allows 1 (max_customers)")
    ]


def test_a_customer_that_moves_brings_its_services(world: None, run: Run) -> None:
    found = refusals(run, {"customers": [{"username": "eve", "reseller": "shop"}]}, None)
    assert ("customers[0].max_bitrate_kbps", "unlimited is above max_bitrate_kbps of the plan gold (320)") in found


def test_allowed_engines(world: None, run: Run) -> None:
    run({"reseller_plans": [{"name": "free", "allowed_engines": ["icecast"]}]})
    document = {"media_services": [{"slug": "new", "customer": "eve", "engine": "nginx_rtmp"}]}
    assert refusals(run, document, "rival") == [
        ("media_services[0].engine", "is not allowed by the plan free of rival")
    ]


def test_mounts_count_only_where_there_are_mounts(world: None, run: Run) -> None:
    # A video channel has no mounts: not naming max_mounts is no claim to unlimited ones.
    video = {"slug": "new", "customer": "carol", "engine": "nginx_rtmp", "max_bitrate_kbps": 320}
    run({"media_services": [video]}, "shop")


VIDEO = {"customer": "carol", "engine": "nginx_rtmp", "max_bitrate_kbps": 320}


def test_an_engine_without_a_listener_limit_is_not_unlimited_and_takes_nothing(world: None, run: Run) -> None:
    """Its viewers are counted by nobody: they are neither within the plan's sum nor above it."""
    run({"media_services": [{"slug": "new", **VIDEO}]}, "shop")
    # All that is left of the sum is left for those who count.
    run({"media_services": [{"slug": "rock", "max_listeners": 990}]}, "shop")
    assert refusals(run, {"media_services": [{"slug": "rock", "max_listeners": 991}]}) == [
        ("media_services[0].max_listeners", "shop would use 1001 in all, the plan gold allows 1000 (max_listeners)")
    ]
    # Its bitrate is held, so that has to be named.
    assert refusals(run, {"media_services": [{"slug": "more", **VIDEO, "max_bitrate_kbps": None}]}) == [
        ("media_services[0].max_bitrate_kbps", "unlimited is above max_bitrate_kbps of the plan gold (320)")
    ]


def test_a_plan_that_bounds_every_listener_leaves_out_engines_that_count_none(world: None, run: Run) -> None:
    run({"media_services": [{"slug": "tv", "state": "absent"}]}, "shop")
    run({"reseller_plans": [{"name": "gold", "allowed_engines": ["icecast"]}]})
    assert refusals(run, {"media_services": [{"slug": "new", **VIDEO}]}) == [
        ("media_services[0].engine", "is not allowed by the plan gold of shop")
    ]


@pytest.mark.parametrize("who", ["shop", None])
def test_a_limit_that_the_engine_does_not_hold_is_refused(world: None, run: Run, who: str | None) -> None:
    with pytest.raises(ApiError) as refused:
        run({"media_services": [{"slug": "new", **VIDEO, "max_listeners": 5}, {"slug": "tv", "max_listeners": 9}]}, who)
    found = [(problem.path, problem.value, problem.message, problem.fix) for problem in refused.value.errors]
    fix = "Leave max_listeners out, or give null; nginx_rtmp holds max_bitrate_kbps."
    message = "is a limit that nginx_rtmp does not hold"
    assert found == [
        ("media_services[0].max_listeners", 5, message, fix),
        ("media_services[1].max_listeners", 9, message, fix),
    ]
    # None is what is true, and what is measured by the panel is not the engine's to hold.
    video = {**VIDEO, "max_listeners": None, "monthly_transfer_mb": 10, "disk_quota_mb": 10, "max_mounts": 1}
    run({"media_services": [{"slug": "new", **video}]}, who)


def test_a_customer_is_told_that_limits_are_not_its_own_only(world: None, run: Run) -> None:
    with pytest.raises(ApiError) as refused:
        run({"media_services": [{"slug": "tv", "max_listeners": 9}]}, "alice")
    assert [problem.message for problem in refused.value.errors] == ["may not be set by a customer"]


def test_limits_from_before_that_nothing_held_are_forgotten(world: None) -> None:
    MediaService.objects.update(max_listeners=7)
    module = importlib.import_module("streamfleet_panel.migrations.0004_limits_not_held")
    module.forget(apps, SimpleNamespace(connection=connection))
    found = dict(MediaService.objects.values_list("slug", "max_listeners"))
    assert found == {"rock": 7, "shop-fm": 7, "eve-fm": 7, "tv": None, "bob-tv": None}


def test_a_bitrate_limit_binds_the_mounts_that_are_declared_already(world: None, run: Run) -> None:
    run({"media_services": [{"slug": "rock", "mounts": [{"name": "/a", "bitrate_kbps": 96}]}]})
    assert refusals(run, {"media_services": [{"slug": "rock", "max_bitrate_kbps": 64}]}) == [
        ("media_services[0].max_bitrate_kbps", "is below the bitrate of /a (96)")
    ]
    run({"media_services": [{"slug": "rock", "max_bitrate_kbps": 96}]}, "shop")
