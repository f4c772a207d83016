"""The recorder of sessions: lines of every kind, hostile ones above all, and what is counted of them."""

from __future__ import annotations

import errno
import json
import os
import re
import runpy
import socket
import struct
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from streamfleet_sessions import shelf, sources
from streamfleet_sessions.__main__ import Recorder
from streamfleet_sessions.ledger import MOST_A_MINUTE, Ledger, Route, before, route_of
from streamfleet_sessions.lines import Request, address_of, of_icecast, of_web, text_of
from streamfleet_sessions.sockets import DONE, ERROR, HEADER, Connection, Kernel
from streamfleet_sessions.sockets import ended as is_last
from streamfleet_sessions.sources import Log
from streamfleet_sessions.tenants import Tenants

ROOT = Path(__file__).parents[2]
UNIT = "streamfleet-icecast@rock-fm.service"
NOW = 1795780800.0  # 2026-11-27
DATE = "[27/Nov/2026:11:00:00 +0000]"
ENTRY: dict[str, Any] = {
    "time": NOW, "address": "203.0.113.7", "slug": "rock-fm", "item": "/stream", "method": "GET", "status": 200,
    "bytes": 1000, "seconds": 10.5, "scheme": "https", "host": "x", "protocol": "HTTP/1.1", "agent": "VLC/3",
    "referer": "",
}  # fmt: skip


def web(**changes: Any) -> Request | None:
    return of_web(json.dumps({**ENTRY, **changes}).encode(), "1:0")


def icecast(message: str, unit: str = UNIT) -> Request | None:
    return of_icecast(unit, message, "cursor", NOW)


def line(
    address: str = "203.0.113.7",
    user: str = "-",
    request: str = "GET /stream HTTP/1.1",
    agent: str = "VLC/3",
    size: int = 5000,
    seconds: int = 7,
) -> str:
    return f'{address} - {user} {DATE} "{request}" 200 {size} "-" "{agent}" {seconds}'


def station() -> Ledger:
    ledger = Ledger()
    ledger.routes["rock-fm"] = Route(8000, ["/stream", "/low"], "/stream")
    return ledger


def transfer(ledger: Ledger) -> list[dict[str, Any]]:
    """What it tells, without the name of its count."""
    told = ledger.transfer()
    assert {item["counter"] for item in told} <= {ledger.counter}
    return [{name: value for name, value in item.items() if name != "counter"} for item in told]


def test_a_line_of_the_web_server() -> None:
    found = web()
    assert found is not None
    assert (found.source, found.slug, found.path, found.bytes, found.seconds) == (
        "web",
        "rock-fm",
        "/stream",
        1000,
        10.5,
    )
    assert (found.address, found.agent, found.ended) == ("203.0.113.7", "VLC/3", NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"slug": "../etc"}, {"slug": ""}, {"address": "nobody"}, {"bytes": -1}, {"bytes": "9"}, {"bytes": True},
        {"bytes": 1 << 60}, {"seconds": -3}, {"time": None}, {"status": []}, {"seconds": float("nan")},
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_passed_over(changes: dict[str, Any]) -> None:
    assert web(**changes) is None


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{", b"[" * 9000, b'{"time":1}', b"x" * 300000, b"\xff\xfe"])
def test_what_is_no_line_is_passed_over(raw: bytes) -> None:
    assert of_web(raw, "1:0") is None


def test_a_players_name_is_bounded_and_printable() -> None:
    found = web(agent="a\x1b[31m\n" + "é" * 4000)
    assert found is not None
    assert found.agent.startswith("a [31m é")
    assert len(found.agent) == 255
    assert found.agent.isprintable()
    assert text_of("-") == ""


def test_an_id_is_the_same_when_a_line_is_read_again_and_another_elsewhere() -> None:
    raw = json.dumps(ENTRY).encode()
    first, again, other = of_web(raw, "7:100"), of_web(raw, "7:100"), of_web(raw, "7:400")
    assert first
    assert again
    assert other
    assert first.id == again.id != other.id


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:0DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("203.0.113.7, 10.0.0.1", None),
        ("", None),
    ],
)
def test_addresses_are_written_one_way(written: str, meant: str | None) -> None:
    assert address_of(written) == meant


@pytest.mark.parametrize("unit", [UNIT, "streamfleet-icecast_kh@rock-fm.service"])
def test_a_line_of_icecast(unit: str) -> None:
    found = icecast(
        line(address="::ffff:203.0.113.7", request="GET /stream?x=1 HTTP/1.0", agent='odd "name" here'), unit
    )
    assert found is not None
    assert (found.slug, found.path, found.bytes, found.seconds) == ("rock-fm", "/stream", 5000, 7.0)
    assert found.address == "203.0.113.7"


@pytest.mark.parametrize("method", ["PUT", "SOURCE"])
def test_what_a_source_has_sent_is_nobodys_transfer(method: str) -> None:
    """Icecast-KH writes it where what was sent to a listener stands."""
    found = icecast(line(request=f"{method} /stream HTTP/1.1", size=99_000_000))
    assert found is not None
    assert found.bytes == 0


@pytest.mark.parametrize(
    "message",
    [
        # A log-in's name and a player's name that look like a request: which one is true cannot be told.
        line(user=f'x {DATE} "GET /stream HTTP/1.0" 200 99999999999 "-" "y" 1 '),
        line(agent=f'x" 1 {DATE} "GET /stream HTTP/1.0" 200 99999999999 "-" "y'),
        line(request="GET /stream"),
        line(request="GET /a b HTTP/1.1"),
        line(address="somebody"),
        line()[:-2],
        "[2026-11-27  11:00:00] INFO source/source_main listener count on /stream now 1",
        "",
        "x" * 300000,
    ],
)
def test_a_line_of_icecast_that_may_be_made_up_is_passed_over(message: str) -> None:
    assert icecast(message) is None


@pytest.mark.parametrize(
    "unit",
    [
        *("streamfleet-autodj@rock-fm.service", "streamfleet-icecast@../x.service", "ssh.service"),
        *("streamfleet-icecast_@rock-fm.service", "streamfleet-icecast_kh_kh@rock-fm.service"),
    ],
)
def test_only_icecasts_own_units_are_believed(unit: str) -> None:
    assert icecast(line(), unit) is None


def test_a_proxied_listener_is_counted_once() -> None:
    ledger = station()
    for request in (web(), icecast(line(address="127.0.0.1")), icecast(line(address="::1"))):
        assert request is not None
        ledger.request(request, NOW)
    ledger.tick(NOW, [], {})
    assert [(item["source"], item["bytes"]) for item in ledger.finished] == [("web", 1000)]
    assert transfer(ledger) == [{"slug": "rock-fm", "month": "2026-11", "bytes": 1000}]


def test_what_is_no_listening_is_transfer_but_no_session() -> None:
    ledger = station()
    for changes in ({"item": "/other"}, {"status": 404}, {"method": "HEAD"}, {"bytes": 0}):
        request = web(**changes)
        assert request is not None
        ledger.request(request, NOW)
    assert ledger.finished == []
    ledger.tick(NOW, [], {})
    assert ledger.transfer()[0]["bytes"] == 3000


def test_nobody_can_name_services_that_are_not_here() -> None:
    ledger = station()
    for number in range(50):
        for changes in ({"status": 404}, {"method": "OPTIONS", "status": 204}):
            request = web(slug=f"made-up-{number}", **changes)
            assert request is not None
            ledger.request(request, NOW)
    assert ledger.tallies == {}


def test_transfer_grows_while_somebody_listens_and_is_exact_at_the_end() -> None:
    ledger, ports = station(), {8000: "rock-fm"}
    ledger.tick(NOW, [Connection(1, 8000, "203.0.113.7", 400_000)], ports)
    assert ledger.transfer()[0]["bytes"] == 400_000
    ledger.tick(NOW + 5, [Connection(1, 8000, "203.0.113.7", 900_000)], ports)
    assert ledger.transfer()[0]["bytes"] == 900_000
    ended = icecast(line(size=1_000_000, seconds=10))
    assert ended is not None
    # The line may come before the look that misses the connection, or after it.
    ledger.request(ended, NOW + 8)
    for later in (10, 15, 100, 200):
        ledger.tick(NOW + later, [], ports)
        assert ledger.transfer()[0]["bytes"] == 1_000_000
    ledger.tick(NOW + 205, [Connection(2, 8000, "203.0.113.7", 300_000)], ports)
    ledger.tick(NOW + 210, [], ports)
    ledger.request(ended, NOW + 211)
    for later in (215, 400):
        ledger.tick(NOW + later, [], ports)
        assert ledger.transfer()[0]["bytes"] == 2_000_000


def test_bytes_without_a_line_stay_counted() -> None:
    """As when Icecast is killed."""
    ledger, ports = station(), {8000: "rock-fm"}
    ledger.tick(NOW, [Connection(1, 8000, "203.0.113.7", 5_000_000)], ports)
    ledger.tick(NOW + 5, [], ports)
    ledger.tick(NOW + 100, [], ports)
    ledger.tick(NOW + 105, [Connection(2, 8000, "203.0.113.7", 2_000_000)], ports)
    assert ledger.transfer()[0]["bytes"] == 7_000_000


def test_months_part_where_the_month_ends() -> None:
    ledger, ports = station(), {8000: "rock-fm"}
    border = 1796083200.0  # 2026-12-01T00:00:00Z
    ledger.tick(border - 1, [Connection(1, 8000, "203.0.113.7", 10_000_000)], ports)
    ledger.tick(border + 4, [Connection(1, 8000, "203.0.113.7", 12_000_000)], ports)
    assert transfer(ledger) == [
        {"slug": "rock-fm", "month": "2026-11", "bytes": 10_000_000},
        {"slug": "rock-fm", "month": "2026-12", "bytes": 2_000_000},
    ]
    assert (before(border), before(border + 40 * 86400)) == ("2026-11", "2026-12")


def test_a_viewer_of_hls_is_one_session() -> None:
    ledger = station()
    for number in range(20):
        request = web(item=f"{number}.ts", time=NOW + number * 4, seconds=0.1, slug="tv")
        assert request is not None
        ledger.request(request, NOW + number * 4)
        ledger.tick(NOW + number * 4, [], {})
    other = web(item="live.m3u8", time=NOW + 76, address="2001:db8::7", slug="tv", bytes=300)
    assert other is not None
    ledger.request(other, NOW + 76)
    assert ledger.finished == []
    ledger.tick(NOW + 76 + 60, [], {})
    assert [(item["address"], item["bytes"], item["source"]) for item in ledger.finished] == [
        ("203.0.113.7", 20000, "hls"),
        ("2001:db8::7", 300, "hls"),
    ]
    assert ledger.finished[0]["ended"] - ledger.finished[0]["started"] == pytest.approx(76.1)
    assert ledger.transfer()[0]["bytes"] == 20300


def test_many_viewers_of_one_service_hide_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamfleet_sessions.ledger.MOST_VIEWERS_EACH", 8)
    monkeypatch.setattr("streamfleet_sessions.ledger.MOST_VIEWERS", 12)
    monkeypatch.setattr("streamfleet_sessions.ledger.LOST", 3)
    ledger = station()

    def watch(slug: str, number: int) -> None:
        request = web(item="live.m3u8", time=NOW + number, seconds=0, slug=slug, agent=f"agent {number}", bytes=1)
        assert request is not None
        ledger.request(request, NOW + 30)

    for number in range(30):
        watch("loud", number)
    for number in range(5):
        watch("quiet", number)
    # Those of the largest one who were last seen longest ago have gone.
    assert [(item["slug"], item["agent"]) for item in ledger.finished] == [
        ("loud", "agent 0"), ("loud", "agent 1"), ("loud", "agent 2"),
    ]  # fmt: skip
    after = Ledger()
    after.load(json.loads(json.dumps(ledger.dump())), NOW + 30)
    ledger = after
    for number in range(40, 60):
        watch("loud", number)
    ledger.tick(NOW + 200, [], {})
    found = [item["slug"] for item in ledger.finished]
    assert (found.count("loud"), found.count("quiet"), ledger.viewers) == (25, 5, {})
    assert [item["bytes"] for item in ledger.transfer()] == [50, 5]
    # And those that have gone make room.
    for number in range(300, 310):
        watch("loud", number)
    assert len(ledger.viewers) == 8


def test_lines_of_a_viewer_may_come_out_of_order() -> None:
    ledger = station()
    for offset in (4, 0, 6, 2):
        request = web(item=f"{offset}.ts", time=NOW + offset, seconds=0.5, slug="tv")
        assert request is not None
        ledger.request(request, NOW + 8)
    ledger.tick(NOW + 100, [], {})
    assert [(item["started"], item["ended"]) for item in ledger.finished] == [(NOW - 0.5, NOW + 6)]


def test_one_service_fills_no_disk() -> None:
    ledger = station()
    for number in range(MOST_A_MINUTE + 50):
        request = of_web(json.dumps(ENTRY).encode(), f"1:{number}")
        assert request is not None
        ledger.request(request, NOW)
    ledger.tick(NOW, [], {})
    assert len(ledger.finished) == MOST_A_MINUTE
    assert ledger.transfer()[0]["bytes"] == (MOST_A_MINUTE + 50) * 1000


def test_who_listens_where_no_lines_are_written_is_recorded_as_the_kernel_knows_it() -> None:
    ledger, ports = Ledger(boot="one"), {8000: "rock-fm", 8002: "other"}
    ledger.learn({"rock-fm": Route(8000, ["/stream"], "/stream", unwritten=True), "other": Route(8002, ["/a"], "/a")})

    def look(seconds: float, *connections: tuple[int, int, str, int]) -> None:
        ledger.tick(NOW + seconds, [Connection(*connection) for connection in connections], ports)

    player, asks = (1, 8000, "203.0.113.7", 90_000), (2, 8000, "203.0.113.8", 5_000)
    web, written = (3, 8000, "127.0.0.1", 90_000), (4, 8002, "203.0.113.9", 90_000)
    look(0, player, asks, web, written)
    look(5, (1, 8000, "203.0.113.7", 180_000), asks, web, written)
    ledger.tick(NOW + 10, None, ports)
    assert ledger.finished == [], "the kernel did not say that anybody has gone"
    after = Ledger(boot="one")
    after.load(json.loads(json.dumps(ledger.dump())), NOW + 12)
    assert after.finished == []
    ledger = after
    look(15)
    (last,) = ledger.finished
    assert re.fullmatch("[0-9a-f]{32}", last.pop("id"))
    assert last == {
        "slug": "rock-fm", "source": "direct", "mount": "/stream", "address": "203.0.113.7", "agent": "",
        "started": NOW, "ended": NOW + 5, "bytes": 180_000,
    }  # fmt: skip


def test_who_listened_when_the_node_ended_is_recorded() -> None:
    ledger = Ledger(boot="one")
    ledger.learn({"rock-fm": Route(8000, ["/a", "/b"], "/a", unwritten=True)})
    ledger.tick(NOW, [Connection(1, 8000, "203.0.113.7", 90_000)], {8000: "rock-fm"})
    names = set()
    for _ in range(2):
        after = Ledger(boot="two")
        after.load(json.loads(json.dumps(ledger.dump())), NOW + 60)
        (session,) = after.finished
        assert (session["mount"], session["bytes"], session["ended"]) == ("", 90_000, NOW)
        names.add(session["id"])
        assert after.boot == "two"
    assert len(names) == 1, "told again, it is the same"


def test_a_later_process_goes_on() -> None:
    ledger, ports = station(), {8000: "rock-fm"}
    ledger.tick(NOW, [Connection(1, 8000, "203.0.113.7", 800_000)], ports)
    ledger.tick(NOW + 5, [], ports)
    after = Ledger()
    after.load(json.loads(json.dumps(ledger.dump())), NOW + 6)
    ended = icecast(line(size=900_000))
    assert ended is not None
    after.request(ended, NOW + 6)
    after.tick(NOW + 100, [], ports)
    assert after.counter == ledger.counter
    assert transfer(after) == [{"slug": "rock-fm", "month": "2026-11", "bytes": 900_000}]
    assert [item["bytes"] for item in after.finished] == [900_000]


@pytest.mark.parametrize("boot", ["one", "two"])
def test_what_was_open_when_all_ended_is_counted(boot: str) -> None:
    """The engines end together with the recorder, or the node starts anew and numbers its connections as before."""
    ledger, ports = Ledger(boot="one"), {8000: "rock-fm"}
    ledger.tick(NOW, [Connection(1, 8000, "203.0.113.7", 8_000_000)], ports)
    after = Ledger(boot=boot)
    after.load(json.loads(json.dumps(ledger.dump())), NOW + 5)
    after.tick(NOW + 5, [Connection(1 if boot == "two" else 2, 8000, "203.0.113.7", 3_000_000)], ports)
    assert transfer(after)[0]["bytes"] == 11_000_000
    # A line that is read late counts instead of what was seen, not as well.
    ended = icecast(line(size=8_100_000))
    assert ended is not None
    after.request(ended, NOW + 7)
    after.tick(NOW + 100, [], ports)
    assert transfer(after)[0]["bytes"] == 11_100_000


def test_what_is_still_open_after_a_restart_counts_once() -> None:
    ledger, ports = Ledger(boot="one"), {8000: "rock-fm"}
    ledger.tick(NOW, [Connection(1, 8000, "203.0.113.7", 8_000_000)], ports)
    after = Ledger(boot="one")
    after.load(json.loads(json.dumps(ledger.dump())), NOW + 5)
    after.tick(NOW + 5, [Connection(1, 8000, "203.0.113.7", 9_000_000)], ports)
    assert transfer(after)[0]["bytes"] == 9_000_000


def test_what_is_long_gone_is_forgotten() -> None:
    ledger = station()
    request = web()
    assert request is not None
    ledger.request(request, NOW)
    ledger.tick(NOW, [], {})
    ledger.forget(NOW + 20 * 86400, [])
    assert set(ledger.tallies) == {("rock-fm", None)}
    ledger.forget(NOW + 80 * 86400, [])
    assert ledger.tallies == {} == ledger.routes


def drop_in(units: Path, slug: str, uid: int, engine: str = "icecast") -> Path:
    """As streamfleet_node_apply writes it."""
    folder = units / f"streamfleet-{engine}@{slug}.service.d"
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "10-user.conf.streamfleet-new"
    new.write_text(f"# Written by Streamfleet for {slug}.\n[Service]\nUser=sf{uid}\nGroup=sf{uid}\n")
    return new.replace(folder / "10-user.conf")


def test_whose_services_are(tmp_path: Path) -> None:
    drop_in(tmp_path, "rock-fm", 200001)
    drop_in(tmp_path, "rock-fm", 200001, "autodj")
    drop_in(tmp_path, "tv", 200002, "wowza")
    drop_in(tmp_path, "kh-fm", 200004, "icecast_kh")
    (tmp_path / "streamfleet-icecast@half.service.d").mkdir()
    (tmp_path / "streamfleet-rtmp.service.d").mkdir()
    drop_in(tmp_path, "none", 0)
    tenants = Tenants(tmp_path)
    assert tenants.read() == tenants.read() == {"rock-fm": 200001, "tv": 200002, "kh-fm": 200004}
    # Somebody else's now; the earlier one's AutoDJ could not be removed.
    os.utime(tmp_path / "streamfleet-autodj@rock-fm.service.d" / "10-user.conf", (1, 1))
    drop_in(tmp_path, "rock-fm", 200003)
    for path in (tmp_path / "streamfleet-wowza@tv.service.d").iterdir():
        path.unlink()
    assert tenants.read() == {"rock-fm": 200003, "kh-fm": 200004}


def test_whoever_takes_a_slug_begins_at_nothing() -> None:
    ledger, ports = station(), {8000: "rock-fm"}
    ledger.tenants = {"rock-fm": 200001}
    ledger.tick(NOW, [Connection(1, 8000, "203.0.113.7", 9_000_000)], ports)
    ended = icecast(line(size=9_000_000))
    assert ended is not None
    ledger.request(ended, NOW + 1)
    ledger.tick(NOW + 5, [], ports)
    first = {"slug": "rock-fm", "uid": 200001, "month": "2026-11", "bytes": 9_000_000}
    assert transfer(ledger) == [first]
    assert [(item["slug"], item["uid"]) for item in ledger.finished] == [("rock-fm", 200001)]
    ledger.tenants = {"rock-fm": 200002}
    ledger.tick(NOW + 10, [], ports)
    assert transfer(ledger) == []
    ledger.tick(NOW + 15, [Connection(2, 8000, "203.0.113.7", 5_000)], ports)
    assert transfer(ledger) == [{"slug": "rock-fm", "uid": 200002, "month": "2026-11", "bytes": 5_000}]
    # One without processes of its own, then the first one again: a later process knows as well.
    ledger.tenants = {}
    ledger.tick(NOW + 20, [], ports)
    assert transfer(ledger) == []
    after = Ledger()
    after.tenants = {"rock-fm": 200001}
    after.load(json.loads(json.dumps(ledger.dump())), NOW + 6)
    assert transfer(after) == [first]


def test_counts_of_a_release_that_did_not_know_whose_they_are_go_on() -> None:
    ledger = Ledger()
    ledger.tenants = {"rock-fm": 200001}
    tally = {"ended": 5, "total": 5, "months": {"2026-11": 5}, "gone": [], "told": []}
    ledger.load({"counter": "a" * 32, "routes": {}, "viewers": [], "tallies": {"rock-fm": tally, "tv": tally}}, NOW)
    assert transfer(ledger) == [
        {"slug": "rock-fm", "uid": 200001, "month": "2026-11", "bytes": 5},
        {"slug": "tv", "month": "2026-11", "bytes": 5},
    ]


def test_a_channel_without_a_unit_is_whose_its_route_says() -> None:
    ledger = Ledger()
    ledger.learn({"tv": Route(None, [], "", 200001)})
    first = {"slug": "tv", "uid": 200001, "month": "2026-11", "bytes": 700}
    item, later = web(slug="tv", item="a.m3u8", bytes=700), web(slug="tv", item="a.m3u8", bytes=5)
    assert item is not None
    assert later is not None
    ledger.request(item, NOW)
    ledger.tick(NOW, [], {})
    assert transfer(ledger) == [first]
    # Off the air it has no route, and is still known, to a later process too.
    after = Ledger()
    after.load(json.loads(json.dumps(ledger.dump())), NOW)
    assert transfer(after) == [first]
    after.learn({"tv": Route(None, [], "", 200002)})
    assert transfer(after) == []
    after.request(later, NOW)
    after.tick(NOW, [], {})
    assert transfer(after) == [{**first, "uid": 200002, "bytes": 5}]


def test_counts_of_a_channel_go_on_when_its_route_begins_to_say_whose_it_is() -> None:
    ledger = Ledger()
    tally = {"ended": 5, "total": 5, "months": {"2026-11": 5}, "gone": [], "told": []}
    ledger.load({"counter": "a" * 32, "routes": {}, "viewers": [], "tallies": [["tv", None, tally]]}, NOW)
    ledger.learn({"tv": Route(None, [], "", 200001)})
    assert transfer(ledger) == [{"slug": "tv", "uid": 200001, "month": "2026-11", "bytes": 5}]
    assert list(ledger.tallies) == [("tv", 200001)]


def test_routes() -> None:
    assert route_of('{"uid": 200001}') == Route(None, [], "", 200001)
    assert route_of('{"port": 8000, "mounts": ["/a"], "default": "/a"}') == Route(8000, ["/a"], "/a")
    assert route_of('{"port": 1938, "hls": "/x/live"}') == Route(None, [], "")
    moved = route_of('{"port": 8000, "mounts": ["/a"], "default": "/a", "elsewhere": true}')
    assert moved == Route(8000, ["/a"], "/a", elsewhere=True)
    assert route_of("[]") is None
    assert route_of("{") is None


@pytest.mark.parametrize("unwritten", [False, True])
def test_what_is_sent_on_to_another_node_is_counted_there_alone(unwritten: bool) -> None:
    here, there = (Route(8000, ["/stream"], "/stream", None, unwritten, away) for away in (False, True))
    ports, ledger = {8000: "rock-fm"}, Ledger()

    def line(began: float, ended: float, size: int) -> None:
        item = web(time=ended, seconds=ended - began, bytes=size)
        assert item is not None
        ledger.request(item, ended)

    ledger.learn({"rock-fm": here}, NOW)
    ledger.tick(NOW + 5, [Connection(1, 8000, "203.0.113.7", 2_900_000)], ports)
    ledger.learn({"rock-fm": there}, NOW + 10)
    # What ended with the engine is of the past, and is told only now.
    line(NOW, NOW + 11, 3_000_000)
    sent_on = [Connection(2, 8000, "203.0.113.7", 50_000_000), Connection(3, 8000, "127.0.0.1", 70_000_000)]
    ledger.tick(NOW + 100, sent_on, ports)
    line(NOW + 12, NOW + 100, 9_000_000)
    heard = [("web", 3_000_000), *([("direct", 2_900_000)] if unwritten else [])]
    assert [(item["source"], item["bytes"]) for item in ledger.finished] == heard
    kept = json.loads(json.dumps(ledger.dump()))
    ledger = Ledger()
    ledger.load(kept, NOW + 100)
    ledger.learn({"rock-fm": there}, NOW + 150)
    ledger.tick(NOW + 150, sent_on, ports)
    ledger.learn({"rock-fm": here}, NOW + 200)
    # Those who are cut off by the way back have all been there.
    ledger.tick(NOW + 200, sent_on, ports)
    line(NOW + 13, NOW + 201, 8_000_000)
    ledger.tick(NOW + 300, [], ports)
    line(NOW + 202, NOW + 300, 1_000)
    ledger.tick(NOW + 300, [], ports)
    assert transfer(ledger)[0]["bytes"] == 3_001_000
    assert [(item["source"], item["bytes"]) for item in ledger.finished] == [("web", 1_000)]


def test_a_log_is_followed_through_its_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "REOPENED", 0.0)
    path = tmp_path / "streams.log"

    def write(*names: str) -> None:
        with path.open("a") as file:
            file.writelines(json.dumps({**ENTRY, "agent": name}) + "\n" for name in names)

    def read(log: Log) -> list[str]:
        return [request.agent for request in log.requests()]

    write("before")
    log = Log(path, None)
    assert read(log) == []
    write("one", "two")
    assert read(log) == ["one", "two"]
    with path.open("a") as file:
        file.write(json.dumps({**ENTRY, "agent": "half"})[:20])
    assert read(log) == []
    with path.open("a") as file:
        file.write(json.dumps({**ENTRY, "agent": "half"})[20:] + "\nrubbish\n")
    path.rename(tmp_path / "streams.log.1")
    write("three")
    assert read(log) == ["half", "three"]
    # Another process, after one more rotation.
    place = log.place
    write("four")
    path.rename(tmp_path / "streams.log.1")
    write("five")
    later = Log(path, place)
    assert read(later) == ["four", "five"]
    assert read(Log(path, later.place)) == []


def test_what_is_written_to_a_log_after_its_renaming_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The web server writes on into the file that it has open until it is told, each process of its own."""
    path, moment = tmp_path / "streams.log", 100.0
    monkeypatch.setattr(sources.time, "monotonic", lambda: moment)

    def write(name: str, to: Path = path) -> None:
        with to.open("a") as file:
            file.write(json.dumps({**ENTRY, "agent": name}) + "\n")

    def read() -> list[str]:
        return [request.agent for request in log.requests()]

    path.touch()
    log = Log(path, None)
    assert read() == []
    write("one")
    assert read() == ["one"]
    old = path.rename(tmp_path / "streams.log.1")
    assert read() == []
    path.touch()
    moment += 60
    write("late", old)
    assert read() == ["late"]
    write("new")
    write("later", old)
    assert read() == ["later"]
    moment += 9
    write("latest", old)
    # Another process goes on in the one that was renamed as well.
    log = Log(path, log.place)
    assert read() == ["latest"]
    moment += 10
    write("last", old)
    assert read() == ["last", "new"]
    write("newer")
    assert read() == ["newer"]


def test_a_log_that_comes_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = Log(tmp_path / "streams.log", None)
    assert list(log.requests()) == []
    (tmp_path / "streams.log").write_text(json.dumps(ENTRY) + "\n")
    assert len(list(log.requests())) == 1


def test_files_are_rotated_and_old_ones_removed(tmp_path: Path) -> None:
    lines = shelf.Lines(tmp_path / "s.jsonl", 100, 2, keep_days=1)
    now = time.time()
    for number in range(5):
        lines.append([{"number": number, "long": "x" * 100}], now)
    kept = [json.loads((tmp_path / name).read_text())["number"] for name in ("s.2.jsonl", "s.1.jsonl", "s.jsonl")]
    assert kept == [2, 3, 4]
    with (tmp_path / "s.jsonl").open("a") as file:
        file.write('{"half')
    os.truncate(tmp_path / "s.jsonl", 50)
    lines.append([{"number": 6}], now)
    assert json.loads((tmp_path / "s.jsonl").read_text().splitlines()[-1]) == {"number": 6}
    os.utime(tmp_path / "s.2.jsonl", (now - 90000, now - 90000))
    lines.clean(now)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.1.jsonl", "s.jsonl"]


def test_the_state_is_written_when_it_has_changed_and_seldom_when_it_is_large(tmp_path: Path) -> None:
    state, path = shelf.State(tmp_path / "state.json"), tmp_path / "state.json"

    def inode(content: dict[str, Any], now: float, last: bool = False) -> int:
        state.write(lambda: {"schema": 1, **content}, now, last)
        assert path.stat().st_mtime > 1000, "it says that it is at work"
        os.utime(path, (1, 1))
        return path.stat().st_ino

    first = inode({"a": "é"}, NOW)
    assert "é" in path.read_text("utf-8")
    assert inode({"a": "é"}, NOW + 5) == first
    second = inode({"a": "é" * (5 << 20)}, NOW + 10)
    assert second != first
    assert inode({}, NOW + 60) == second
    third = inode({}, NOW + 71)
    assert third != second
    large = inode({"a": "é" * (5 << 20)}, NOW + 80)
    assert inode({"a": "\ud800"}, NOW + 81, last=True) != large
    # The clock was set back.
    assert shelf.State(path).read() == {"schema": 1, "a": "\ud800"}
    last = inode({"a": "é" * (5 << 20)}, NOW + 90)
    assert inode({}, NOW - 1000) != last


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_tells_what_a_connection_has_carried(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this host has no {host}")
    port = server.getsockname()[1]
    got = threading.Event()
    with server, socket.create_connection((host, port)) as client:
        link, _ = server.accept()
        with link:
            link.sendall(b"x" * 300_000)
            threading.Thread(target=lambda: (client.recv(300_000, socket.MSG_WAITALL), got.set())).start()
            assert got.wait(10)
            found = Kernel().connections({port: "rock-fm"})
    # Another test may have the same port at another address meanwhile.
    here = [(item.port, item.address, item.sent) for item in found if item.address == host]
    assert here == [(port, host, 300_000)]


def settings_in(folder: Path) -> dict[str, Any]:
    """Of a recorder whose files all lie in ``folder``."""
    (folder / "routes").mkdir(exist_ok=True)
    route = '{"port": 8000, "mounts": ["/stream"], "default": "/stream"}'
    (folder / "routes" / "rock-fm.json").write_text(route)
    return {
        "folder": str(folder), "routes": str(folder / "routes"), "log": str(folder / "streams.log"),
        "units": str(folder), "keep_days": 1, "file_mb": 1, "hls_idle_seconds": 60,
    }  # fmt: skip


class Faulty(Kernel):
    """A kernel that says what it is told to."""

    def __init__(self, *answers: list[Connection] | OSError) -> None:
        self.answers = list(answers)

    def connections(self, ports: Mapping[int, str]) -> list[Connection]:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


def test_a_fault_of_the_kernels_answer_counts_nothing_twice(tmp_path: Path) -> None:
    def listening(*sent: int) -> list[Connection]:
        return [Connection(number, 8000, "203.0.113.7", size) for number, size in enumerate(sent) if size]

    fault = OSError(errno.ENOBUFS, "no room")
    recorder = Recorder(
        settings_in(tmp_path),
        Faulty(listening(8_000_000, 5_000_000), fault, fault, listening(0, 6_000_000), [], []),
    )
    recorder.read_routes()
    ended = icecast(line(size=8_200_000))
    assert ended is not None
    told = []
    for moment in (0, 5, 70, 140, 205, 300):
        if moment == 70:
            recorder.ledger.request(ended, NOW + moment - 1)
        recorder.look(NOW + moment)
        told.append(transfer(recorder.ledger)[0]["bytes"])
    assert told == [13_000_000, 13_000_000, 13_000_000, 14_200_000, 14_200_000, 14_200_000]


def test_nothing_of_the_recorders_is_done_with_more_rights() -> None:
    unit = (ROOT / "roles/sessions/templates/streamfleet-sessions.service.j2").read_text("utf-8")
    commands = re.findall(r"^Exec\w+=(.*)$", unit, re.MULTILINE)
    assert len(commands) == 2
    assert all(command.startswith("/usr/bin/") for command in commands)


def test_a_lasting_fault_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = OSError(errno.EPERM, "no")
    recorder = Recorder(settings_in(tmp_path), Faulty(fault, fault, [], OSError(errno.ENOENT, "no such module")))
    state = tmp_path / "state.json"
    probe = runpy.run_path(str(ROOT / "roles/sessions/files/sessions_probe.py"))["faults"]
    now = time.time()
    for moment, words in ((now - 100, 1), (now - 10, 1), (now - 5, 0), (now - 100, 1), (now, 1)):
        recorder.look(moment)
        assert len(probe(state)) == words
    monkeypatch.setattr(time, "time", lambda: now + 100)
    assert "keeps nothing" in probe(state)[0]


@pytest.mark.parametrize("body", [struct.pack("=i", -errno.ENOBUFS), struct.pack("=i", -errno.ENOENT)])
def test_an_answer_that_is_cut_is_a_fault(body: bytes) -> None:
    for kind in (ERROR, DONE):
        with pytest.raises(OSError, match="ENO"):
            is_last(HEADER.pack(HEADER.size + len(body), kind, 0, 1, 0) + body)
    assert is_last(HEADER.pack(HEADER.size + 4, DONE, 0, 1, 0) + bytes(4))


def test_what_was_written_before_a_crash_is_written_again_with_the_same_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A new day has transfer and files of its own.
    monkeypatch.setattr("time.time", lambda: NOW)
    settings = settings_in(tmp_path)
    log = tmp_path / "streams.log"
    log.write_text("")

    def turn() -> None:
        recorder = Recorder(settings, Faulty([]))
        recorder.read_routes()
        for request in recorder.log.requests():
            recorder.ledger.request(request, NOW)
        recorder.look(NOW)
        for path in tmp_path.glob("*.jsonl"):
            os.utime(path, (NOW, NOW))

    turn()
    kept = (tmp_path / "state.json").read_bytes()
    log.write_text(json.dumps(ENTRY) + "\n")
    turn()
    (tmp_path / "state.json").write_bytes(kept)
    turn()
    found = [json.loads(text) for text in (tmp_path / "sessions.jsonl").read_text().splitlines()]
    assert len(found) == 2
    assert found[0] == found[1]
    told = [json.loads(text) for text in (tmp_path / "transfer.jsonl").read_text().splitlines()]
    assert [item["bytes"] for item in told] == [1000, 1000]
    assert told[0]["counter"] == told[1]["counter"]


def test_a_state_is_one_of_the_release_before_too() -> None:
    ledger = Ledger()
    ledger.learn({"tv": Route(None, [], "", 200001), "rock": Route(8000, ["/a"], "/a", unwritten=True)})
    kept = json.loads(json.dumps(ledger.dump()))
    # It makes each route of these fields, and ends with an error at another.
    assert [set(route) for route in kept["routes"].values()] == [{"port", "mounts", "default"}] * 2
    after = Ledger()
    after.load(kept, NOW)
    assert after.routes == ledger.routes
    # As the release before this one has kept it.
    del kept["more"]
    kept["routes"]["tv"]["uid"] = 200001
    after.load(kept, NOW)
    assert after.routes["tv"] == ledger.routes["tv"]
