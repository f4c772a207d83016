"""A station's calendar, listeners and mounts in the portal: who sees them, what they show, what they change."""

from __future__ import annotations

import importlib
import itertools
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from streamfleet_panel import access, transfer
from streamfleet_panel.apply import apply_document
from streamfleet_panel.apply.mounts import mounts_of
from streamfleet_panel.apply.schedule import DAYS, begins_on
from streamfleet_panel.engines import engines
from streamfleet_panel.models import MB, AuditLog, ListenerSession, MediaService, Schedule, Transfer
from streamfleet_panel.portal import week

pytestmark = pytest.mark.usefixtures("world")
MONDAY = "2026-12-21"
CALENDAR, LISTENERS, MOUNTS = (f"/services/eve-fm/{name}/" for name in ("calendar", "listeners", "mounts"))


@pytest.fixture
def eve(as_) -> Client:  # type: ignore[no-untyped-def]
    return as_("eve")


def declare(**document: Any) -> None:
    """Objects of eve-fm."""
    objects = {name: [{"media_service": "eve-fm", **item} for item in items] for name, items in document.items()}
    apply_document(objects, access.system())


def rows(text: str) -> list[str]:
    """Rows of the tables, as words."""
    found = re.findall(r"<tr role=\"row\">(.*?)</tr>", text, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in found]


# --- who sees what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CALENDAR, LISTENERS, MOUNTS, f"{MOUNTS}stream/"])
@pytest.mark.parametrize(
    ("username", "status"), [("eve", 200), ("rival", 200), ("root", 200), ("alice", 404), ("shop", 404)]
)
def test_pages_of_others_do_not_exist(as_, path: str, username: str, status: int) -> None:  # type: ignore[no-untyped-def]
    assert as_(username).get(path).status_code == status
    assert as_("").get(path)["Location"].startswith("/login/")


@pytest.mark.parametrize("username", ["alice", "shop"])
def test_others_change_nothing(as_, username: str) -> None:  # type: ignore[no-untyped-def]
    client = as_(username)
    before = (list(Schedule.objects.values()), list(MediaService.objects.order_by("pk").values()))
    for path, data in (
        (CALENDAR, {"name": "mine", "who": "dj eves-dj", "start": "10:00", "end": "11:00"}),
        (f"{CALENDAR}eves-hour/delete/", {}),
        (MOUNTS, {"name": "/mine", "format": "mp3"}),
        (f"{MOUNTS}stream/", {"format": "aac"}),
        (f"{MOUNTS}stream/delete/", {}),
    ):
        assert client.post(path, data).status_code == 404, path
    assert (list(Schedule.objects.values()), list(MediaService.objects.order_by("pk").values())) == before


def test_what_has_no_calendar_and_no_mounts(as_) -> None:  # type: ignore[no-untyped-def]
    alice = as_("alice")
    text = alice.get("/services/alice-tv/").text
    assert "/services/alice-tv/listeners/" in text
    for name in ("calendar", "mounts"):
        assert f"/services/alice-tv/{name}/" not in text
        assert alice.get(f"/services/alice-tv/{name}/").status_code == 404
    for name in ("calendar", "listeners", "mounts"):
        assert f"/services/rock-fm/{name}/" in alice.get("/services/rock-fm/").text


def test_a_channel_that_plays_by_itself_has_a_calendar_by_its_own_clock_and_no_djs(as_) -> None:  # type: ignore[no-untyped-def]
    node = {"name": "node9", "address": "192.0.2.9", "engines": ["wowza"]}
    channel = {"slug": "eve-tv", "customer": "eve", "engine": "wowza", "service_type": "tv_station", "node": "node9"}
    news = {"media_service": "eve-tv", "name": "news", "type": "scheduled", "folder": "news"}
    window = {"active": [{"start": "20:00", "end": "21:00"}]}
    zoned = {**channel, "timezone": "Asia/Tokyo", "max_listeners": 5}
    document = {"nodes": [node], "media_services": [zoned], "playlists": [{**news, **window}]}
    apply_document(document, access.system())
    eve = as_("eve")
    text = eve.get("/services/eve-tv/").text
    assert "/services/eve-tv/calendar/" in text
    assert "Every day 20:00 to 21:00" in text
    assert "Played last" in text
    assert 'id="djs"' not in text
    assert "Asia/Tokyo" in eve.get("/services/eve-tv/calendar/").text


@pytest.mark.parametrize("path", [f"{CALENDAR}?week={MONDAY}", LISTENERS, MOUNTS])
def test_constant_queries(eve: Client, path: str) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert eve.get(path).status_code == 200
        return len(captured)

    declare(mounts=[{"name": "/two"}])
    few = statements()
    times = [{"start": "10:00", "end": "11:00"}]
    declare(
        playlists=[{"name": f"p{n}", "type": "scheduled", "folder": ".", "active": times} for n in range(20)],
        djs=[{"username": f"d{n}", "active": times} for n in range(20)],
        schedules=[{"name": f"s{n}", "playlist": f"p{n}", **times[0]} for n in range(20)],
        mounts=[{"name": f"/m{n}"} for n in range(20)],
    )
    service = MediaService.objects.get(slug="eve-fm")
    listened(service, *(f"{n:032}" for n in range(1, 40)))
    assert statements() == few


# --- the calendar ---------------------------------------------------------------------------------------------------


def test_the_week_says_who_plays_when(eve: Client) -> None:
    night = {"days": ["sun", "wed"], "start": "22:00", "end": "04:00"}
    declare(
        playlists=[
            {"name": "night", "type": "scheduled", "folder": "n", "active": [night]},
            {"name": "off", "enabled": False, "type": "scheduled", "folder": "n", "active": [night]},
        ],
        schedules=[
            {
                "name": "eve",
                "playlist": "night",
                "start": "18:00",
                "end": "00:00",
                **dict.fromkeys(("start_date", "end_date"), "2026-12-24"),
            },
            {"name": "out", "dj": "eves-dj", "start": "06:00", "end": "07:00", "enabled": False},
        ],
    )
    answer = eve.get(f"{CALENDAR}?week=2026-12-23")
    days = {row.split(" 2")[0]: row for row in rows(answer.text)[1:8]}
    assert days["Mon"] == "Mon 21 Dec 09:00 to 10:00 eves-dj DJ, by eves-hour"
    assert days["Wed"].endswith("09:00 to 10:00 eves-dj DJ, by eves-hour 22:00 to 04:00 (next day) night playlist")
    assert days["Thu"].endswith("eves-hour 18:00 to 00:00 night playlist, by eve")
    assert "off" not in answer.text.split("<h2")[0].split("<tbody")[1]
    assert "At all other times: secret-list." in answer.text
    # In the picture a night is two parts, that of the Sunday before among them.
    week = answer.context["week"]
    blocks = [[(block.show.name, block.left, block.width) for block in day.blocks] for day in week.days]
    assert blocks[0] == [("night", 0, 240), ("eves-dj", 540, 60)]
    assert blocks[2] == [("eves-dj", 540, 60), ("night", 1320, 120)]
    assert blocks[3] == [("night", 0, 240), ("eves-dj", 540, 60), ("night", 1080, 360)]
    assert 'rect class="of-playlist" x="1320"' in answer.text


def test_what_is_on_at_once_is_drawn_side_by_side(eve: Client) -> None:
    declare(schedules=[{"name": "too", "dj": "eves-dj", "start": "09:30", "end": "10:30"}])
    day = eve.get(CALENDAR).context["week"].days[0]
    assert (day.lanes, len({block.top for block in day.blocks})) == (2, 2)


def test_of_a_day_with_thousands_the_first_are_shown(eve: Client) -> None:
    times = [{"start": f"{n // 60:02}:{n % 60:02}", "end": "23:59"} for n in range(100)]
    declare(playlists=[{"name": f"p{n}", "folder": ".", "type": "scheduled", "active": times} for n in range(20)])
    text = eve.get(CALENDAR).content.decode()
    # What is on from one day to the next is in the picture of both.
    assert text.count("<rect") <= 7 * 2 * week.MOST_SHOWN
    # With the one of a DJ who is there already.
    assert re.findall(r"And (\d+) more", text) == [str(2000 + 1 - week.MOST_SHOWN)] * 7
    assert len(text) < 400_000


def test_weeks_follow_each_other_and_nonsense_is_this_week(eve: Client) -> None:
    week = eve.get(f"{CALENDAR}?week={MONDAY}").context["week"]
    assert (week.before, week.after) == (date(2026, 12, 14), date(2026, 12, 28))
    today = timezone.now().astimezone(ZoneInfo("UTC")).date()
    for nonsense in ("", "x", "2026-13-01", "0001-01-01", "9999-12-31", "2026-12-21\0", "١٢٣٤-١٢-٢٤"):
        week = eve.get(CALENDAR, {"week": nonsense}).context["week"]
        assert week.is_now
        assert [day.date for day in week.days if day.is_today] == [today]


def test_the_day_is_the_stations(eve: Client) -> None:
    apply_document(
        {"media_services": [{"slug": "eve-fm", "autodj": {"timezone": "Pacific/Kiritimati"}}]}, access.system()
    )
    week = eve.get(CALENDAR).context["week"]
    assert week.zone == "Pacific/Kiritimati"
    there = timezone.now().astimezone(ZoneInfo("Pacific/Kiritimati")).date()
    assert [day.date for day in week.days if day.is_today] == [there]


ENTRY = {
    "name": "late",
    "who": "dj eves-dj",
    "days": ["sat", "fri"],
    "start": "22:00",
    "end": "02:00",
    "start_date": "2026-12-24",
    "end_date": "",
}


def test_an_entry_is_made_changed_and_deleted(eve: Client) -> None:
    answer = eve.post(CALENDAR, ENTRY, follow=True)
    assert "late is added to the calendar." in answer.text
    entry = Schedule.objects.get(name="late")
    assert (entry.dj, entry.days, entry.start, str(entry.start_date), entry.end_date) == (
        "eves-dj",
        ["fri", "sat"],
        "22:00",
        "2026-12-24",
        None,
    )
    assert "Fri, Sat 22:00 to 02:00, from 24 December 2026" in answer.text
    assert "late is saved in the calendar." in eve.post(CALENDAR, {**ENTRY, "days": []}, follow=True).text
    assert Schedule.objects.get(name="late").days is None
    assert "late is taken out of the calendar." in eve.post(f"{CALENDAR}late/delete/", follow=True).text
    assert eve.post(f"{CALENDAR}late/delete/").status_code == 404
    entries = AuditLog.objects.filter(kind="schedule", key="eve-fm/late").order_by("pk")
    assert [(item.action, item.via, item.actor_name) for item in entries] == [
        (action, "portal", "eve") for action in ("created", "updated", "deleted")
    ]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"name": "Late!"}, "name", "Has a form that is not accepted"),
        ({"who": "dj nobody"}, "who", "not one of the available choices"),
        ({"who": "playlist secret-list"}, "who", "Is played always"),
        ({"days": ["freitag"]}, "days", "not one of the available choices"),
        ({"start": "25:00"}, "start", "Is not a time of day"),
        ({"end": "22:00"}, "end", "Is the same as start"),
        ({"end_date": "2026-12-23"}, "end_date", "Is before start_date"),
        ({"start": ""}, "start", "This field is required"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_beside_its_field(
    eve: Client, change: dict[str, Any], field: str, words: str
) -> None:
    answer = eve.post(CALENDAR, {**ENTRY, **change})
    assert words in str(answer.context["form"].errors[field])
    assert not Schedule.objects.filter(name__iexact="late").exists()


def test_panel_and_autodj_agree_on_the_days_of_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "roles/autodj/files")
    chooser = importlib.import_module("streamfleet_autodj.chooser")
    bounds = [None, "2026-12-23", "2026-12-24"]
    for first, last, days in itertools.product(bounds, bounds, [None, ["mon"], ["wed", "thu"], list(DAYS)]):
        window = {"days": days, "start": "10:00", "end": "11:00", "start_date": first, "end_date": last}
        for number in range(9):
            day = date(2026, 12, 20) + timedelta(days=number)
            assert begins_on(window, day) == chooser.begins_on(window, day), (window, day)


# --- listeners ------------------------------------------------------------------------------------------------------


def listened(service: MediaService, *names: str, **fields: Any) -> None:
    ended = fields.pop("ended_at", datetime(2026, 11, 20, 13, 0, tzinfo=UTC))
    shown = {"source": "hls", "mount": "/other", "address": "2001:db8::7", "agent": "x", "bytes": 0, **fields}
    begun = fields.get("started_at", ended - timedelta(minutes=5))
    ListenerSession.objects.bulk_create(
        [
            ListenerSession(media_service=service, name=name, **{**shown, "ended_at": ended, "started_at": begun})
            for name in names
        ]
    )


def test_sessions_are_listed_the_latest_first(eve: Client) -> None:
    service = MediaService.objects.get(slug="eve-fm")
    listened(service, "1" * 32)
    listened(MediaService.objects.get(slug="rock-fm"), "2" * 32, agent="of-another")
    found = rows(eve.get(LISTENERS).text)[1:]
    assert found == [
        "26 Nov 2026, 12:00:00 1:00:05 203.0.113.7 &lt;b&gt;VLC /stream Web server 55.0",
        "20 Nov 2026, 12:55:00 0:05:00 2001:db8::7 x /other HLS 0.0",
    ]


def test_sessions_of_a_mount_and_of_a_day(eve: Client) -> None:
    service = MediaService.objects.get(slug="eve-fm")
    # Over midnight: of both days.
    over = {
        "started_at": datetime(2026, 11, 19, 23, 0, tzinfo=UTC),
        "ended_at": datetime(2026, 11, 20, 1, 0, tzinfo=UTC),
    }
    listened(service, "1" * 32, **over)

    def shown(**query: str) -> list[str]:
        return [str(session.mount) for session in eve.get(LISTENERS, query).context["page"]]

    assert shown(mount="/stream") == ["/stream"]
    assert shown(mount="/none") == shown(mount="/\0") == []
    assert shown(day="2026-11-19") == shown(day="2026-11-20") == ["/other"]
    assert shown(day="2026-11-21") == []
    assert shown(day="2026-11-26", mount="/other") == []
    for nonsense in ("yesterday", "9999-12-31", "0001-01-01", "2026-11-31"):
        answer = eve.get(LISTENERS, {"day": nonsense})
        assert f"“{nonsense}” is not a day." in answer.text
        assert len(answer.context["page"].object_list) == 2


def test_sessions_are_paged_and_the_filter_stays(eve: Client) -> None:
    listened(MediaService.objects.get(slug="eve-fm"), *(f"{n:032}" for n in range(1, 56)))
    first = eve.get(LISTENERS, {"mount": "/other"})
    assert len(first.context["page"].object_list) == 50
    assert "?mount=%2Fother&amp;page=2" in first.text
    assert len(eve.get(LISTENERS, {"mount": "/other", "page": "2"}).context["page"].object_list) == 5


def test_transfer_is_shown_against_the_limit(eve: Client) -> None:
    service = MediaService.objects.get(slug="eve-fm")
    months = [transfer.month_of(timezone.now()), "2026-01"]
    for number, month in enumerate(months, 1):
        Transfer.objects.create(media_service=service, month=month, bytes=number * 1500 * MB, counter="a" * 32)
    text = eve.get(LISTENERS).text
    assert "1\u202f500 MB of unlimited" in text
    assert "<meter" not in text
    assert "<dt>2026-01</dt><dd>3\u202f000 MB</dd>" in text
    apply_document({"media_services": [{"slug": "eve-fm", "monthly_transfer_mb": 2000}]}, access.system())
    assert '<meter min="0" max="2000" value="1500"' in eve.get(LISTENERS).text


# --- mounts ---------------------------------------------------------------------------------------------------------


def mounts() -> dict[str, dict[str, Any]]:
    service = MediaService.objects.get(slug="eve-fm")
    return {mount.name: dict(mount.item) for mount in mounts_of(service, engines()["icecast"])}


def test_a_mount_is_made_changed_and_deleted(eve: Client) -> None:
    new = {"name": "/low.aac", "format": "aac", "bitrate_kbps": "48", "fallback": "/stream", "max_listeners": ""}
    text = eve.post(MOUNTS, new, follow=True).text
    assert "The mount /low.aac is made." in text
    assert "https://stream.example.net/listen/eve-fm/low.aac" in text
    assert mounts()["/low.aac"] == {
        "name": "/low.aac",
        "format": "aac",
        "bitrate_kbps": 48,
        "max_listeners": None,
        "fallback": "/stream",
        "fallback_when_full": False,
        "default": False,
    }
    path = f"{MOUNTS}low.aac/"
    form = eve.get(path).context["form"]
    assert "name" not in form.fields
    data = {bound.name: "" if bound.value() is None else bound.value() for bound in form if bound.value() is not False}
    assert eve.post(path, data)["Location"] == MOUNTS
    eve.post(path, {**data, "bitrate_kbps": "", "max_listeners": "5", "default": "on"})
    assert mounts()["/low.aac"] | {"bitrate_kbps": None, "max_listeners": 5, "default": True} == mounts()["/low.aac"]
    assert mounts()["/stream"]["default"] is False
    refused = eve.post(f"{MOUNTS}stream/delete/", follow=True)
    assert "/stream is what /low.aac falls back to." in refused.text
    assert "The mount /low.aac is deleted." in eve.post(f"{path}delete/", follow=True).text
    assert eve.post(f"{path}delete/").status_code == eve.get(path).status_code == 404
    entries = AuditLog.objects.filter(kind="mount", key="eve-fm/low.aac").order_by("pk")
    assert [(item.action, item.via) for item in entries] == [(a, "portal") for a in ("created", "updated", "deleted")]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"name": "low"}, "name", "form that is not accepted"),
        ({"name": "/stream"}, "name", "There is such a mount already"),
        ({"name": "/a<b>"}, "name", "form that is not accepted"),
        ({"format": "wav"}, "format", "not one of the available choices"),
        ({"bitrate_kbps": "7"}, "bitrate_kbps", "greater than or equal to 8"),
        ({"fallback": "/none"}, "fallback", "Is not a mount of this service"),
        ({"name": ""}, "name", "This field is required"),
    ],
)
def test_a_mount_that_cannot_be_is_refused_beside_its_field(
    eve: Client, change: dict[str, str], field: str, words: str
) -> None:
    answer = eve.post(MOUNTS, {"name": "/low", "format": "mp3", **change})
    assert words in str(answer.context["form"].errors[field])
    assert list(mounts()) == ["/stream"]


def test_the_limit_of_mounts_holds(eve: Client) -> None:
    apply_document({"media_services": [{"slug": "eve-fm", "max_mounts": 1}]}, access.system())
    answer = eve.post(MOUNTS, {"name": "/low", "format": "mp3"})
    assert "2 mounts are more than max_mounts allows (1)" in answer.text
    assert "At most: 1." in answer.text


def test_the_last_mount_has_no_button_to_delete_it(eve: Client) -> None:
    assert "stream/delete/" not in eve.get(MOUNTS).text
    assert "is the only mount that eve-fm would have left" in eve.post(f"{MOUNTS}stream/delete/", follow=True).text
