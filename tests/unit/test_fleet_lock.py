"""The lock of a fleet: who has it, how long, and when it is taken from a run that is dead.

What playbooks make of it on hosts: tests/live/test_domain_change.py. Tests modules: streamfleet_fleet_lock.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from streamfleet.controller_process import gone, named, where
from streamfleet.fleet_lock import Held, Run, release, take
from streamfleet.since_boot import Moment
from streamfleet.since_boot import now as lived

from action_plugins.streamfleet_fleet_lock import who

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ANN, BOB = Run("boot 1 1", "ann on control1", "install.yml"), Run("boot 2 2", "bob on control2", "domain_change.yml")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "fleet.lock"


def have(path: Path, run: Run, *, now: datetime = NOW, take_over: bool = False, write: bool = True) -> dict[str, str]:
    return take(path, run, HOUR, take_over=take_over, now=now, write=write)


def test_the_second_is_told_who_has_it_since_when_and_until_when(path: Path) -> None:
    have(path, ANN)
    with pytest.raises(Held) as error:
        have(path, BOB, now=NOW + timedelta(minutes=59))
    assert str(error.value) == (
        "ann on control1 works on this fleet with install.yml since 2026-11-28 12:00:00 UTC. Wait for its end. If you "
        "know that it was killed, add -e streamfleet_lock_take_over=true; at 2026-11-28 13:00:00 UTC it is taken for "
        "dead"
    )
    assert error.value.process == ANN.process
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_run_that_has_it_prolongs_it_and_never_shortens_it(path: Path) -> None:
    have(path, ANN)
    later = have(path, ANN, now=NOW + timedelta(minutes=30))
    assert (later["since"], later["until"]) == ("2026-11-28T12:00:00+00:00", "2026-11-28T13:30:00+00:00")
    short = take(path, ANN, timedelta(minutes=5), take_over=False, now=NOW + timedelta(minutes=31))
    assert short["until"] == later["until"]


@pytest.mark.parametrize(("late", "take_over"), [(HOUR, False), (timedelta(), True)])
def test_a_run_that_is_dead_loses_it(path: Path, late: timedelta, take_over: bool) -> None:
    have(path, ANN)
    assert have(path, BOB, now=NOW + late, take_over=take_over)["who"] == BOB.who
    # Who has lost it gives back nothing that is another's.
    assert release(path, ANN) is False
    with pytest.raises(Held, match=r"bob on control2 works on this fleet with domain_change\.yml"):
        have(path, ANN, now=NOW + late)


@pytest.mark.parametrize("jump", [timedelta(days=-400), timedelta(days=400)])
def test_a_clock_that_jumps_changes_nothing_of_how_long_it_is_waited_for(path: Path, jump: timedelta) -> None:
    def have_at(run: Run, now: datetime, boot: str, seconds: float) -> dict[str, str]:
        return take(path, run, HOUR, take_over=False, now=now, moment=Moment(boot, seconds))

    have_at(ANN, NOW, "a", 100)
    with pytest.raises(Held, match=f"at {NOW + jump + timedelta(minutes=1):%Y-%m-%d %H:%M:%S} UTC it is taken for"):
        have_at(BOB, NOW + jump, "a", 100 + 59 * 60)
    assert have_at(BOB, NOW + jump, "a", 100 + 60 * 60)["who"] == BOB.who


def test_a_lock_of_another_boot_is_waited_for_by_the_clock(path: Path) -> None:
    take(path, ANN, HOUR, take_over=False, now=NOW, moment=Moment("a", 5000))
    with pytest.raises(Held):
        take(path, BOB, HOUR, take_over=False, now=NOW, moment=Moment("b", 9000))
    assert take(path, BOB, HOUR, take_over=False, now=NOW + HOUR, moment=Moment("b", 10))["who"] == BOB.who


def test_moments_of_this_host_go_on() -> None:
    first, second = lived(), lived()
    past = second.after(first.boot, first.seconds)
    assert past is not None
    assert 0 <= past < 5
    assert second.after("", first.seconds) is None


def test_it_is_given_back(path: Path) -> None:
    assert release(path, ANN) is False
    assert not path.exists()
    have(path, ANN)
    assert release(path, ANN) is True
    assert have(path, BOB)["since"] == "2026-11-28T12:00:00+00:00"


def test_check_mode_looks_and_takes_nothing(path: Path) -> None:
    have(path, ANN, write=False)
    assert not path.parent.exists()
    have(path, ANN)
    with pytest.raises(Held):
        have(path, BOB, write=False)
    have(path, ANN, write=False, now=NOW + timedelta(minutes=30))
    assert have(path, BOB, now=NOW + HOUR)["who"] == BOB.who


@pytest.mark.parametrize("text", ["", '{"process": "boot 1 1", "wh', '{"process": "x"}', "[]"])
def test_a_note_that_was_cut_off_keeps_nobody_away(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    assert have(path, BOB)["who"] == BOB.who


def test_of_many_that_want_it_at_one_moment_one_has_it(path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, 'module_utils')\n"
        "from datetime import UTC, datetime, timedelta; from pathlib import Path\n"
        "from streamfleet.fleet_lock import Held, Run, take\n"
        "sys.stdin.read()\n"
        "try: take(Path(sys.argv[1]), Run(sys.argv[2], 'w', 'p'), timedelta(hours=1), take_over=False, "
        "now=datetime.now(UTC)); print('had')\n"
        "except Held: print('held')\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), f"boot {number} 1"], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for number in range(6)
    ]  # fmt: skip
    for one in started:
        assert one.stdin
        one.stdin.close()
    said = []
    for one in started:
        assert one.stdout
        said.append(one.stdout.read().strip())
        one.stdout.close()
        assert one.wait(20) == 0
    assert sorted(said) == ["had"] + ["held"] * 5


def test_a_controller_that_knows_no_processes_is_told_apart_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamfleet.controller_process.where", lambda _process: "")
    assert named(17).endswith("/17")
    assert gone(named(17)) is False


def test_a_process_that_nobody_has_waited_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        holder = where(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert gone(holder) is True


def test_a_process_is_named_by_when_it_began() -> None:
    assert named(1) == where(1) or "/" in named(1)


def test_a_job_of_awx_is_named_as_such() -> None:
    assert who({"awx_job_id": 12}) == "job 12 of AWX"
    assert " on " in who({})


PLAYBOOKS = ROOT / "playbooks"


LOCKED = (
    "install", "certificates", "hardening", "upgrade", "domain_change", "restore", "restore_customer",
    "database_move", "panel_transfer", "move_media", "transfer", "uninstall",
)  # fmt: skip


@pytest.mark.parametrize("name", LOCKED)
def test_playbooks_that_change_hosts_have_the_lock_and_give_it_back(name: str) -> None:
    names = _tasks_of(PLAYBOOKS / f"{name}.yml")
    assert "Have the fleet's lock" in names
    assert names[::-1].index("Give the fleet's lock back") < names[::-1].index("Have the fleet's lock")


def test_all_that_have_the_lock_are_known_and_told() -> None:
    found = {path.stem for path in PLAYBOOKS.glob("*.yml") if "Have the fleet's lock" in _tasks_of(path)}
    assert found == set(LOCKED)
    told = (ROOT / "docs" / "domain_change.md").read_text().partition("## One at a time")[2].partition("exclude")[0]
    assert {f"`{name}.yml`" for name in found - {"domain_change"}} == set(re.findall("`[a-z_]+[.]yml`", told))


def _tasks_of(path: Path) -> list[str]:
    """Names of the tasks of a playbook or of a file of tasks, with those that it brings in statically or not."""
    found: list[str] = []

    def walk(entries: list[dict[str, object]], folder: Path) -> None:
        for entry in entries:
            found.append(str(entry.get("name", "")))
            for key, value in entry.items():
                if key in ("tasks", "block", "rescue", "always"):
                    walk(value, folder)  # type: ignore[arg-type]
                elif key.endswith(("import_tasks", "include_tasks")):
                    file = value["file"] if isinstance(value, dict) else value
                    found.extend(_tasks_of(folder / str(file)))

    walk(yaml.safe_load(path.read_text()), path.parent)
    return found


def test_a_customer_is_restored_by_whoever_has_the_fleet() -> None:
    """Beside an upgrade it would be lost, and beside a transfer two would write into one library."""
    plays = yaml.safe_load((ROOT / "playbooks/restore_customer.yml").read_text())
    texts = [json.dumps(play) for play in plays]
    (locked,) = [number for number, text in enumerate(texts) if "tasks/fleet_at_rest.yml" in text]
    roles = [number for number, text in enumerate(texts) if '"name": "backup"' in text]
    assert locked < roles[0] < roles[-1] < len(plays) - 1
    assert "tasks/fleet_unlock.yml" in texts[-1]
    # Who only looks waits for nobody.
    confirmed = plays[-1]["tasks"][0]["when"]
    assert plays[locked]["tasks"][0]["when"] == confirmed
    assert confirmed.startswith("restore_customer_confirm")


@pytest.mark.parametrize("path", ["playbooks/tasks/fleet_at_rest.yml", "roles/panel/tasks/preflight.yml"])
def test_what_an_unfinished_restore_refuses_names_what_is_looked_at_and_the_way_out(path: str) -> None:
    """Whoever removes what is named, as the docs say, is rid of it."""
    tasks = yaml.safe_load((ROOT / path).read_text())
    loop = [item["message"] for task in tasks for item in task.get("loop", ()) if isinstance(item, dict)]
    texts = loop + [str(task.get("ansible.builtin.assert", {}).get("fail_msg")) for task in tasks]
    (message,) = (text for text in texts if text.startswith("A restore of"))
    held = "/var/lib/streamfleet-backup/held"
    assert held in message
    assert "restoring.json" not in message
    title = "A restore that cannot be ended"
    assert title in message
    told = (ROOT / "docs/backup.md").read_text().partition(f"### {title}\n")[2].partition("\n#")[0]
    assert f"rm -r {held}" in told
