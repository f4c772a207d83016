"""A node that drops out in the middle of a transfer: the play goes on to take back what was begun.

Also what the panel's steps are asked for by the module; the panel is a double, which answers as docs/contracts.md says.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
import yaml
from ansible.errors import AnsibleConnectionFailure
from streamfleet import errors, transfers

from action_plugins import streamfleet_converge, streamfleet_service_copy
from action_plugins import streamfleet_service_copy as action

TASKS = Path(__file__).resolve().parents[2] / "playbooks/tasks"


class NodeDouble:
    """A node that cannot be reached ``lost`` times, and then answers what is given, one answer after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], answers: list[Any]) -> None:
        self.answers = answers
        self.slept = 0.0
        self.said: list[str] = []
        self.plugin = object.__new__(action.ActionModule)
        self.plugin._task = SimpleNamespace(args=args, async_val=0, delegate_to="n2")
        monkeypatch.setattr(action.ActionBase, "run", lambda *_args, **_options: {})
        monkeypatch.setattr(self.plugin, "_execute_module", self.module, raising=False)
        monkeypatch.setattr(action.time, "sleep", self.sleep)
        monkeypatch.setattr(action.time, "monotonic", lambda: self.slept)
        monkeypatch.setattr(action.display, "display", self.said.append)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def module(self, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def run(self) -> dict[str, Any]:
        result: dict[str, Any] = self.plugin.run(task_vars={"inventory_hostname": "localhost"})
        return result


LOST = AnsibleConnectionFailure("Connection timed out")
WORKING = {"status": {"running": True, "step": "copy, pass 1", "percent": 41.0, "words": ""}}
DONE = {"status": {"running": False}}


def test_a_node_that_cannot_be_reached_is_a_failure_that_a_rescue_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    node = NodeDouble(monkeypatch, {"state": "caught_up"}, [LOST])
    assert node.run() == {"failed": True, "changed": False, "msg": "n2 cannot be reached: Connection timed out"}
    assert node.slept == 0


def test_a_copy_that_goes_on_by_itself_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    node = NodeDouble(monkeypatch, {"state": "copied"}, [WORKING, *[LOST] * 30, WORKING, *[LOST] * 50, DONE])
    assert node.run() == DONE
    assert node.said[:2] == ["n2: copy, pass 1 41 %", "n2 cannot be reached, and copies by itself: it is asked again"]
    gone = NodeDouble(monkeypatch, {"state": "copied"}, [WORKING, LOST])
    assert gone.run()["failed"] is True
    assert streamfleet_service_copy.PATIENCE <= gone.slept < 2 * streamfleet_service_copy.PATIENCE


@pytest.mark.parametrize("failure", [True, False])
def test_a_converge_says_so_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch, failure: bool) -> None:
    plugin = object.__new__(streamfleet_converge.ActionModule)
    options = {"node": "n2", "document": None, "fail_on_unreachable": failure}
    monkeypatch.setattr(streamfleet_converge.ActionBase, "run", lambda *_args, **_options: {})
    monkeypatch.setattr(plugin, "validate_argument_spec", lambda **_spec: (None, options), raising=False)
    monkeypatch.setattr(streamfleet_converge, "client_of", lambda *_words: PanelDouble([]))

    def lost(*_words: Any) -> dict[str, Any]:
        raise LOST

    monkeypatch.setattr(plugin, "_converge", lost)
    if failure:
        assert plugin.run(task_vars={})["msg"] == "Node n2 cannot be reached: Connection timed out"
    else:
        with pytest.raises(AnsibleConnectionFailure):
            plugin.run(task_vars={})


class PanelDouble:
    """A panel with these transfers."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self.items = items

    def __enter__(self) -> PanelDouble:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def request(self, method: str, path: str, *_more: Any, **_options: Any) -> Any:
        assert method == "GET"
        key, _equals, value = path.partition("?")[2].partition("=")
        found = {
            "media_service": lambda item: value in [one["slug"] for one in item["services"]],
            "customer": lambda item: value in [one["customer"] for one in item["services"]],
            "node": lambda item: value == item["source"]["name"],
        }[key]
        return SimpleNamespace(data={"items": [item for item in self.items if found(item)]})


def service(slug: str, customer: str = "ada", *domains: str) -> dict[str, Any]:
    return {"slug": slug, "customer": customer, "domains": list(domains)}


SOURCE = {"name": "n1", "address": "192.0.2.10", "stream_host": "n1.example.net"}
PAIR = {"id": 7, "source": SOURCE, "services": [service("jazz"), service("rock", "bob")]}


def found(items: list[dict[str, Any]], **asked: Any) -> dict[str, Any]:
    params = {"step": "find", "services": None, "customer": None, "node": None, **asked}
    module: Any = SimpleNamespace(params=params, panel=SimpleNamespace(client=PanelDouble(items)), check_mode=False)
    return transfers._do(module)


@pytest.mark.parametrize(
    ("asked", "beside"),
    [
        ({"services": ["jazz"]}, ["rock"]),
        ({"services": ["jazz", "rock"]}, []),
        ({"customer": "ada"}, ["rock"]),
        ({"node": "n1"}, []),
    ],
)
def test_services_that_nobody_named_are_said(asked: dict[str, Any], beside: list[str]) -> None:
    result = found([PAIR], **asked)
    assert (result["transfer"]["id"], result["beside"]) == (7, beside)


def test_a_name_that_is_in_no_transfer_is_no_part_of_it() -> None:
    with pytest.raises(errors.Conflict, match=r"pop: no transfer of it is under way.*jazz, rock"):
        found([PAIR], services=["jazz", "rock", "pop"])
    assert found([PAIR], services=["pop"]) == {"changed": False, "transfer": None, "beside": [], "names": []}
    other = {**PAIR, "id": 8, "services": [service("pop")]}
    with pytest.raises(errors.Conflict, match="services of 2 transfers"):
        found([PAIR, other], customer="ada")


def test_names_that_lead_to_the_former_node_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"192.0.2.10": "192.0.2.10", "n1.example.net": "192.0.2.20", "old.example.com": "192.0.2.20"}
    known |= {"older.example.com": "192.0.2.10", "new.example.com": "192.0.2.11"}

    def getaddrinfo(name: str, *_more: Any, **_options: Any) -> list[Any]:
        if name not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[name], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    names = ("old.example.com", "new.example.com", "nowhere.example.com", "older.example.com")
    one = {**PAIR, "services": [service("jazz", "ada", *names)]}
    assert found([one], services=["jazz"])["names"] == ["old.example.com", "older.example.com"]


def tasks_of(name: str) -> Iterator[dict[str, Any]]:
    """Every task of one of the playbook's files, those of its blocks too."""

    def each(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for task in tasks:
            yield task
            for part in ("block", "rescue", "always"):
                yield from each(task.get(part) or [])

    return each(yaml.safe_load((TASKS / f"{name}.yml").read_text()))


def named(name: str, task: str) -> dict[str, Any]:
    (found,) = [one for one in tasks_of(name) if one["name"] == task]
    return found


def holds(condition: str, **variables: Any) -> bool:
    """Whether a condition of a task is true."""
    environment = jinja2.Environment(autoescape=False)
    environment.filters["bool"] = lambda value: str(value).lower() in ("true", "yes", "1")
    return bool(environment.compile_expression(condition)(**variables))


@pytest.mark.parametrize(
    ("state", "turns", "copied"),
    [
        ("switched", {}, True),
        ("switched", {"__streamfleet_transfer_turns": False}, True),
        ("switched", {"__streamfleet_transfer_turns": True}, False),
        ("returning", {}, False),
    ],
)
def test_services_that_do_not_start_go_back_without_a_copy_of_hours(
    state: str, turns: dict[str, Any], copied: bool
) -> None:
    """Nor do they lose the fleet's lock, which that copy gives back."""
    condition = named("transfer_undo", "Copy back")["when"]
    assert holds(condition, __streamfleet_transfer={"state": state}, **turns) is copied


@pytest.mark.parametrize(
    ("facts", "state", "hold", "taken"),
    [
        ({}, "copying", 0, False),
        ({"opened": True}, "copying", 0, True),
        ({"opened": True, "hold": 3}, "holding", 3, True),
        ({"opened": True, "hold": 3}, "returning", 4, False),
        ({"opened": True}, "holding", 1, False),
        ({"opened": True, "hold": 3}, "switched", 4, True),
    ],
)
def test_a_run_takes_its_key_away_however_it_ends_and_nobody_elses(
    facts: dict[str, Any], state: str, hold: int, taken: bool
) -> None:
    """Last of all, and before the next playbook has the fleet."""
    (run,) = [one for one in tasks_of("transfer_run") if one["name"] == "Do it"]
    (end,) = run["always"]
    (close,) = end["block"]
    assert "transfer_close" in str(close)
    assert [one["name"] for one in end["always"]] == ["Let others work again"]
    variables = {f"__streamfleet_transfer_{name}": value for name, value in facts.items()}
    assert holds(close["when"], __streamfleet_transfer={"state": state, "hold": hold}, **variables) is taken
    noting = named("transfer_run", "Remember its number, and whether there may be a key")["ansible.builtin.set_fact"]
    killed = {"transfer": {"state": "switched"}}
    assert holds(noting["__streamfleet_transfer_opened"].strip("{} "), __streamfleet_transfer_begun=killed)
    opening = [one["name"] for one in tasks_of("transfer_way")]
    assert opening.index("Remember that there is a key to be taken away") < opening.index(
        "Let that key read the folders"
    )


@pytest.mark.parametrize(
    ("file", "task", "state"),
    [
        ("transfer_switch", "Give the services back to where they were", "holding"),
        ("transfer_undo", "Leave the services where they are", "returning"),
    ],
)
def test_a_run_gives_back_only_what_it_holds_itself(file: str, task: str, state: str) -> None:
    condition = named(file, task)["when"]
    for own, given in (
        ({"__streamfleet_transfer_hold": 2}, True),
        ({"__streamfleet_transfer_hold": 1}, False),
        ({}, False),
    ):
        assert holds(condition, __streamfleet_transfer={"state": state, "hold": 2}, **own) is given
    assert not holds(condition, __streamfleet_transfer={"state": "switched", "hold": 2}, __streamfleet_transfer_hold=2)


@pytest.mark.parametrize(
    ("step", "state", "begins"),
    [
        ("hold", "copying", True),
        ("undo", "switched", True),
        # Another run has held them: since when they are off the air, this one does not know.
        ("hold", "holding", False),
        ("undo", "returning", False),
        ("switch", "holding", False),
    ],
)
def test_how_long_they_are_off_the_air_is_counted_from_the_hold(step: str, state: str, begins: bool) -> None:
    tasks = list(tasks_of("transfer_step"))
    (since,) = [one for one in tasks if "off the air" in one["name"]]
    # Before the panel is asked: after that nobody is on the air.
    assert tasks.index(since) < tasks.index(named("transfer_step", "Have the panel do the step"))
    given = {"__streamfleet_transfer_step": step, "__streamfleet_transfer": {"state": state}}
    assert holds(since["when"], **given) is begins


@pytest.mark.parametrize(
    ("away", "without_copy", "said"), [(True, False, True), (False, False, False), (True, True, False)]
)
def test_who_was_not_held_is_not_said_to_have_been_off_the_air(away: bool, without_copy: bool, said: bool) -> None:
    condition = named("transfer_undo", "Note for how long they were off the air")["when"]
    given = {"__streamfleet_transfer_away": away, "__streamfleet_transfer_without_copy": without_copy}
    assert holds(condition, __streamfleet_transfer_off_since=1.0, **given) is said
    assert not holds(condition, **given)


def test_what_was_put_aside_is_put_back_before_the_services_are_given_back() -> None:
    """Their node's worker starts them by itself as soon as they are."""
    block = [one["name"] for one in named("transfer_undo", "Go back without what has come since")["block"]]
    assert block.index("Put back what a copy back has put aside") < block.index("Hold the services")
    put_back = named("transfer_undo", "Put back what a copy back has put aside")
    assert put_back["streamfleet_service_copy"]["state"] == "put_back"
    assert "transfer.source.name" in put_back["delegate_to"]


@pytest.mark.parametrize(
    ("leaving", "source", "target", "removes", "brought"),
    [
        ("n2", "active", "active", True, False),
        # What was copied may be all that there is.
        ("n2", "disabled", "active", False, True),
        ("n2", "active", "disabled", False, False),
        ("n1", "active", "active", True, False),
        # Released: the other node has the services, and they are no copy.
        ("n1", "disabled", "active", False, False),
    ],
)
def test_a_copy_is_not_removed_where_the_services_are_on_a_dead_node(
    leaving: str, source: str, target: str, removes: bool, brought: bool
) -> None:
    pair = {"source": {"name": "n1", "status": source}, "target": {"name": "n2", "status": target}}
    left = next(one for one in pair.values() if one["name"] == leaving)
    given = {"__streamfleet_transfer": pair, "__streamfleet_transfer_leaving": left}
    assert holds(named("transfer_clear", "Remove the libraries that went along")["when"], **given) is removes
    ended = named("transfer_clear", "Forget it on both nodes")["streamfleet_service_copy"]
    assert holds(ended["brought"].strip("{} "), **given) is brought


def test_a_playbook_that_has_the_fleet_after_the_copy_is_waited_for() -> None:
    tasks = list(tasks_of("transfer_copy"))
    names = [one["name"] for one in tasks]
    wait = named("transfer_copy", "Wait for the fleet's lock")
    assert wait["retries"] * wait["delay"] >= 1800
    assert names.index("Copy while everything goes on") < names.index(wait["name"]) < len(names) - 1
    assert "fleet_at_rest" in str(tasks[-1])


def test_no_task_takes_every_failure_for_an_answer() -> None:
    files = sorted(path.stem for path in TASKS.glob("transfer_*.yml"))
    assert files
    careless = [
        one["name"]
        for file in files
        for one in tasks_of(file)
        if one.get("failed_when") is False or one.get("ignore_errors")
    ]
    assert careless == []


#: fail2ban-client of Debian 12, as far as it is asked: what it is told besides is a failure.
FAIL2BAN = """\
#!/bin/sh
echo "$*" >>{folder}/asked
case "$*" in
  "status streamfleet-file_transfer") exit {status} ;;
  "get streamfleet-file_transfer banip") echo "{banned}" ;;
  "set streamfleet-file_transfer unbanip 203.0.113.9 2001:db8::7") echo 2 ;;
  *) echo "Sorry but the command is invalid" >&2; exit 255 ;;
esac
"""


@pytest.mark.parametrize(
    ("status", "banned", "lifts"),
    [(0, "203.0.113.9 2001:db8::7", True), (0, "", False), (255, "203.0.113.9", False), (None, "", False)],
)
def test_bans_of_the_hold_are_lifted_where_there_are_any(
    status: int | None, banned: str, lifts: bool, tmp_path: Path
) -> None:
    (task,) = yaml.safe_load((TASKS / "transfer_unban.yml").read_text())
    # Neither a node nor a fail2ban that is away ends a transfer.
    assert task["ignore_unreachable"] is True
    if status is not None:
        program = tmp_path / "fail2ban-client"
        program.write_text(FAIL2BAN.format(folder=tmp_path, status=status, banned=banned))
        program.chmod(0o755)
    command = task["ansible.builtin.command"]["argv"]
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    asked = (tmp_path / "asked").read_text() if status is not None else ""
    assert ("unbanip" in asked) == lifts


@pytest.mark.parametrize("name", ["transfer_resume", "transfer_switch", "transfer_undo"])
def test_bans_are_lifted_after_the_node_was_brought_to_what_it_is_to_be(name: str) -> None:
    text = (TASKS / f"{name}.yml").read_text()
    assert text.count("include_tasks: transfer_unban.yml") == 1
    before = text[: text.index("include_tasks: transfer_unban.yml")]
    assert "transfer_converge.yml" in before[before.rindex("include_tasks: transfer_") :]
