"""Who is heard, by a clock of the test's own; who may be, by the station's; and who has tried too often."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from streamfleet_autodj.air import Air
from streamfleet_autodj.attempts import ADDRESSES, Attempts
from streamfleet_autodj.recording import Full, Shelf
from streamfleet_autodj.roster import DJ, Roster
from streamfleet_autodj.wire import Login

from tests.doubles.panel import dj

PRIORITIES = {"low": 10, "peer": 10, "high": 20}


def order(air: Air, now: float, **priorities: int) -> list[str]:
    known = {name: value for name, value in {**PRIORITIES, **priorities}.items() if name in air.shows}
    return [show.username for show in air.ranking(known, now)]


def test_the_highest_priority_first_and_of_equal_ones_who_came_first() -> None:
    air = Air()
    for number, name in enumerate(("peer", "low", "high")):
        assert not air.join(name, number + 1, now=float(number))
    assert order(air, 5) == ["high", "peer", "low"]
    assert [show.slot for show in air.ranking(PRIORITIES, 5)] == [3, 1, 2]
    assert order(air, 5, low=30) == ["low", "high", "peer"]
    air.leave("high", 20, None)
    assert order(air, 5) == ["peer", "low"]
    air.leave("peer", 10, None)
    air.leave("low", 10, None)
    assert order(air, 5) == []


def test_the_air_is_kept_from_equals_for_the_time_of_grace() -> None:
    air = Air()
    air.join("low", 1, 0)
    air.join("peer", 2, 1)
    air.leave("low", 10, keep_until=20)
    assert order(air, 10) == []
    assert order(air, 20) == []
    assert order(air, 20.1) == ["peer"]


def test_a_return_goes_on_with_the_show() -> None:
    air = Air()
    air.join("low", 1, 0)
    air.join("peer", 2, 1)
    air.leave("low", 10, keep_until=20)
    assert air.join("low", 3, 15)
    assert order(air, 15) == ["low"]
    air.forget("low")
    assert order(air, 15) == ["low", "peer"]
    assert order(air, 99) == ["low", "peer"]
    air.leave("low", 10, keep_until=110)
    assert not air.join("low", 4, 111)
    assert order(air, 111) == ["peer", "low"]


def test_higher_and_lower_ones_do_not_wait() -> None:
    air = Air()
    air.join("low", 1, 0)
    air.leave("low", 10, keep_until=100)
    air.join("high", 2, 5)
    assert order(air, 6) == ["high"]
    air.leave("high", 20, keep_until=50)
    air.join("peer", 3, 7)
    assert order(air, 8) == []
    assert order(air, 8, peer=5) == ["peer"]


def test_nobody_waits_for_one_who_is_deleted() -> None:
    air = Air()
    air.join("low", 1, 0)
    air.join("peer", 2, 1)
    air.leave("low", 10, keep_until=100)
    air.forget("low")
    assert order(air, 2) == ["peer"]


def a_dj(**changes: Any) -> DJ:
    return DJ.of(dj("anna", **changes))


@pytest.mark.parametrize(
    ("moment", "allowed"),
    [
        ("2026-03-28 21:59", False),
        ("2026-03-28 22:00", True),
        # In that night the clock goes from 02:00 to 03:00, at 01:00 UTC.
        ("2026-03-29 00:59", True),
        ("2026-03-29 01:00", False),
        ("2026-03-29 21:00", False),
    ],
)
def test_hours_are_the_stations(moment: str, allowed: bool) -> None:
    """22:00 UTC is 23:00 in Prague in winter; 01:00 UTC is then 03:00 by summer's clock."""
    windows = [{"days": ["sat"], "start": "23:00", "end": "02:30"}]
    now = datetime.strptime(moment, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()
    anna = a_dj(scheduled_only=True, active=windows)
    assert anna.in_time("Europe/Prague", now) == allowed
    assert a_dj(scheduled_only=False, active=windows).in_time("Europe/Prague", now)


def test_the_roster_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "djs.json"
    roster = Roster(path)
    assert not roster.refresh()
    path.write_text(json.dumps({"timezone": "Europe/Prague", "djs": [dj("anna")]}))
    assert roster.refresh()
    assert not roster.refresh()
    assert (roster.timezone, list(roster.djs)) == ("Europe/Prague", ["anna"])
    path.write_text('{"timezone": "UTC", "djs": [{"username": "x"}]}')
    assert not roster.refresh()
    path.write_text("no JSON")
    assert not roster.refresh()
    assert list(roster.djs) == ["anna"]
    anna = roster.authenticated(Login("anna", "secret-of-anna"))
    assert anna is not None
    assert anna.username == "anna"
    for login in (
        Login("anna", "secret-of-ann"),
        Login("anna", ""),
        Login("bob", "secret-of-anna"),
        Login("bob", "\0é"),
    ):
        assert roster.authenticated(login) is None


def test_nobody_is_known_by_no_password(tmp_path: Path) -> None:
    roster = Roster(tmp_path / "none")
    for password in ("", "\0", "x"):
        assert roster.authenticated(Login("bob", password)) is None


def test_ten_wrong_passwords_a_minute() -> None:
    attempts = Attempts()
    for number in range(10):
        assert not attempts.blocked("192.0.2.1", number)
        attempts.wrong("192.0.2.1", number)
    assert attempts.blocked("192.0.2.1", 10)
    assert not attempts.blocked("192.0.2.2", 10)
    assert not attempts.blocked("192.0.2.1", 60)


def test_one_machine_has_a_whole_network_of_ipv6() -> None:
    attempts = Attempts()
    for number in range(10):
        attempts.wrong(f"2001:db8::{number}", 0)
    assert attempts.blocked("2001:db8::ffff", 1)
    assert not attempts.blocked("2001:db8:0:1::1", 1)


def test_addresses_are_not_remembered_without_end() -> None:
    attempts = Attempts()
    for number in range(ADDRESSES + 50):
        attempts.wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0)
    assert len(attempts._times) == ADDRESSES


def test_recordings_are_capped_in_number(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number in range(25):
        recording = shelf.begin("anna", "mp3", 1_795_000_000 + number)
        recording.write(b"sound")
        recording.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 20
    assert names[-1] == "anna-20261118T110704Z.mp3"
    (tmp_path / "live.json").write_text("{}")
    resumed = shelf.resume(tmp_path / names[-1])
    resumed.write(b" goes on")
    resumed.close()
    assert (tmp_path / names[-1]).read_bytes() == b"sound goes on"
    assert (tmp_path / "live.json").exists()


def test_recordings_are_capped_in_size_all_together(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=10)
    first = shelf.begin("anna", "mp3", 0)
    first.write(b"123456")
    second = shelf.begin("bob", "ogg", 1)
    with pytest.raises(Full):
        second.write(b"12345")
    second.write(b"1234")
    with pytest.raises(Full):
        first.write(b"1")
    first.close()
    second.close()
    assert (tmp_path / "anna-19700101T000000Z.mp3").read_bytes() == b"123456"
