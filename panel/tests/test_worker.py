"""The converge worker: what is due, one run per node, back-off, taking up what a dead worker left."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from streamfleet_panel.models import Account, ConvergeRun, MediaService, Node, ServiceStatus
from streamfleet_panel.worker import queue, runner
from streamfleet_panel.worker.config import Config, ConfigError
from streamfleet_panel.worker.loop import Worker
from streamfleet_panel.worker.runner import Outcome, Target

pytestmark = pytest.mark.django_db

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA87XWuBJn2PerAcsbHAuAzufLtl4aLjavEPODNG1Rzn"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    token = tmp_path / "token"
    token.write_text("sft_aaaaaaaa_secret\n")
    config = Config(
        release=tmp_path,
        run_dir=tmp_path / "run",
        url="https://panel.example.net",
        ca=tmp_path / "ca.pem",
        token_file=token,
        ssh_key=tmp_path / "key",
        programs=Path("/usr/bin"),
        parallel=3,
        poll=0.02,
        backoff_first=2.0,
        backoff_most=300.0,
        keep_runs=3,
        collect=0,
    )
    runner.prepare(config)
    return config


class Fleet:
    """A double of Ansible: records what it was asked, answers what the test says, reports as a node would."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.at_once: dict[str, int] = {}
        self.overlaps = 0
        self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self.answers: dict[str, Outcome] = {}
        self._lock = threading.Lock()

    def __call__(self, run_id: int, target: Target, config: Config, cancelled: object) -> Outcome:
        with self._lock:
            self.asked.append(target.name)
            self.overlaps += self.at_once.get(target.name, 0)
            self.at_once[target.name] = self.at_once.get(target.name, 0) + 1
            self.most_at_once = max(self.most_at_once, sum(self.at_once.values()))
        self.gate.wait(10)
        with self._lock:
            self.at_once[target.name] -= 1
        return self.answers.get(target.name, Outcome(True))


def node(name: str = "node1", generation: int = 1, **more: object) -> Node:
    return Node.objects.create(name=name, address="192.0.2.1", host_key=KEY, generation=generation, **more)


def turn(worker: Worker, pool: ThreadPoolExecutor) -> None:
    """One look, and the runs it starts brought to an end. Nodes report what the double says that it applied."""
    settle(worker)
    worker._again = True
    worker.step(pool)
    settle(worker)
    worker.step(pool)


def settle(worker: Worker) -> None:
    """Wait for what runs, and report it as the node would."""
    for future in list(worker._running):
        claimed = worker._running[future]
        if future.result(10).ok:
            Node.objects.filter(pk=claimed.node_id).update(observed_generation=claimed.generation)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def worker(config: Config, fleet: Fleet) -> Worker:
    return Worker(config, fleet)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(3) as pool:
        yield pool


def test_only_nodes_that_are_behind_are_converged(worker, fleet, pool):
    node("behind")
    node("current", generation=0)
    node("off", status=Node.Status.DISABLED)
    turn(worker, pool)
    turn(worker, pool)
    assert fleet.asked == ["behind"]
    run = ConvergeRun.objects.get()
    assert (run.state, run.attempts, run.generation) == ("succeeded", 1, 1)
    assert run.started_at <= run.finished_at


def test_a_request_by_hand_is_honoured_though_nothing_is_behind(worker, fleet, pool):
    current = node(generation=0)
    ConvergeRun.objects.create(node=current, requested_by="ada")
    turn(worker, pool)
    assert fleet.asked == ["node1"]
    assert ConvergeRun.objects.get().state == "succeeded"


def test_a_request_for_a_disabled_node_fails_and_says_why(worker, fleet, pool):
    off = node(status=Node.Status.DISABLED)
    ConvergeRun.objects.create(node=off, requested_by="ada")
    turn(worker, pool)
    run = ConvergeRun.objects.get()
    assert fleet.asked == []
    assert run.state == "failed"
    assert "node1" in run.message
    assert "disabled" in run.message


def test_one_run_per_node_and_no_more_than_allowed_at_once(worker, fleet, pool):
    nodes = [node(f"node{number}") for number in range(5)]
    for one in nodes:
        ConvergeRun.objects.create(node=one, requested_by="a")
        ConvergeRun.objects.create(node=one, requested_by="b")
    fleet.gate.clear()
    worker._again = True
    worker.step(pool)
    worker._again = True
    worker.step(pool)
    assert ConvergeRun.objects.filter(state="running").count() == 3
    fleet.gate.set()
    for _ in range(6):
        turn(worker, pool)
    assert fleet.most_at_once <= 3
    assert fleet.overlaps == 0
    # Two requests of one node that came before its run began are one run.
    assert sorted(fleet.asked) == [f"node{number}" for number in range(5)]
    assert set(ConvergeRun.objects.values_list("state", flat=True)) == {"succeeded"}


def test_changes_during_a_run_bring_one_more_run(worker, fleet, pool):
    one = node()
    fleet.gate.clear()
    worker.step(pool)
    Node.objects.filter(pk=one.pk).update(generation=9)
    worker._again = True
    worker.step(pool)
    fleet.gate.set()
    turn(worker, pool)
    turn(worker, pool)
    turn(worker, pool)
    assert fleet.asked == ["node1", "node1"]
    one.refresh_from_db()
    assert one.observed_generation == one.generation == 9


def test_a_failed_run_waits_longer_each_time_and_says_why(worker, fleet, pool, config):
    one = node()
    fleet.answers["node1"] = Outcome(False, reachable=False, message="no route", output="log")
    waits = []
    for attempt in range(1, 12):
        turn(worker, pool)
        run = ConvergeRun.objects.get()
        assert (run.state, run.attempts) == ("pending", attempt)
        assert run.message == "Unreachable: no route"
        assert run.output == "log"
        waits.append((run.next_attempt_at - timezone.now()).total_seconds())
        turn(worker, pool)
        assert len(fleet.asked) == attempt, "tried again before its time"
        ConvergeRun.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    assert 1 < waits[0] <= 2
    assert waits[:6] == sorted(waits[:6])
    assert 200 < waits[-1] <= config.backoff_most
    fleet.answers.clear()
    turn(worker, pool)
    one.refresh_from_db()
    assert one.observed_generation == 1
    assert ConvergeRun.objects.get().state == "succeeded"


def test_a_change_ends_the_wait_of_a_failure_but_not_of_an_unreachable_node(worker, fleet, pool):
    node("bad")
    node("gone")
    fleet.answers = {
        "bad": Outcome(False, message="a full disk"),
        "gone": Outcome(False, reachable=False, message="no route"),
    }
    turn(worker, pool)
    turn(worker, pool)
    assert sorted(fleet.asked) == ["bad", "gone"]
    Node.objects.update(generation=2)
    turn(worker, pool)
    turn(worker, pool)
    assert sorted(fleet.asked) == ["bad", "bad", "gone"]
    assert ConvergeRun.objects.get(node__name="bad").attempts == 1


def test_a_run_that_reports_nothing_is_a_failure_and_not_repeated_at_once(worker, fleet, pool):
    node()
    for _ in range(4):
        worker._again = True
        worker.step(pool)
        for future in list(worker._running):
            future.result(10)
    assert fleet.asked == ["node1"]
    run = ConvergeRun.objects.get()
    assert run.state == "pending"
    assert "did not reach the panel" in run.message


def test_a_crash_of_the_double_is_a_failed_run(config, pool):
    def crash(*_args: object) -> Outcome:
        raise RuntimeError("boom")

    node()
    worker = Worker(config, crash)
    worker.step(pool)
    time.sleep(0.1)
    worker.step(pool)
    assert ConvergeRun.objects.get().message == "RuntimeError: boom"


def test_what_a_dead_worker_of_this_host_left_is_taken_up_at_once(config, fleet, pool):
    one = node()
    run = ConvergeRun.objects.create(node=one, state="running", attempts=1, generation=1, heartbeat_at=timezone.now())
    runner.folder_of(run.pk, config).mkdir(parents=True)
    orphan = subprocess.Popen(["sleep", "60"], env={**os.environ, runner.MARK: str(run.pk)})
    bystander = subprocess.Popen(["sleep", "60"], env={**os.environ, runner.MARK: "999999"})
    try:
        worker = Worker(config, fleet)
        worker._recover()
        assert orphan.wait(5) == -9
        assert bystander.poll() is None
        assert not runner.folder_of(run.pk, config).exists()
        turn(worker, pool)
        run.refresh_from_db()
        assert (run.state, run.attempts) == ("succeeded", 2)
    finally:
        for process in (orphan, bystander):
            process.kill()
            process.wait()


def test_what_a_dead_worker_of_another_host_left_is_taken_up_when_its_lease_ends(worker, fleet, pool, config):
    now = timezone.now()
    lost = node("lost")
    alive = node("alive")
    ConvergeRun.objects.create(node=lost, state="running", heartbeat_at=now - timedelta(seconds=config.lease + 1))
    ConvergeRun.objects.create(node=alive, state="running", heartbeat_at=now)
    turn(worker, pool)
    turn(worker, pool)
    assert fleet.asked == ["lost"]
    assert ConvergeRun.objects.get(node=alive).state == "running"


def test_own_runs_keep_their_lease(worker, fleet, pool, config):
    node()
    fleet.gate.clear()
    worker.step(pool)
    old = timezone.now() - timedelta(seconds=config.lease + 5)
    ConvergeRun.objects.update(heartbeat_at=old)
    worker._last_heartbeat = float("-inf")
    worker.step(pool)
    assert ConvergeRun.objects.get().heartbeat_at > old
    assert ConvergeRun.objects.get().state == "running"
    fleet.gate.set()


def cut_off() -> None:
    """End the connection from the database's side. Raises OperationalError."""
    ends = {
        "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
        "mysql": "KILL CONNECTION CONNECTION_ID()",
    }
    if connection.vendor in ends:
        with connection.cursor() as cursor:
            cursor.execute(ends[connection.vendor])
    # A file has no other side that could go away; it can be locked for too long.
    raise OperationalError("database is locked")


@pytest.mark.django_db(transaction=True)
def test_a_database_that_goes_away_in_the_middle_is_asked_again(worker, fleet, monkeypatch):
    node()
    claim, cut = queue.claim, []

    def interrupted(limit: int) -> list[queue.Claimed]:
        if not cut:
            cut.append(True)
            cut_off()
        return claim(limit)

    def converge(run_id: int, target: Target, config: Config, cancelled: object) -> Outcome:
        worker.stop()
        return fleet(run_id, target, config, cancelled)

    monkeypatch.setattr(queue, "claim", interrupted)
    worker._converge = converge
    worker.run()
    assert (cut, fleet.asked) == ([True], ["node1"])
    assert ConvergeRun.objects.get().attempts == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_fails_ends_what_it_asks_nodes_too(worker, monkeypatch):
    closed = []
    monkeypatch.setattr(worker._collector, "close", lambda: closed.append(True))

    def fail(pool: ThreadPoolExecutor) -> None:
        raise RuntimeError("unheard of")

    monkeypatch.setattr(worker, "step", fail)
    with pytest.raises(RuntimeError):
        worker.run()
    assert closed == [True]


def test_a_turn_closes_no_connection(worker, pool):
    """It may be part of its caller's transaction: closing old connections is for between turns."""
    node()
    mine = connection.connection
    assert connection.in_atomic_block
    worker.step(pool)
    assert connection.connection is mine
    assert Node.objects.get().name == "node1"


def failing(worker: Worker, fleet: Fleet, pool: ThreadPoolExecutor) -> Node:
    """A node with a service that fails: it has seen the newest document, and its run waits for the next attempt."""
    one = node(generation=5)
    customer = Account.objects.create(username="ada", email="a@example.net", uid=200001)
    service = MediaService.objects.create(
        slug="rock", name="Rock", customer=customer, engine="icecast", service_type="radio", node=one, generation=5
    )
    fleet.answers["node1"] = Outcome(False, message="rock: a full disk")
    turn(worker, pool)
    Node.objects.update(observed_generation=5, observed_at=ConvergeRun.objects.get().started_at)
    ServiceStatus.objects.create(service=service, generation=5, state="failed", reported_at=timezone.now())
    return one


def test_a_service_that_failed_is_tried_again_though_the_node_has_seen_its_document(worker, fleet, pool):
    failing(worker, fleet, pool)
    turn(worker, pool)
    assert ConvergeRun.objects.get().state == "pending"
    # A hand run that fails on it as well does not end the retries either.
    Node.objects.update(observed_at=timezone.now())
    turn(worker, pool)
    assert ConvergeRun.objects.get().state == "pending"
    ConvergeRun.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    fleet.answers.clear()
    turn(worker, pool)
    assert fleet.asked == ["node1", "node1"]
    assert ConvergeRun.objects.get().state == "succeeded"


def test_a_node_that_a_hand_run_brought_up_to_date_is_not_tried_again(worker, fleet, pool):
    failing(worker, fleet, pool)
    Node.objects.update(observed_at=timezone.now())
    ServiceStatus.objects.update(state="running")
    turn(worker, pool)
    assert fleet.asked == ["node1"]
    run = ConvergeRun.objects.get()
    assert (run.state, run.message) == ("succeeded", "Brought up to date by another run.")


def test_only_the_newest_finished_runs_are_kept(worker, fleet, pool, config):
    one = node(generation=0)
    for generation in range(1, 8):
        Node.objects.filter(pk=one.pk).update(generation=generation)
        turn(worker, pool)
    kept = list(ConvergeRun.objects.values_list("generation", flat=True))
    assert kept == [7, 6, 5]
    assert len(kept) == config.keep_runs


def test_nothing_is_read_in_full_while_nothing_changes(worker, pool, django_assert_num_queries):
    node(generation=0)
    worker.step(pool)
    worker.step(pool)
    worker._last_full = time.monotonic()
    worker._last_heartbeat = time.monotonic()
    worker._again = False
    worker.step(pool)
    with django_assert_num_queries(1):
        worker.step(pool)


@pytest.mark.parametrize(
    "write",
    [
        lambda one: Node.objects.update(generation=2),
        lambda one: Node.objects.update(observed_generation=1, observed_at=timezone.now()),
        lambda one: Node.objects.update(observed_at=timezone.now()),
        lambda one: Node.objects.update(status=Node.Status.DISABLED),
        lambda one: ConvergeRun.objects.create(node=one, requested_by="ada"),
        lambda one: ConvergeRun.objects.update(state="running"),
        lambda one: ConvergeRun.objects.update(state="succeeded"),
        lambda one: ConvergeRun.objects.update(next_attempt_at=None),
        lambda one: node("another"),
        lambda one: one.delete(),
    ],
)
def test_whatever_decides_what_is_due_is_seen(write):
    one = node()
    ConvergeRun.objects.create(node=one, next_attempt_at=timezone.now())
    ConvergeRun.objects.create(node=node("other"), state="failed")
    before = queue.standing()
    assert queue.standing() == before
    write(one)
    assert queue.standing() != before


def test_a_second_worker_of_the_host_is_refused(config, fleet):
    first, second = Worker(config, fleet), Worker(config, fleet)
    first.stop()
    started = threading.Event()
    first._recover = started.set  # type: ignore[method-assign]
    first.run()
    assert started.is_set()
    from streamfleet_panel.worker.loop import _OnlyOne

    with _OnlyOne(config), pytest.raises(ConfigError, match="another worker"):
        second.run()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "{{ lookup('pipe', 'id') }}", "name"),
        ("address", "-oProxyCommand=id", "address"),
        ("address", "{{ 7*7 }}", "address"),
        ("address", "a b", "address"),
        ("user", "root -o x", "ssh_user"),
        ("port", 0, "ssh_port"),
        ("host_key", "", "install.yml"),
        ("host_key", "ssh-ed25519 AAAA\nother ssh-rsa AAAA", "host_key"),
    ],
)
def test_a_node_that_cannot_go_into_an_inventory_is_refused(config, field, value, said):
    good = {"name": "node1", "address": "192.0.2.1", "port": 22, "user": "streamfleet-converge", "host_key": KEY}
    assert Target(**good).fault() is None
    outcome = runner.converge(1, Target(**{**good, field: value}), config, lambda: False)
    assert not outcome.ok
    assert said in outcome.message


def test_inventory_and_environment_hold_nothing_but_the_node(config, monkeypatch):
    monkeypatch.setenv("STREAMFLEET_PANEL_SECRET_KEY", "canary")
    target = Target("node1", "192.0.2.1", 2222, "streamfleet-converge", KEY)
    hosts = runner.inventory(target, config, config.run_dir)["all"]["children"]["streamfleet_nodes"]["hosts"]
    assert list(hosts) == ["node1"]
    assert hosts["node1"]["ansible_host"] == "192.0.2.1"
    assert "StrictHostKeyChecking=yes" in hosts["node1"]["ansible_ssh_args"]
    assert runner.known_hosts(target) == f"[192.0.2.1]:2222 {KEY}\n"
    assert "canary" not in json.dumps(runner.environment(config, 1, "t"))


def test_a_run_of_the_real_ansible_says_why_it_failed_and_hides_the_token(config, tmp_path):
    """Real ansible-runner and ansible-playbook, a playbook of the test's, no node."""
    import sys

    (tmp_path / "playbooks").mkdir()
    play = [
        {
            "name": "Converge",
            "hosts": "all",
            "gather_facts": False,
            "tasks": [
                {
                    "name": "Fail",
                    "delegate_to": "localhost",
                    "connection": "local",
                    "ansible.builtin.fail": {"msg": "disk full; {{ lookup('env', 'STREAMFLEET_TOKEN') }}"},
                }
            ],
        }
    ]
    (tmp_path / "playbooks" / "converge.yml").write_text(json.dumps(play))
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    real = Config(**{**config.__dict__, "programs": Path(sys.executable).parent})
    target = Target("node1", "192.0.2.1", 22, "streamfleet-converge", KEY)
    outcome = runner.converge(7, target, real, lambda: False)
    assert not outcome.ok
    assert outcome.reachable
    assert outcome.message.startswith("disk full")
    assert "secret" not in outcome.message + outcome.output
    play[0]["tasks"] = [{"name": "Do", "ansible.builtin.debug": {"msg": "well"}}]
    (tmp_path / "playbooks" / "converge.yml").write_text(json.dumps(play))
    assert runner.converge(8, target, real, lambda: False).ok


def test_settings_that_cannot_work_are_named(tmp_path):
    with pytest.raises(ConfigError, match="STREAMFLEET_WORKER_URL"):
        Config.from_environment({}, tmp_path)
    with pytest.raises(ConfigError, match="STREAMFLEET_WORKER_PARALLEL is '0'"):
        Config.from_environment({"STREAMFLEET_WORKER_URL": "https://x", "STREAMFLEET_WORKER_PARALLEL": "0"}, tmp_path)


def test_backoff_is_bounded(config):
    for attempt in range(1, 60):
        assert 0 < queue.backoff(attempt, config) <= config.backoff_most
