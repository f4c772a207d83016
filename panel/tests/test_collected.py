"""What nodes tell between converges: who is asked, that a batch counts once, and what a node may not do with it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from django.db import DataError, OperationalError, connection
from django.test import Client
from django.utils import timezone

from streamfleet_panel import collected
from streamfleet_panel.collected import Batch
from streamfleet_panel.models import Account, AuditLog, Collection, MediaService, Node, QueuedTrack
from streamfleet_panel.worker import ask as asking
from streamfleet_panel.worker import collector as collector_module
from streamfleet_panel.worker import runner
from streamfleet_panel.worker.ask import Running, Unanswered, ask, batch_of
from streamfleet_panel.worker.collector import Collector
from streamfleet_panel.worker.config import Config
from streamfleet_panel.worker.runner import Target

pytestmark = pytest.mark.django_db

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA87XWuBJn2PerAcsbHAuAzufLtl4aLjavEPODNG1Rzn"
TARGET = Target("node1", "192.0.2.1", 22, "streamfleet-converge", KEY)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = Config(
        release=tmp_path,
        run_dir=tmp_path / "run",
        url="https://panel.example.net",
        ca=tmp_path / "ca.pem",
        token_file=tmp_path / "token",
        ssh_key=tmp_path / "key",
        programs=Path("/usr/bin"),
        collect=0.01,
    )
    runner.prepare(config)
    return config


@pytest.fixture
def stored(monkeypatch) -> list:
    """What a feed called ``told`` has stored."""
    found: list = []
    monkeypatch.setitem(collected.FEEDS, "told", lambda services, items, now: found.append((dict(services), items)))
    return found


def node(name: str = "node1", observed_generation: int = 1, **more: object) -> Node:
    values = {"address": "192.0.2.1", "host_key": KEY, "observed_generation": observed_generation, **more}
    return Node.objects.create(name=name, **values)


def service(slug: str, on: Node, **more: object) -> MediaService:
    customer, _ = Account.objects.get_or_create(username="ada", defaults={"email": "a@example.net", "uid": 200001})
    return MediaService.objects.create(
        slug=slug, name=slug, customer=customer, engine="icecast", service_type="radio", node=on, **more
    )


def batch(*items: tuple[str, dict], more: bool = False, cursor: int = 1) -> Batch:
    return Batch({"told": list(items), "unheard-of": list(items)}, {"told": {"rock": cursor}}, more)


class Fleet:
    """A double of the nodes: answers what the test says, remembers who was asked what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.answer: Batch | Exception = batch()

    def __call__(self, target, node_id, cursors, config, running) -> Batch:
        self.asked.append((target.name, cursors))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def turn(collector: Collector) -> None:
    """One question to everybody who is due, and the answers stored."""
    time.sleep(0.02)
    collector._last_look = float("-inf")
    collector.turn()
    for future, _place, _name in list(collector._asked.values()):
        future.exception(10)
    collector._take()


def test_only_nodes_in_use_are_asked(config):
    node("used")
    node("draining", status=Node.Status.DRAINING)
    node("disabled", status=Node.Status.DISABLED)
    node("new", observed_generation=0)
    node("keyless", host_key=None)
    fleet = Fleet()
    turn(Collector(config, fleet))
    assert sorted(name for name, _cursors in fleet.asked) == ["draining", "used"]


def test_the_next_question_begins_where_the_last_answer_ended(config, stored):
    one = node()
    rock = service("rock", one)
    fleet = Fleet()
    collector = Collector(config, fleet)
    fleet.answer = batch(("rock", {"n": 1}), cursor=5)
    turn(collector)
    fleet.answer = batch(cursor=5)
    turn(collector)
    assert [cursors for _name, cursors in fleet.asked] == [{}, {"told": {"rock": 5}}]
    assert stored == [({"rock": rock.pk}, [("rock", {"n": 1})])]
    one.collection.refresh_from_db()
    assert (one.collection.number, one.collection.message) == (2, "")
    assert one.collection.collected_at is not None


def test_a_batch_that_comes_twice_counts_once(stored):
    one = node()
    place = collected.place_of(one.pk)
    assert collected.store(one.pk, place.number, batch(("rock", {"n": 1})))
    assert not collected.store(one.pk, place.number, batch(("rock", {"n": 1})))
    assert len(stored) == 1


def test_the_cursors_stay_where_the_items_cannot_be_stored(config, monkeypatch):
    def refuse(*_args: object) -> None:
        raise DataError("value too long")

    monkeypatch.setitem(collected.FEEDS, "told", refuse)
    one = node()
    fleet = Fleet()
    fleet.answer = batch(("rock", {}))
    turn(Collector(config, fleet))
    one.collection.refresh_from_db()
    assert (one.collection.number, one.collection.cursors) == (0, {})
    assert one.collection.message == "Its answer cannot be stored: DataError."


@pytest.mark.parametrize("error", [RecursionError("rock: secret"), ValueError("rock: secret"), KeyError("secret")])
def test_what_fails_with_a_nodes_answer_costs_this_answer_and_no_worker(config, monkeypatch, caplog, error):
    def refuse(services: dict, *_args: object) -> None:
        if "rock" in services:
            raise error

    monkeypatch.setitem(collected.FEEDS, "told", refuse)
    bad, good = node("bad"), node("good")
    service("rock", bad)
    fleet = Fleet()
    fleet.answer = batch(("rock", {}))
    turn(Collector(config, fleet))
    for one in (bad, good):
        one.collection.refresh_from_db()
    assert (bad.collection.number, good.collection.number) == (0, 1)
    assert bad.collection.message == f"Its answer cannot be stored: {type(error).__name__}."
    assert "secret" not in caplog.text
    assert "test_collected.py, line " in caplog.text


def test_a_node_shows_when_it_was_read_and_why_it_was_not(world, api):
    root = api("root")
    shown = root("GET", "/nodes/node1")[1]
    assert (shown["collected_at"], shown["collection_message"]) == (None, "")
    pk = Node.objects.get(name="node1").pk
    assert collected.store(pk, collected.place_of(pk).number, Batch({}, {"air": {"rock": {}}}, False))
    collected.failed(pk, "It does not answer.")
    for found in (root("GET", "/nodes/node1")[1], root("GET", "/nodes?search=node1")[1]["items"][0]):
        assert found["collected_at"].endswith("Z")
        assert found["collection_message"] == "It does not answer."
    client = Client()
    client.force_login(Account.objects.get(username="root"), backend="streamfleet_panel.auth.AccountBackend")
    page = client.get(f"/admin/panel/node/{pk}/change/").content.decode()
    assert "the last try failed: It does not answer." in page


def test_an_error_in_asking_costs_one_answer(config):
    one = node()
    fleet = Fleet()
    fleet.answer = MemoryError()
    turn(Collector(config, fleet))
    one.collection.refresh_from_db()
    assert one.collection.message == "Its answer cannot be stored: MemoryError."


@pytest.mark.parametrize("step", ["store", "place_of"])
def test_an_error_of_the_database_with_one_node_holds_up_no_other(config, monkeypatch, step):
    bad, good = node("bad"), node("good")
    for one in (bad, good):
        collected.place_of(one.pk)
    real = getattr(collected, step)

    def locked(node_id: int, *rest: object) -> object:
        if node_id == bad.pk:
            raise OperationalError("deadlock detected")
        return real(node_id, *rest)

    monkeypatch.setattr(collected, step, locked)
    fleet = Fleet()
    collector = Collector(config, fleet)
    turn(collector)
    for one in (bad, good):
        one.collection.refresh_from_db()
    assert (bad.collection.number, good.collection.number) == (0, 1)
    assert bad.collection.message == "Its answer cannot be stored: OperationalError."
    # It is asked again later.
    assert bad.pk not in collector._asked
    monkeypatch.undo()
    collector._due.clear()
    turn(collector)
    bad.collection.refresh_from_db()
    assert (bad.collection.number, bad.collection.message) == (1, "")


def test_a_database_that_is_away_is_said_and_nothing_is_lost(config, monkeypatch):
    one = node()
    real = collected.store

    def gone(*_args: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(collected, "store", gone)
    monkeypatch.setattr(connection, "is_usable", lambda: False)
    fleet = Fleet()
    fleet.answer = batch(cursor=5)
    collector = Collector(config, fleet)
    with pytest.raises(OperationalError):
        turn(collector)
    monkeypatch.setattr(collected, "store", real)
    turn(collector)
    one.collection.refresh_from_db()
    assert (one.collection.number, one.collection.cursors) == (1, {"told": {"rock": 5}})


def test_all_nodes_get_their_turn_though_only_so_many_are_asked_at_once(config, monkeypatch):
    monkeypatch.setattr(collector_module, "PARALLEL", 2)
    for number in range(6):
        node(f"node{number}")
    fleet = Fleet()
    collector = Collector(config, fleet)
    # All are due again by each turn: the asking takes longer than the time between two questions.
    for _ in range(3):
        turn(collector)
    assert sorted(name for name, _cursors in fleet.asked) == [f"node{number}" for number in range(6)]


def test_what_a_node_has_restarted_is_in_the_audit_log_of_its_own_services():
    here, there = node("here"), node("there")
    service("rock", here)
    service("jazz", there)
    line = {"at": "2026-11-28T06:00:00Z", "unit": "streamfleet-icecast@rock.service", "cause": "it answered\nnothing"}
    told = [("", {**line, "service": slug}) for slug in ("rock", "jazz", "", "gone")] + [
        ("", {"service": 3}),
        ("rock", line),
    ]
    answer = Batch({"hung": told}, {"hung": {"": [1, 2]}}, more=False)
    number = collected.place_of(here.pk).number
    collected.store(here.pk, number, answer)
    collected.store(here.pk, number, answer)
    (entry,) = AuditLog.objects.filter(action="restarted")
    assert (entry.key, entry.kind, entry.actor_name, entry.owner.username) == (
        "rock",
        "media_service",
        "node:here",
        "ada",
    )
    assert entry.changes["cause"] == {"before": None, "after": "it answered nothing"}


def test_a_node_speaks_of_its_own_services_only(stored):
    here, there = node("here"), node("there")
    rock, _jazz = service("rock", here), service("jazz", there)
    collected.store(here.pk, collected.place_of(here.pk).number, batch(("jazz", {"n": 1})))
    assert stored[0][0] == {"rock": rock.pk}


def test_a_node_that_does_not_answer_is_asked_less_often_and_says_why(config, caplog):
    one = node()
    fleet = Fleet()
    fleet.answer = Unanswered("no route")
    collector = Collector(config, fleet)
    for _ in range(8):
        turn(collector)
    one.collection.refresh_from_db()
    assert one.collection.message == "no route"
    assert 2 <= len(fleet.asked) <= 5
    assert caplog.text.count("no route") == 1
    collector._due.clear()
    fleet.answer = batch()
    turn(collector)
    one.collection.refresh_from_db()
    assert one.collection.message == ""


def test_a_node_from_which_somebody_waits_to_hear_is_asked_at_once(config):
    config = Config(**{**config.__dict__, "collect": 3600.0})
    one, other = node(), node("node2")
    rock = service("rock", one, settings={"autodj": {}})
    fleet = Fleet()
    collector = Collector(config, fleet)

    def asked() -> list[str]:
        fleet.asked.clear()
        turn(collector)
        return sorted(name for name, _cursors in fleet.asked)

    assert asked() == ["node1", "node2"]
    assert asked() == []
    track = QueuedTrack.objects.create(media_service=rock, path="a.mp3")
    assert asked() == ["node1"]
    # Some times, and then when it is its turn: a queue that nobody looks at costs no more than that.
    assert [asked() for _ in range(4)] == [["node1"], ["node1"], [], []]
    QueuedTrack.objects.filter(pk=track.pk).delete()
    track = QueuedTrack.objects.create(media_service=rock, path="b.mp3")
    # One that is not reached is not asked more often for that.
    fleet.answer = Unanswered("no route")
    assert asked() == ["node1"]
    assert asked() == []
    fleet.answer = batch()
    collector._failures.clear()
    collector._hurried.clear()
    collector._due = {one.pk: float("inf"), other.pk: float("inf")}
    assert asked() == ["node1"]
    collector._hurried.clear()
    # It has told, or has not for so long that nobody waits any more.
    for changes in ({"state": "waiting"}, {"state": "sent", "created_at": timezone.now() - collected.AWAITED}):
        QueuedTrack.objects.filter(pk=track.pk).update(**changes)
        collector._due = {one.pk: float("inf"), other.pk: float("inf")}
        assert asked() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"stopped": True},
        {"suspended": True},
        {"over_quota": True},
        {"enabled": False},
        {"deleted_at": timezone.now()},
        {"settings": {}},
        {"settings": {"autodj": None}},
        {"settings": {"autodj": {"enabled": False}}},
    ],
)
def test_nobody_waits_to_hear_of_a_station_whose_autodj_does_not_run(changes):
    rock = service("rock", node(), settings={"autodj": {}})
    tracks = [QueuedTrack.objects.create(media_service=rock, path=f"{number}.mp3") for number in range(2)]
    assert collected.awaited() == {rock.node_id: {track.pk for track in tracks}}
    MediaService.objects.filter(pk=rock.pk).update(**changes)
    assert collected.awaited() == {}


def test_no_tenant_takes_the_turn_of_other_nodes(config, monkeypatch):
    """However many stations on however many nodes have just been queued something."""
    monkeypatch.setattr(collector_module, "PARALLEL", 2)
    config = Config(**{**config.__dict__, "collect": 3600.0})
    busy = [node(f"busy{number}") for number in range(3)]
    calm = [node(f"calm{number}") for number in range(3)]
    fleet = Fleet()
    collector = Collector(config, fleet)
    now = time.monotonic()
    collector._due = {it.pk: now + 3600 for it in busy} | {it.pk: now - 1 for it in calm}
    for number, it in enumerate(busy):
        QueuedTrack.objects.create(media_service=service(f"s{number}", it, settings={"autodj": {}}), path="a.mp3")
    turn(collector)
    turn(collector)
    asked = [name for name, _cursors in fleet.asked]
    assert sorted(asked[:2]) == ["calm0", "calm1"], "who is overdue comes first"
    assert (asked[2], asked[3][:4]) == ("calm2", "busy")
    # With nobody else to ask, one place stays free for whoever's turn comes.
    turn(collector)
    assert [name[:4] for name, _cursors in fleet.asked[4:]] == ["busy"]


def test_nobody_is_asked_where_it_is_switched_off(config):
    node()
    fleet = Fleet()
    turn(Collector(Config(**{**config.__dict__, "collect": 0.0}), fleet))
    assert fleet.asked == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b'{"schema": 1}',
        b'{"schema": 2, "feeds": {}, "more": false}',
        b'{"schema": 1, "feeds": [], "more": false}',
        b'{"schema": 1, "feeds": {"told": {"items": [["rock"]], "cursors": {}}}, "more": false}',
        b'{"schema": 1, "feeds": {"told": {"items": [["rock", 1]], "cursors": {}}}, "more": false}',
        b'{"schema": 1, "feeds": {"told": {"items": [[1, {}]], "cursors": {}}}, "more": false}',
        b'{"schema": 1, "feeds": {"told": {"items": [], "cursors": 1}}, "more": false}',
        b'{"schema": 1, "feeds": {"told": {"items": [["rock", {"n": NaN}]], "cursors": {}}}, "more": false}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_answer_is_refused(text):
    with pytest.raises(Unanswered, match=r"install\.yml"):
        batch_of(text)


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """A double of ssh: writes down how it was called, and does what the test says."""

    def make(script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "ssh"
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/called\ncat >{tmp_path}/asked\n{script}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return tmp_path / "called"

    return make


def test_a_node_is_asked_by_one_command_with_its_key_pinned(config, ssh, tmp_path):
    called = ssh(
        """echo '{"schema": 1, "feeds": {"told": {"items": [["rock", {"n": 1}]], "cursors": {}}}, "more": true}'"""
    )
    answer = ask(TARGET, 7, {"told": {"rock": [1, 2]}}, config, Running())
    assert (answer.items, answer.more) == ({"told": [("rock", {"n": 1})]}, True)
    assert json.loads((tmp_path / "asked").read_text()) == {"cursors": {"told": {"rock": [1, 2]}}}
    words = called.read_text().splitlines()
    assert words[-2:] == ["streamfleet-converge@192.0.2.1", asking.COMMAND]
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "GlobalKnownHostsFile=/dev/null"} <= set(words)
    assert KEY in (config.run_dir / "collect" / "7" / "known_hosts").read_text()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Connection refused' >&2; exit 255", "Connection refused"),
        ("echo 'python3: cannot open file'; exit 2", r"cannot open file \(run install\.yml for this node\)"),
        ('echo \'{"schema": 1, "feeds": "secret\'; exit 3', r"^its program ended with 3 \(run"),
        ("printf '%09999d {secret' 1 | tr 0 x | sed 's/^/{/'; exit 3", r"^its program ended with 3 \(run"),
        ("echo 'sudo: a password is required'; echo '{secret}'; exit 1", r"^sudo: a password is required \(run"),
        ("yes", "answered too much"),
        ("exec sleep 60", "did not answer within"),
    ],
)
def test_why_a_node_does_not_answer_is_said(config, ssh, monkeypatch, script, said):
    monkeypatch.setattr(asking, "SECONDS", 2.0)
    ssh(script)
    with pytest.raises(Unanswered, match=said):
        ask(TARGET, 7, {}, config, Running())


def test_what_sudo_says_too_is_no_part_of_the_answer(config, ssh):
    answer = (
        """echo '{"schema": 1, "feeds": {"told": {"items": [["rock", {"n": 1}]], "cursors": {}}}, "more": false}'"""
    )
    warning = "echo 'sudo: unable to resolve host node1: Name or service not known'"
    ssh(f"{warning}; {warning}; {answer}; {warning}")
    assert ask(TARGET, 7, {}, config, Running()).items == {"told": [("rock", {"n": 1})]}


def test_a_collector_that_is_closed_waits_for_no_node_that_hangs(config, ssh):
    called = ssh("exec sleep 60")
    node()
    collector = Collector(config)
    collector.turn()
    ((future, _place, _name),) = collector._asked.values()
    until = time.monotonic() + 10
    while not called.exists() and time.monotonic() < until:
        time.sleep(0.01)
    collector.close()
    assert isinstance(future.exception(5), Unanswered)
    # One that was about to begin.
    with pytest.raises(Unanswered):
        ask(TARGET, 7, {}, config, collector._running)


def test_a_node_whose_address_is_an_option_of_ssh_is_not_asked(config, ssh):
    called = ssh("true")
    with pytest.raises(Unanswered, match="address"):
        ask(Target("node1", "-oProxyCommand=id", 22, "streamfleet-converge", KEY), 7, {}, config, Running())
    assert not called.exists()


def test_what_was_stored_goes_with_its_node():
    one = node()
    collected.place_of(one.pk)
    one.delete()
    assert not Collection.objects.exists()
