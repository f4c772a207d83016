"""While an upgrade works: everything can be read, nothing is written but by its own probe, nothing is begun."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command, find_commands, load_command_class
from django.core.management.base import CommandError
from django.test import Client

from streamfleet_panel import maintenance
from streamfleet_panel.management import writing
from streamfleet_panel.models import Account, ApiToken, AuditLog, ConvergeRun, Counter, Job, Node
from streamfleet_panel.worker.config import Config
from streamfleet_panel.worker.loop import Worker
from streamfleet_panel.worker.runner import Outcome, Target
from tests_support import Api

pytestmark = pytest.mark.django_db
CHANGE = {"document": {"customers": [{"username": "bob", "name": "Bob"}]}}


@pytest.fixture
def say(settings: Any, tmp_path: Path) -> Callable[..., None]:
    """``say(admit=[…], hold=[…])``: what the file says; ``say(text="…")``: what lies there."""
    settings.MAINTENANCE_FILE = str(tmp_path / "maintenance.json")

    def write(text: str | None = None, **more: list[str]) -> None:
        told = {"reason": "Upgrade from 0.1.0 to 0.2.0", "admit": [], "hold": ["worker", "jobs"], **more}
        (tmp_path / "maintenance.json").write_text(json.dumps(told) if text is None else text)

    return write


def test_everything_is_read_and_nothing_written(api: Callable[..., Api], say: Callable[..., None]) -> None:
    boss = api("boss")
    say()
    assert boss("GET", "/media-services/rock")[0] == 200
    assert boss("GET", "/health")[0] == 200
    status, body = boss("POST", "/apply", CHANGE)
    assert (status, body["error"]["code"]) == (503, "maintenance")
    assert body["error"]["message"].startswith("Upgrade from 0.1.0 to 0.2.0: ")
    answer = boss.client.put("/api/v1/customers/bob", {}, content_type="application/json")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "20")
    assert boss("DELETE", "/media-services/rock")[0] == 503
    assert Account.objects.get(username="bob").name != "Bob"


def test_a_page_says_so_and_logs_nobody_in(world: None, say: Callable[..., None]) -> None:
    say()
    client = Client()
    assert client.get("/login/").status_code == 200
    answer = client.post("/login/", {"username": "boss", "password": "wrong"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "20")
    assert b"The panel is being upgraded" in answer.content
    assert client.post("/admin/login/", {}).status_code == 503


def test_the_probe_goes_through_and_its_token_is_checked_all_the_same(
    api: Callable[..., Api], say: Callable[..., None]
) -> None:
    boss, other = api("boss"), api("root")
    ident = boss.token.split("_")[1]
    say(admit=[ident])
    assert boss("POST", "/apply", CHANGE)[0] == 200
    assert other("POST", "/apply", CHANGE)[0] == 503
    assert Api(boss.client, f"sft_{ident}_{'x' * 43}")("POST", "/apply", CHANGE)[0] == 401
    # A page is nobody's token's.
    assert boss.client.post("/login/", {}, headers={"authorization": f"Bearer {boss.token}"}).status_code == 503


@pytest.mark.parametrize("text", ["", "{", "[]", '{"reason": "x"}', '{"reason": "x", "admit": 1, "hold": []}'])
def test_what_cannot_be_read_lets_nobody_in_and_holds_all(
    api: Callable[..., Api], say: Callable[..., None], text: str
) -> None:
    boss = api("boss")
    say(text)
    assert boss("POST", "/apply", CHANGE)[0] == 503
    assert maintenance.holds("worker")
    assert maintenance.holds("jobs")


#: Commands that change the panel's data while it is read-only, or none of it; why.
NOT_HELD = {
    "check_ready": "reads",
    "fleet_report": "reads",
    "jobs": "waits",
    "worker": "waits",
    "set_up": "the upgrade's own",
    "move_database": "holds the panel itself, and writes into another database",
    "note_rehearsal": "adds a line to the audit log, which the system's log keeps as well",
    "restored": "the last step of a restore, whose database is in its place",
}


def test_each_command_that_writes_asks() -> None:
    held = {
        name
        for name in find_commands(str(Path(writing.__file__).parent))
        if isinstance(load_command_class("streamfleet_panel", name), writing.WritingCommand)
    }
    assert held == set(find_commands(str(Path(writing.__file__).parent))) - set(NOT_HELD)


@pytest.mark.parametrize(
    ("command", "given"),
    [
        (["issue_token", "--name", "t", "--account", "boss"], None),
        (["bootstrap_admin", "--username", "other", "--password-file", "-"], "a long password\n"),
        (["rotate_keys"], None),
        (["reset_password"], {"username": "boss", "password": "another long one", "revoke_tokens": True}),
        (["restore_customer"], {"username": "bob", "slug": "", "node": "", "keys": [], "tables": {}}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_commands_write_nothing_that_would_be_lost(
    api: Callable[..., Api],
    say: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    given: Any,
) -> None:
    boss = api("boss")

    def run() -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(given if isinstance(given, str) else json.dumps(given)))
        call_command(*command, stdout=io.StringIO())

    say()
    before = [list(model.objects.order_by("pk").values()) for model in (Account, ApiToken, AuditLog, Counter)]
    with pytest.raises(
        CommandError, match=r"Upgrade from 0\.1\.0 to 0\.2\.0: nothing can be changed until it has ended"
    ):
        run()
    assert before == [list(model.objects.order_by("pk").values()) for model in (Account, ApiToken, AuditLog, Counter)]
    assert boss("GET", "/media-services/rock")[0] == 200
    Path(settings.MAINTENANCE_FILE).unlink()
    if command[0] == "restore_customer":
        with pytest.raises(CommandError, match="backup"):
            run()
    else:
        run()


def test_what_only_looks_may_while_it_is_read_only(
    world: None, say: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    say()
    order = {"username": "boss", "password": "another long one", "dry_run": True}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(order)))
    told = io.StringIO()
    call_command("reset_password", stdout=told)
    assert json.loads(told.getvalue())["username"] == "boss"


def test_an_upgrade_makes_the_tokens_of_its_installation(
    world: None, say: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    say()
    order = {"administrator": None, "tokens": [{"name": "installation", "scope": "account", "account": "boss"}]}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(order)))
    told = io.StringIO()
    call_command("set_up", stdout=told)
    assert len(json.loads(told.getvalue())["tokens"]) == 1


def test_jobs_wait_and_are_done_afterwards(
    world: None, say: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test's own transaction would go with its connection.
    monkeypatch.setattr("streamfleet_panel.management.commands.jobs.close_old_connections", lambda: None)
    job = Job.objects.create(kind=Job.Kind.WELCOME_EMAIL, payload_encrypted="", total=1)
    say()
    call_command("jobs", "--once")
    job.refresh_from_db()
    assert job.state == Job.State.PENDING
    (tmp_path / "maintenance.json").unlink()
    call_command("jobs", "--once")
    job.refresh_from_db()
    assert job.state != Job.State.PENDING


def test_the_worker_begins_no_run_until_it_may(world: None, say: Callable[..., None], tmp_path: Path) -> None:
    asked: list[str] = []

    def converge(_run: int, target: Target, _config: Config, _cancelled: Callable[[], bool]) -> Outcome:
        asked.append(target.name)
        Node.objects.filter(name=target.name).update(observed_generation=10**6)
        return Outcome(True)

    config = Config(tmp_path, tmp_path / "run", "https://x", tmp_path, tmp_path / "token", tmp_path, tmp_path)
    (tmp_path / "run").mkdir()
    worker = Worker(config, converge)
    Node.objects.update(host_key="ssh-ed25519 AAAA")
    say()
    with ThreadPoolExecutor(1) as pool:
        worker.step(pool)
        assert not ConvergeRun.objects.exists()
        say(hold=["jobs"])
        worker.step(pool)
        assert ConvergeRun.objects.filter(state=ConvergeRun.State.RUNNING).exists()
