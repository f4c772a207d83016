"""A change of host names that is killed wherever it is, and whose every step fails: one of the names works whole.

Tests playbooks: domain_change.yml.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from demo.stage import NODE, PANEL_HOST, STREAM_HOST, Stage
from tests.faults.conftest import ROUNDS
from tests.faults.moments import Point, comes_to, never, spread
from tests.live.renames import (
    MOVE,
    NEW,
    NEW_PANEL,
    NEW_STREAM,
    OLD,
    UNDO,
    AtThePanel,
    Inventory,
    change,
    change_and_patch,
    everybody,
    kept_inventory,
    kill_on_node,
    on_platform,
    options,
    read_only,
    stale,
    there,
    watched,
    whole,
    whole_soon,
)

pytestmark = pytest.mark.live

NAMES = {OLD: (PANEL_HOST, STREAM_HOST), NEW: (NEW_PANEL, NEW_STREAM)}
OTHER = {OLD: NEW, NEW: OLD}
BACK, GIVE_UP = {"from": NEW, "to": OLD}, {"release": NEW}
#: What comes after a kill, by turns. In the last the run that takes it back is killed, too, and the next one does it.
ENDS = ("taken back", "finished", "taken back at the second try")
#: Tasks of a run that takes back, counted from where it begins to, among which it is killed.
UNDOING = 60
#: A run may have fewer tasks than the one that was measured, the other way round; then it is killed in its last one.
LAST = "Fail where something has failed"


@pytest.fixture
def inventory(site: Stage) -> Iterator[Inventory]:
    """What the runs of this test go by."""
    with kept_inventory(site) as made:
        yield made


@pytest.fixture(scope="module")
def site(platform: Stage) -> Iterator[Stage]:
    with on_platform(platform) as made:
        yield made


@pytest.mark.full
def test_killed_at_points_spread_over_its_run_a_name_works_whole_and_the_next_run_ends_right(
    site: Stage, chance: random.Random, inventory: Inventory
) -> None:
    first, first_text = there(site), inventory.text
    with everybody(site):
        measured = watched(site, MOVE, never)
        assert measured.begun[-1][1] == LAST, measured.said
        assert whole(site, *NAMES[NEW])
        inventory.patched(measured.said)
        here, known, texts = NEW, {NEW: there(site)}, {NEW: inventory.text}
        print(f"a run: {len(measured.begun)} tasks in {measured.begun[-1][0]:.0f} s", flush=True)
        for number, point in enumerate(spread(measured.begun, "Begin", ROUNDS, chance)):
            end, there_too = ENDS[number % len(ENDS)], chance.random() < 0.5
            before, customer = there(site), AtThePanel(site, NAMES[here][0])
            run = watched(site, {"from": here, "to": OTHER[here]}, comes_to(point, LAST))
            if there_too:
                kill_on_node(site)
            what = (
                f"{number}: {here} to {OTHER[here]}, {point.seconds:.2f} s into task {point.tasks}, "
                f"{run.begun[-1][1]!r}{', and on the node' if there_too else ''}; {end}"
            )
            print(what, flush=True)
            assert run.killed, f"{what}\n{run.said}"
            # Customers, encoders and listeners have these names.
            whole_soon(site, *NAMES[here], what)
            customer.goes_on()
            if end == ENDS[2]:
                moment = Point(1 + chance.randrange(UNDOING), chance.uniform(0.0, 0.5))
                undone = watched(site, UNDO, comes_to(moment, LAST, "Begin to take back"))
                print(f"   and {'killed' if undone.killed else 'ended'} in {undone.begun[-1][1]!r}", flush=True)
                whole_soon(site, *NAMES[here], what)
            if end == ENDS[1] or not taken_back(site, here, before, what):
                # Where the run had come to its end before it was killed, this says what it would have said.
                change_and_patch(site, inventory, {"from": here, "to": OTHER[here]})
                here = OTHER[here]
                assert known.setdefault(here, there(site)) == there(site), what
                assert texts.setdefault(here, inventory.text) == inventory.text, what
            assert whole(site, *NAMES[here]), what
            assert stale(site) == "", what
            assert site.api().request("GET", f"/nodes/{NODE}").data["stream_host"] == NAMES[here][1], what
            print(f"   held; the names are *{here}", flush=True)
        if here == NEW:
            change_and_patch(site, inventory, BACK)
        change_and_patch(site, inventory, GIVE_UP)
        assert inventory.text == first_text
        assert whole(site, *NAMES[OLD])
        assert there(site) == first
        assert site.install().changed == 0


def taken_back(site: Stage, here: str, before: str, what: str) -> bool:
    """Have an unfinished change taken back. False where it was finished already, and the new names count."""
    log = site.state / "domain_change.log"
    log.unlink(missing_ok=True)
    if site.playbook("playbooks/domain_change.yml", *options(site, UNDO), check=False).failed:
        said = " ".join(log.read_text().split())
        assert "no change of names is unfinished" in said, f"{what}\n{said}"
        if f"from {here} to {OTHER[here]}, is finished" in said:
            return False
    # Also where it was killed before it had begun, or when it had been taken back already.
    assert there(site) == before, what
    return True


class Fault(NamedTuple):
    """What breaks as a step begins, what mends it as the run turns round, and what the run says of it."""

    step: str
    breaks: str
    mends: str
    said: str


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
    # Of file transfer there is a test of its own. The listener for RTMPS is of that step, too.
    Fault("file transfer", *read_only("/etc/streamfleet/rtmps"), "Read-only file system"),
    # Nothing mends it but the way back.
    Fault("services", "systemctl stop streamfleet-panel.service", "true", "Tell the panel of the streams"),
    Fault("verify", "systemctl stop streamfleet-panel.service", "true", "Say what is wrong with the web server"),
]
STEPS = ["certificates", "web", "panel", "redirect", "file transfer", "services", "verify", "given up"]
#: The last step, when all hosts have passed the others.
AT_LAST = "Take away certificates of names that are not used"
#: Tasks of a run from there on, among which it is killed.
GIVING_UP = 12
GIVEN_UP = Fault("given up", *read_only("/etc/streamfleet/tls"), "Read-only file system")


@pytest.mark.full
def test_whatever_step_fails_everything_is_put_back_with_everybody_on_the_air(site: Stage) -> None:
    with everybody(site):
        for fault in FAULTS:
            put_back(site, MOVE, fault, OLD)


@pytest.mark.full
def test_a_name_that_cannot_be_given_up_is_had_whole_and_after_a_kill_in_its_last_step_the_next_run_ends_it(
    site: Stage, chance: random.Random, inventory: Inventory
) -> None:
    first, first_text = there(site), inventory.text
    with everybody(site):
        for asked in (MOVE, BACK):
            change_and_patch(site, inventory, asked)
        assert there(site) != first

        put_back(site, GIVE_UP, GIVEN_UP, NEW)

        # Its certificates may be gone by then: a run that takes it back gets them anew.
        for end in ENDS[:2]:
            moment = Point(1 + chance.randrange(GIVING_UP), chance.uniform(0.0, 0.5))
            run = watched(site, GIVE_UP, comes_to(moment, LAST, AT_LAST))
            what = f"{moment.seconds:.2f} s into {run.begun[-1][1]!r}; {end}"
            print(f"given up: killed {what}", flush=True)
            assert run.killed, f"{what}\n{run.said}"
            whole_soon(site, *NAMES[OLD], what)
            if end == ENDS[0]:
                change(site, UNDO)
                assert whole(site, *NAMES[NEW]), what
        change_and_patch(site, inventory, GIVE_UP)
        assert inventory.text == first_text
        assert there(site) == first
        assert whole(site, *NAMES[OLD])
        assert stale(site) == ""
        assert site.install().changed == 0


def put_back(site: Stage, asked: Mapping[str, Any], fault: Fault, names: str) -> None:
    """Run a change in which the fault happens: it says so, all is as before, and had by these names."""
    before = there(site)
    said = failing(site, asked, fault)
    assert fault.said in said, f"{fault.step}: {said}"
    assert "All is as it was before." in said, f"{fault.step}: {said}"
    assert whole(site, *NAMES[names]), fault
    assert there(site) == before, fault
    assert stale(site) == "", fault
    assert site.on_node(["cat", "/run/streamfleet/fleet.lock"]) == ""
    print(f"{fault.step}: failed and put back", flush=True)


def failing(site: Stage, asked: Mapping[str, Any], fault: Fault) -> str:
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

    def at_(task: str, times: int) -> bool:
        points.get((task, times), lambda: None)()
        return False

    try:
        return " ".join(watched(site, asked, at_, points).said.split())
    finally:
        mend()
