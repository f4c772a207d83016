"""Schedules: what is stored, refused, shown and deleted, and what of it services and nodes notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from streamfleet_panel import nodedoc
from streamfleet_panel.apply import ApiError, schedules
from streamfleet_panel.models import AuditLog, Dj, MediaService, Node, Playlist, Schedule
from tests_support import Api

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
L = "schedules[0]"
NIGHT: dict[str, Any] = {"playlist": "night", "start": "22:00", "end": "02:00"}
SHOW: dict[str, Any] = {"dj": "anna", "start": "09:00", "end": "10:00"}
EVE = {"start_date": "2026-12-24", "end_date": "2026-12-24"}


@pytest.fixture
def station(world: None, run: Run) -> None:
    """rock, with a playlist that has no times of its own, and a DJ."""
    run(
        {
            "media_services": [{"slug": "rock", "autodj": {"timezone": "Europe/Prague"}}],
            "playlists": [
                {"media_service": "rock", "name": "night", "type": "scheduled", "folder": "quiet"},
                {
                    "media_service": "rock",
                    "name": "news",
                    "folder": "n",
                    "active": [{"start": "12:00", "end": "12:10"}],
                },
            ],
            "djs": [{"media_service": "rock", "username": "anna", "scheduled_only": True}],
        }
    )


def entry(name: str = "late", **fields: Any) -> dict[str, Any]:
    """A document of one schedule of rock."""
    return {"schedules": [{"media_service": "rock", "name": name, **fields}]}


def refused(run: Run, document: dict[str, Any], who: str | None = None, **options: Any) -> ApiError:
    def snapshot() -> list[Any]:
        models = (Schedule, Playlist, Dj, MediaService, Node, AuditLog)
        return [list(model.objects.order_by("pk").values_list()) for model in models]

    before = snapshot()
    with pytest.raises(ApiError) as caught:
        run(document, who, **options)
    assert snapshot() == before
    return caught.value


def test_a_new_entry_has_the_defaults(station: None, run: Run) -> None:
    answer = run(entry(**NIGHT), return_objects=True)
    result = answer["results"][0]
    assert (result["kind"], result["key"], result["path"], result["action"]) == ("schedule", "rock/late", L, "created")
    created = dict(result["object"])
    assert created.pop("created_at")
    assert created == {
        "media_service": "rock",
        "name": "late",
        **NIGHT,
        "dj": None,
        "days": None,
        "start_date": None,
        "end_date": None,
        "enabled": True,
        "label": None,
    }
    assert not run(entry(**NIGHT))["changed"]
    # What was read can be sent back.
    assert not run({"schedules": [{k: v for k, v in created.items() if k != "label"}]})["changed"]


def test_dates_and_days_are_stored_and_said_as_they_are_written(station: None, run: Run) -> None:
    answer = run(entry(**NIGHT, **EVE, days=["fri", "thu"]), return_objects=True)
    assert answer["results"][0]["changes"]["start_date"] == {"before": None, "after": "2026-12-24"}
    assert answer["results"][0]["object"]["days"] == ["thu", "fri"]
    assert not run(entry(**EVE))["changed"]
    later = run(entry(end_date="2026-12-31"))["results"][0]
    assert later["changes"] == {"end_date": {"before": "2026-12-24", "after": "2026-12-31"}}
    assert run(entry(start_date=None, end_date=None))["changed"]
    assert AuditLog.objects.filter(kind="schedule", key="rock/late").count() == 3


def test_one_that_is_for_another_changes_whom_it_names(station: None, run: Run) -> None:
    run(entry(**NIGHT))
    assert refused(run, entry(dj="anna")).errors[0].path == f"{L}.dj"
    changes = run(entry(playlist=None, dj="anna"))["results"][0]["changes"]
    assert changes == {"playlist": {"before": "night", "after": None}, "dj": {"before": None, "after": "anna"}}


def test_every_change_reaches_the_service_and_its_node_and_nobody_else(station: None, run: Run) -> None:
    def generations() -> tuple[int, int, int]:
        services = dict(MediaService.objects.values_list("slug", "generation"))
        return Node.objects.get(name="node1").generation, services["rock"], services["eve-fm"]

    node, _, other = generations()
    for number, fields in enumerate([NIGHT, {"days": ["fri"]}, {"enabled": False}, {"state": "absent"}], 1):
        assert run(entry(**fields))["nodes"] == {"node1": node + number}, fields
        assert generations() == (node + number, node + number, other), fields
    assert not Schedule.objects.exists()
    run(entry(**NIGHT))
    assert run(entry(), label="x")["nodes"] == {}
    pruned = run({}, label="x", prune=True)
    assert [(item["kind"], item["key"], item["action"]) for item in pruned["results"]] == [
        ("schedule", "rock/late", "deleted")
    ]


BAD: list[tuple[dict[str, Any], str, Any, str]] = [
    ({"playlist": "night", "end": "02:00"}, "start", None, "is missing"),
    ({"playlist": "night", "start": "22:00"}, "end", None, "is missing"),
    ({"start": "22:00", "end": "02:00"}, "playlist", None, "is missing, and so is dj"),
    ({**NIGHT, "dj": "anna"}, "playlist", "night", "goes not with dj"),
    ({**NIGHT, "end": "22:00"}, "end", "22:00", "is the same as start"),
    ({**NIGHT, "start": 1320}, "start", 1320, "must be a text"),
    ({**NIGHT, "end": "24:00"}, "end", "24:00", "not a time of day"),
    ({**NIGHT, "start": None}, "start", None, "may not be null"),
    ({**NIGHT, "days": []}, "days", "[]", "must be a list of days"),
    ({**NIGHT, "days": ["fri", "freitag"]}, "days[1]", "freitag", "is not a day"),
    ({**NIGHT, "days": ["fri", "fri"]}, "days[1]", "fri", "twice"),
    ({**NIGHT, "start_date": "24.12.2026"}, "start_date", "24.12.2026", "is not a date"),
    ({**NIGHT, "start_date": "20261224"}, "start_date", "20261224", "is not a date"),
    ({**NIGHT, "end_date": "2026-02-30"}, "end_date", "2026-02-30", "a day that no calendar has"),
    ({**NIGHT, "end_date": 20261224}, "end_date", 20261224, "must be a date"),
    ({**NIGHT, **EVE, "end_date": "2026-12-23"}, "end_date", "2026-12-23", "is before start_date, 2026-12-24"),
    ({**NIGHT, **EVE, "days": ["fri"]}, "days", '["fri"]', "are never: 2026-12-24 is a thu"),
    ({**NIGHT, **EVE, "end_date": "2026-12-26", "days": ["mon", "wed"]}, "days", '["mon", "wed"]', "none is between"),
    ({**NIGHT, "playlist": "nothing"}, "playlist", "nothing", "is not a playlist of this service"),
    ({**NIGHT, "playlist": "../day"}, "playlist", "../day", "has a form that is not accepted"),
    ({**SHOW, "dj": "ben"}, "dj", "ben", "is not a DJ of this service"),
    ({**NIGHT, "playlist": "day"}, "playlist", "day", "is played always, so a schedule adds nothing"),
    ({**NIGHT, "enabled": 1}, "enabled", 1, "must be true or false"),
    ({**NIGHT, "from": "22:00"}, "from", None, "is not a field"),
]


@pytest.mark.parametrize(("fields", "path", "value", "message"), BAD, ids=[f"{b[1]}-{b[3]}" for b in BAD])
def test_bad_input(station: None, run: Run, fields: dict[str, Any], path: str, value: Any, message: str) -> None:
    (problem,) = refused(run, entry(**fields)).errors
    assert (problem.path, problem.value) == (f"{L}.{path}", value)
    assert message in problem.message
    assert problem.fix


def test_dates_of_a_week_hold_every_day(station: None, run: Run) -> None:
    for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun"):
        run(entry(**NIGHT, start_date="2026-12-24", end_date="2026-12-30", days=[day]))


def test_what_a_service_without_an_autodj_cannot_have(world: None, run: Run) -> None:
    document = {"schedules": [{"media_service": "tv", "name": "late", **NIGHT}]}
    (problem,) = refused(run, document).errors
    fix = "Name a service of Icecast 2 or Wowza Streaming Engine (tv_station) or Icecast-KH."
    assert (problem.path, problem.fix) == (f"{L}.media_service", fix)


def test_a_service_has_at_most_so_many(station: None, run: Run) -> None:
    def several(count: int) -> dict[str, Any]:
        return {"schedules": [{"media_service": "rock", "name": f"s{n}", **NIGHT} for n in range(count)]}

    most = schedules.MOST_SCHEDULES
    assert refused(run, several(most + 1)).errors[0].message == (
        f"rock would have {most + 1} schedules, at most {most} fit"
    )
    run(several(most))
    assert refused(run, entry(**NIGHT)).errors[0].path == L


def test_what_overlaps_is_taken_since_the_station_has_a_rule_for_it(station: None, run: Run) -> None:
    """Scheduled playlists of the same hour take turns, and of DJs the one with the higher priority is heard."""
    run(entry("one", **NIGHT))
    run(entry("two", **NIGHT))
    run(entry("three", playlist="news", start="23:00", end="23:30"))
    assert Schedule.objects.count() == 3


def test_declared_along_with_what_it_names_in_any_order(world: None, run: Run) -> None:
    run(
        {
            "schedules": [
                {"media_service": "fm", "name": "late", **NIGHT},
                {"media_service": "fm", "name": "show", **SHOW},
            ],
            "djs": [{"media_service": "fm", "username": "anna"}],
            "playlists": [{"media_service": "fm", "name": "night", "type": "scheduled", "folder": "."}],
            "media_services": [{"slug": "fm", "customer": "bob", "engine": "icecast", "autodj": {}}],
        }
    )
    owner = MediaService.objects.get(slug="fm").customer
    assert {item.owner for item in AuditLog.objects.filter(kind="schedule")} == {owner}


@pytest.mark.parametrize(
    ("collection", "key", "fields", "word"),
    [("playlists", "name", NIGHT, "playlist"), ("djs", "username", SHOW, "DJ")],
)
def test_what_an_entry_names_cannot_go_without_it(
    station: None, run: Run, collection: str, key: str, fields: dict[str, Any], word: str
) -> None:
    run(entry(**fields))
    name = fields.get("playlist") or fields["dj"]
    gone = {collection: [{"media_service": "rock", key: name, "state": "absent"}]}
    (problem,) = refused(run, gone).errors
    assert (problem.path, problem.value) == (f"{collection}[0].{key}", name)
    assert problem.message == f"is the {word} that the schedule late names"
    run({collection: [{"media_service": "rock", key: name}]}, label="x")
    (problem,) = refused(run, {}, label="x", prune=True).errors
    assert (problem.path, problem.value) == ("", name)
    # With the entry, or after it, it may.
    assert len(run({**gone, **entry(state="absent")})["results"]) == 2
    assert not Schedule.objects.exists()


def test_an_entry_cannot_come_to_mean_nothing(station: None, run: Run) -> None:
    run(entry(**NIGHT))
    change = {"playlists": [{"media_service": "rock", "name": "night", "type": "rotation"}]}
    (problem,) = refused(run, change).errors
    assert (problem.path, problem.fix) == (
        "playlists[0].active",
        "Keep type: scheduled or its times, or delete that schedule.",
    )
    run({**change, **entry(state="absent")})
    run(entry(**SHOW))
    # A DJ who may always connect has hours all the same, for people to read.
    run({"djs": [{"media_service": "rock", "username": "anna", "scheduled_only": False}]})


def test_it_goes_with_its_service_and_comes_back_with_it(station: None, run: Run, api: Callable[..., Api]) -> None:
    run(entry(**NIGHT))
    call = api("root")
    run({"media_services": [{"slug": "rock", "state": "absent"}]})
    assert call("GET", "/media-services/rock/schedules/late")[0] == 404
    assert call("GET", "/schedules")[1]["count"] == 0
    assert refused(run, entry(**NIGHT)).errors[0].message == "this media service is deleted"
    run({"media_services": [{"slug": "rock"}]})
    assert call("GET", "/media-services/rock/schedules/late")[1]["playlist"] == "night"


def test_routes(station: None, api: Callable[..., Api]) -> None:
    call = api("alice")
    path = "/media-services/rock/schedules/late"
    status, answer = call("PUT", f"{path}?dry_run=true", NIGHT)
    assert (status, answer["action"], call("GET", path)[0]) == (200, "created", 404)
    assert call("PUT", path, NIGHT)[1]["action"] == "created"
    assert call("PUT", path, {"media_service": "rock", "name": "late", **NIGHT})[1]["action"] == "unchanged"
    assert call("PUT", "/media-services/rock/schedules/show", SHOW)[0] == 200
    names = lambda query: [item["name"] for item in call("GET", f"/schedules{query}")[1]["items"]]  # noqa: E731
    assert names("") == ["late", "show"]
    assert names("?playlist=night") == ["late"]
    assert names("?dj=anna&media_service=rock") == ["show"]
    assert names("?search=nig") == ["late"]
    assert call("GET", "/media-services/rock/schedules?dj=nobody")[1] == {"items": [], "count": 0}
    status, answer = call("PUT", path, {"start": 1320})
    assert (status, answer["error"]["errors"][0]["path"]) == (422, f"{L}.start")
    assert call("DELETE", path)[1]["action"] == "deleted"
    assert call("DELETE", path)[0] == 404


def test_the_database_holds_to_one_of_both(station: None) -> None:
    rock = MediaService.objects.get(slug="rock")
    for wrong in ({}, {"playlist": "night", "dj": "anna"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Schedule.objects.create(media_service=rock, name="wrong", start="10:00", end="11:00", **wrong)


def test_a_scheduled_playlist_without_times_waits_for_entries(station: None) -> None:
    service = next(
        item for item in nodedoc.document(Node.objects.get(name="node1"))["services"] if item["slug"] == "rock"
    )
    assert next(item for item in service["playlists"] if item["name"] == "night")["active"] is None
    assert service["schedules"] == []
