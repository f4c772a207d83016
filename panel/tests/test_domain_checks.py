"""Whether a domain is proved: asked of a name server on loopback (a double), judged, and told to the node."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError
from django.utils import timezone

from streamfleet_panel.access import system
from streamfleet_panel.domains import judge as judging
from streamfleet_panel.domains import lookup
from streamfleet_panel.domains.ask import ask
from streamfleet_panel.domains.checks import AT_A_TIME, MOST_WAITING, Checks, due
from streamfleet_panel.domains.records import Answer, Found
from streamfleet_panel.models import Account, AuditLog, Domain, MediaService, Node

pytestmark = pytest.mark.django_db
Run = Callable[..., dict[str, Any]]
RADIO = "radio.example.com"
TARGET = "cname.example.net"


def _double() -> Any:
    """The name server among the repository's doubles, which are no part of the panel's tests."""
    path = Path(__file__).resolve().parents[2] / "tests" / "doubles" / "name_server.py"
    spec = importlib.util.spec_from_file_location("name_server_double", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(settings: Any) -> Iterator[Any]:
    with _double().running() as found:
        settings.DOMAIN_RESOLVERS = [found.address]
        settings.DOMAIN_TARGET = TARGET
        yield found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "ONE_TRY", 0.05)
    monkeypatch.setattr(lookup, "ALL_TRIES", 0.1)


def token(username: str) -> str:
    return Account.objects.get(username=username).domain_token


def value(username: str) -> str:
    return f"streamfleet={token(username)}"


def look(after: timedelta = timedelta()) -> datetime:
    """Have all that is claimed looked at, as it will be ``after`` this time; when that was."""
    now = timezone.now() + after
    judging.judge({name: lookup.look_up(name) for name in set(Domain.objects.values_list("name", flat=True))}, now)
    return now


def claim(slug: str = "rock", name: str = RADIO) -> Domain:
    return Domain.objects.get(media_service__slug=slug, name=name)


def claims(run: Run, *slugs: str, name: str = RADIO) -> None:
    run({"domains": [{"media_service": slug, "name": name} for slug in slugs]})


def generations(*slugs: str) -> list[int]:
    return [MediaService.objects.get(slug=slug).generation for slug in slugs]


def test_pending_verified_taken_away_lost(world: None, run: Run, server: Any) -> None:
    claims(run, "rock")
    before = generations("rock", "eve-fm")
    look()
    found = claim()
    assert (found.status, found.holds) == ("pending", None)
    place = f"_streamfleet.{RADIO}"
    assert (
        found.message == f"There is no record at {place} yet. Set it as it is shown here; it is then found by itself."
    )
    assert generations("rock", "eve-fm") == before

    server.txt(f"_streamfleet.{RADIO}", "v=spf1 -all", value("alice"))
    now = look()
    found = claim()
    assert (found.status, found.holds, found.verified_at, found.checked_at) == ("verified", RADIO, now, now)
    # Its node is told, and nobody else's services are touched.
    node = Node.objects.get(name="node1").generation
    assert generations("rock", "eve-fm") == [node, before[1]]
    assert node > before[0]

    server.txt(f"_streamfleet.{RADIO}")
    now = look(timedelta(days=1))
    found = claim()
    assert (found.status, found.failing_since) == ("verified", now)
    assert f"Its record is gone. Set it again before {(now + timedelta(days=3)).strftime('%Y-%m-%dT')}" in found.message
    look(timedelta(days=3, hours=23))
    assert claim().status == "verified"
    assert generations("rock") == [node]
    look(timedelta(days=4, hours=1))
    found = claim()
    assert (found.status, found.holds) == ("lost", None)
    assert found.message == "Its record has been gone for 3 days. Set it again to have it back."
    assert generations("rock") == [node + 1]
    entries = AuditLog.objects.filter(kind="domain", key=f"rock/{RADIO}", actor_name="domains").order_by("pk")
    assert [(entry.action, entry.changes["status"]["after"]) for entry in entries] == [
        ("verified", "verified"),
        ("lost", "lost"),
    ]
    assert {entry.owner.username for entry in entries if entry.owner} == {"alice"}

    server.txt(f"_streamfleet.{RADIO}", value("alice"))
    look(timedelta(days=5))
    assert claim().status == "verified"


def test_a_proof_that_comes_back_in_time_is_as_if_it_had_not_gone(world: None, run: Run, server: Any) -> None:
    claims(run, "rock")
    server.txt(f"_streamfleet.{RADIO}", value("alice"))
    look()
    server.txt(f"_streamfleet.{RADIO}")
    look(timedelta(days=1))
    server.txt(f"_streamfleet.{RADIO}", value("alice"))
    look(timedelta(days=3))
    assert (claim().status, claim().failing_since) == ("verified", None)
    server.txt(f"_streamfleet.{RADIO}")
    look(timedelta(days=5))
    look(timedelta(days=7, hours=23))
    assert claim().status == "verified"


def test_name_servers_that_fail_or_are_silent_prove_nothing(
    world: None, run: Run, server: Any, impatient: None
) -> None:
    claims(run, "rock", "eve-fm")
    server.txt(f"_streamfleet.{RADIO}", value("alice"))
    look()
    for trouble in (server.broken, server.silent):
        trouble.add("example.com")
        for days in (1, 5, 9):
            now = look(timedelta(days=days))
            found = claim()
            assert (found.status, found.holds, found.failing_since) == ("verified", RADIO, None)
            assert found.message == f"The name servers of {RADIO} did not answer; it stays as it is."
            assert found.next_check_at == now + timedelta(hours=1)
        waiting = claim("eve-fm")
        assert waiting.status == "pending"
        assert "did not answer. It is looked up again." in waiting.message
        trouble.clear()
    # No more does a half: the holder's proof may be what cannot be found out.
    judging.judge({RADIO: Found(Answer(frozenset([value("eve")])), Answer(known=False))})
    assert (claim().status, claim("eve-fm").status) == ("verified", "pending")


def test_nothing_can_be_asked_without_name_servers(world: None, server: Any, settings: Any, impatient: None) -> None:
    # Discards what it is sent: a port on which nobody listens.
    settings.DOMAIN_RESOLVERS = ["127.0.0.1:1"]
    found = lookup.look_up(RADIO)
    assert (found.txt.known, found.cname.known) == (False, False)


def test_whoever_proves_it_first_gets_it_and_the_other_is_told(world: None, run: Run, server: Any) -> None:
    claims(run, "rock", "eve-fm")
    # Asked for first is not proved first, and pointing here proves nothing.
    server.records[RADIO, "A"] = ["192.0.2.10"]
    server.txt(f"_streamfleet.{RADIO}", value("eve"))
    look()
    assert (claim().status, claim("eve-fm").status) == ("pending", "verified")
    assert claim().message.startswith("Another customer holds this domain. The record at _streamfleet.")
    assert claim().message.endswith("is not yours. Set yours as it is shown here.")
    # Both proofs beside each other: it stays where it is.
    server.txt(f"_streamfleet.{RADIO}", value("eve"), value("alice"))
    look(timedelta(hours=1))
    assert (claim().status, claim("eve-fm").status) == ("pending", "verified")
    assert "so is that of another customer, who holds this domain: remove theirs" in claim().message


def test_another_customers_proof_takes_over_at_once(world: None, run: Run, server: Any, api: Any) -> None:
    claims(run, "rock", "eve-fm")
    server.txt(f"_streamfleet.{RADIO}", value("alice"))
    look()
    before = Node.objects.get(name="node1").generation
    server.txt(f"_streamfleet.{RADIO}", value("eve"))
    look(timedelta(minutes=5))
    assert (claim().status, claim().holds) == ("lost", None)
    assert (claim("eve-fm").status, claim("eve-fm").holds) == ("verified", RADIO)
    # One document has both: the name is never in two services.
    assert generations("rock", "eve-fm") == [before + 1, before + 1]
    document = api(node="node1")("GET", "/nodes/node1/document")[1]
    assert {service["slug"] for service in document["services"] if service["domains"]} == {"eve-fm"}
    # And back, though the older claim is the one that was lost.
    server.txt(f"_streamfleet.{RADIO}", value("alice"))
    look(timedelta(minutes=10))
    assert (claim().status, claim("eve-fm").status) == ("verified", "lost")


def test_a_cname_proves_it_for_the_customer_whose_token_it_names(world: None, run: Run, server: Any) -> None:
    claims(run, "rock")
    for wrong in (
        TARGET,
        f"{token('eve')}.{TARGET}",
        f"{token('alice')}.cname.example.org",
        f"a.{token('alice')}.{TARGET}",
    ):
        server.cname(RADIO, wrong)
        look()
        assert claim().status == "pending", wrong
    server.cname(RADIO, f"{token('alice').upper()}.{TARGET}")
    look()
    assert claim().status == "verified"
    # It leads to another's: that one's claim is proved, hers is not.
    claims(run, "eve-fm")
    server.cname(RADIO, f"{token('eve')}.{TARGET}")
    look()
    assert (claim().status, claim("eve-fm").status) == ("lost", "verified")


def test_without_a_target_a_cname_proves_nothing(world: None, run: Run, server: Any, settings: Any) -> None:
    settings.DOMAIN_TARGET = ""
    claims(run, "rock")
    server.cname(RADIO, f"{token('alice')}.{TARGET}")
    look()
    assert claim().status == "pending"
    # Asked for it is all the same: it says where the domain leads.
    assert claim().cname == f"{token('alice')}.{TARGET}"


def test_a_txt_record_may_stand_elsewhere(world: None, run: Run, server: Any) -> None:
    claims(run, "rock")
    server.cname(f"_streamfleet.{RADIO}", "proofs.example.org")
    server.txt("proofs.example.org", value("alice"))
    look()
    assert claim().status == "verified"


def test_a_long_value_is_read_whole(world: None, server: Any) -> None:
    server.records[f"_streamfleet.{RADIO}", "TXT"] = [f'"{"a" * 200}" "{"b" * 200}"', '"\\255\\000"']
    assert "a" * 200 + "b" * 200 in lookup.look_up(RADIO).txt.values


def test_what_belongs_to_a_deleted_service_stands_in_nobodys_way(world: None, run: Run, server: Any) -> None:
    claims(run, "rock", "eve-fm")
    server.txt(f"_streamfleet.{RADIO}", value("alice"), value("eve"))
    look()
    assert (claim().status, claim("eve-fm").status) == ("verified", "pending")
    run({"media_services": [{"slug": "rock", "state": "absent"}]})
    look(timedelta(hours=1))
    assert (claim().status, claim("eve-fm").status) == ("lost", "verified")
    # Deleted ones are looked at seldom, and stay what they are.
    run({"media_services": [{"slug": "eve-fm", "state": "absent"}]})
    server.txt(f"_streamfleet.{RADIO}")
    assert due(9, set()) == []
    Domain.objects.update(next_check_at=timezone.now())
    assert due(9, set()) == [RADIO]
    look(timedelta(days=5))
    assert due(9, set()) == []
    assert (claim().status, claim("eve-fm").status) == ("lost", "verified")


def test_patience(world: None, run: Run, server: Any) -> None:
    claims(run, "rock")
    waits = []
    for hours in (0, 1, 8, 24, 24 * 29):
        now = look(timedelta(hours=hours))
        waits.append(claim().next_check_at - now)
    assert waits[0] == timedelta(minutes=1)
    assert timedelta(minutes=14) < waits[1] < timedelta(minutes=16)
    assert timedelta(hours=1, minutes=59) < waits[2] < timedelta(hours=2, minutes=1)
    assert waits[3:] == [timedelta(hours=6), timedelta(hours=6)]
    look(timedelta(days=30, hours=1))
    assert claim().next_check_at is None
    assert "After 30 days it is no longer looked for" in claim().message


def test_verified_ones_are_looked_at_daily_and_not_all_at_once(world: None, run: Run, server: Any) -> None:
    names = [f"d{number}.example.com" for number in range(5)]
    for name in names:
        claims(run, "rock", name=name)
        server.txt(f"_streamfleet.{name}", value("alice"))
    now = look()
    waits = {(claim(name=name).next_check_at - now).total_seconds() / 3600 for name in names}
    assert len(waits) > 1
    assert all(21.5 < hours <= 24 for hours in waits)


def test_the_jobs_process_looks_at_them(world: None, run: Run, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The test's own transaction would go with its connection.
    monkeypatch.setattr("streamfleet_panel.management.commands.jobs.close_old_connections", lambda: None)
    claims(run, "rock")
    server.txt(f"_streamfleet.{RADIO}", value("alice"))
    call_command("jobs", "--once")
    assert claim().status == "verified"
    # Not before it is their turn again.
    asked = len(server.asked)
    call_command("jobs", "--once")
    assert len(server.asked) == asked
    assert lookup.server_of("[2001:db8::53]:5353") == ("2001:db8::53", 5353)
    assert lookup.server_of("2001:db8::53") == ("2001:db8::53", 53)
    for wrong in ("ns.example.net", "192.0.2.53:0", "192.0.2.53:dns"):
        with pytest.raises(ValueError):
            lookup.server_of(wrong)


def test_a_step_waits_for_nobody_and_has_bounds(world: None, run: Run) -> None:
    """Many whose name servers take their time: a step returns at once, and so many are asked for at a time."""
    service = MediaService.objects.get(slug="rock")
    Domain.objects.bulk_create(
        [Domain(media_service=service, name=f"d{number}.example.com") for number in range(MOST_WAITING + 20)]
    )
    release, at_once, busy = threading.Event(), 0, 0
    lock = threading.Lock()

    def slow(name: str) -> Found:
        nonlocal at_once, busy
        with lock:
            busy += 1
            at_once = max(at_once, busy)
        release.wait(10)
        with lock:
            busy -= 1
        if name == "d7.example.com":
            raise RuntimeError("nobody expected this")
        return Found()

    checks = Checks(slow)
    try:
        started = time.monotonic()
        assert [checks.step() for _ in range(3)] == [0, 0, 0]
        assert time.monotonic() - started < 2
        assert len(checks._asked) == MOST_WAITING
        release.set()
        assert checks.finish() == MOST_WAITING + 20
    finally:
        release.set()
        checks.close()
    assert at_once == AT_A_TIME
    assert Domain.objects.filter(checked_at=None).count() == 0
    assert "did not answer" in claim(name="d7.example.com").message


def test_an_answer_that_could_not_be_stored_is_stored_later(
    world: None, run: Run, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims(run, "rock")
    server.txt(f"_streamfleet.{RADIO}", value("alice"))
    checks = Checks()

    def away(*args: Any) -> None:
        raise DatabaseError("away")

    try:
        checks.step()
        with monkeypatch.context() as patch:
            patch.setattr("streamfleet_panel.domains.judge._store", away)
            with pytest.raises(DatabaseError):
                checks.finish()
        assert claim().status == "pending"
        assert checks.finish() == 1
        assert claim().status == "verified"
    finally:
        checks.close()
    assert len([name for name, kind in server.asked if kind == "TXT"]) == 1


def test_a_check_that_is_asked_for_during_a_look_is_still_to_come(world: None, run: Run, server: Any) -> None:
    """Somebody sets the record and asks, while an answer from before is on its way."""
    claims(run, "rock")
    checks = Checks()
    try:
        checks.step()
        while not all(future.done() for _, future in checks._asked.values()):
            time.sleep(0.01)
        server.txt(f"_streamfleet.{RADIO}", value("alice"))
        ask(system(), claim())
        assert checks.step() == 1
        assert claim().status == "pending"
        assert checks.finish() == 1
        assert claim().status == "verified"
    finally:
        checks.close()
