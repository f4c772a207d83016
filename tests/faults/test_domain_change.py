"""A change of host names that is killed wherever it is, and whose every step fails: one of the names works whole.

Tests playbooks: domain_change.yml.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from demo.stage import NODE, PANEL_HOST, STREAM_HOST, Stage
from tests.faults.conftest import ROUNDS
from tests.live.test_domain_change import (
    MOVE,
    NEW,
    NEW_PANEL,
    NEW_STREAM,
    OLD,
    UNDO,
    change,
    everybody,
    options,
    site,  # noqa: F401
    there,
    watched,
    whole,
)

pytestmark = pytest.mark.live

NAMES = {OLD: (PANEL_HOST, STREAM_HOST), NEW: (NEW_PANEL, NEW_STREAM)}
OTHER = {OLD: NEW, NEW: OLD}


def never(_task: str, _times: int) -> bool:
    return False


def a_name_works(site: Stage) -> None:  # noqa: F811
    """Wait until pages, API and streams are had by one of the names: the panel may be starting."""
    deadline = time.monotonic() + 30
    while not any(whole(site, *names) for names in NAMES.values()):
        assert time.monotonic() < deadline, "neither name works whole"
        time.sleep(0.5)


def spread(tasks: list[str], rounds: int, chance: random.Random) -> list[tuple[str, int]]:
    """One task of each part of a run, from where it begins to write; with how many times it has begun by then."""
    first, points = tasks.index("Begin"), []
    for number in range(rounds):
        low, high = (first + part * (len(tasks) - first) // rounds for part in (number, number + 1))
        place = chance.randrange(low, max(high, low + 1))
        points.append((tasks[place], tasks[: place + 1].count(tasks[place])))
    return points


@pytest.mark.full
def test_killed_at_any_task_a_name_works_whole_and_the_next_run_finishes_or_takes_back(
    site: Stage,  # noqa: F811
    chance: random.Random,
) -> None:
    first = there(site)
    kills = 0
    with everybody(site):
        _killed, said = watched(site, MOVE, never)
        tasks = re.findall(r"^TASK \[(.*)\] \**$", said, re.MULTILINE)
        assert "Note the end" in tasks, said
        assert whole(site, *NAMES[NEW])
        here, known = NEW, {NEW: there(site)}
        for number, (task, times) in enumerate(spread(tasks, ROUNDS, chance)):
            delay, asked = chance.uniform(0.0, 0.7), {"from": here, "to": OTHER[here]}
            what = f"round {number}: {asked}, killed {delay:.2f} s into {task!r} ({times})"
            print(what)
            before = there(site)

            def at(name: str, times_: int, point: tuple[str, int] = (task, times), delay: float = delay) -> bool:
                if (name, times_) == point:
                    time.sleep(delay)
                    return True
                return False

            was_killed, _said = watched(site, asked, at)
            kills += was_killed
            a_name_works(site)
            if number % 2:
                change(site, asked)
                here = OTHER[here]
                assert known.setdefault(here, there(site)) == there(site), what
            else:
                here = taken_back(site, here, before, what)
            assert whole(site, *NAMES[here]), what
            assert site.api().request("GET", f"/nodes/{NODE}").data["stream_host"] == NAMES[here][1], what
        if here == NEW:
            change(site, {"from": NEW, "to": OLD})
        change(site, {"release": NEW})
        assert whole(site, *NAMES[OLD])
    assert there(site) == first
    # A point may lie in a task that a run in the other direction does not have.
    assert kills >= 0.7 * ROUNDS


def taken_back(site: Stage, here: str, before: str, what: str) -> str:  # noqa: F811
    """Have an unfinished change taken back; returns whose names count then, the new ones where it had ended already."""
    log = site.state / "domain_change.log"
    log.unlink(missing_ok=True)
    if site.playbook("playbooks/domain_change.yml", *options(site, UNDO), check=False).failed == 0:
        assert there(site) == before, what
        return here
    said = " ".join(log.read_text().split())
    assert "no change of names is unfinished" in said, f"{what}\n{said}"
    if f"from {here} to {OTHER[here]}, is finished" in said:
        return OTHER[here]
    # It was killed before it had begun.
    assert there(site) == before, what
    return here


class Fault(NamedTuple):
    """What breaks as a step begins, what mends it as the run turns round, and what the run says of it."""

    step: str
    breaks: str
    mends: str
    said: str


def read_only(folder: str) -> tuple[str, str]:
    """Commands that make a folder read-only for whoever writes, and writable again."""
    return f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}", f"umount --lazy {folder}"


DROP_IN = "/run/systemd/system/streamfleet-panel.service.d"
FAULTS = [
    Fault("certificates", *read_only("/etc/streamfleet/tls"), "Read-only file system"),
    Fault("web", *read_only("/etc/nginx/conf.d"), "Read-only file system"),
    Fault("panel", *read_only("/etc/streamfleet/panel"), "Read-only file system"),
    Fault(
        "panel",
        f"mkdir -p {DROP_IN} && printf '[Service]\\nExecStartPre=/bin/false\\n' >{DROP_IN}/fault.conf && "
        "systemctl daemon-reload",
        f"rm -r {DROP_IN} && systemctl daemon-reload",
        "streamfleet-panel",
    ),
    Fault("redirect", *read_only("/etc/nginx/conf.d"), "Read-only file system"),
    # Nothing mends it but the way back.
    Fault("services", "systemctl stop streamfleet-panel.service", "true", "Tell the panel of the streams"),
    Fault("verify", "systemctl stop streamfleet-panel.service", "true", "Say what is wrong with the web server"),
]
STEPS = ["certificates", "web", "panel", "redirect", "file transfer", "services", "verify"]


@pytest.mark.full
def test_whatever_step_fails_everything_is_put_back_with_everybody_on_the_air(site: Stage) -> None:  # noqa: F811
    before = there(site)
    with everybody(site):
        for fault in FAULTS:
            said = failing(site, fault)
            assert fault.said in said, f"{fault.step}: {said}"
            assert "All is as it was before." in said, f"{fault.step}: {said}"
            assert whole(site, *NAMES[OLD]), fault
            assert there(site) == before, fault
            print(f"{fault.step}: failed and put back")
        assert site.on_node(["cat", "/run/streamfleet/fleet.lock"]) == ""


def failing(site: Stage, fault: Fault) -> str:  # noqa: F811
    """Run a change in which the fault happens; what it said, in one line."""
    mended = False

    def mend() -> None:
        nonlocal mended
        if not mended:
            mended = True
            site.on_node(["sh", "-c", fault.mends])

    points: dict[tuple[str, int], Callable[[], object]] = {
        ("Note the step", STEPS.index(fault.step) + 1): lambda: site.on_node(["sh", "-c", fault.breaks]),
        ("Turn round", 1): mend,
    }

    def at(task: str, times: int) -> bool:
        points.get((task, times), lambda: None)()
        return False

    try:
        return " ".join(watched(site, MOVE, at, held=True)[1].split())
    finally:
        mend()
