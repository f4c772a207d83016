"""Upgrades killed at ten points of their run, with a full disk, with the network cut: the next run ends right.

``STREAMFLEET_SEED`` repeats the moments of a campaign, ``STREAMFLEET_FAULT_ROUNDS`` says how many there are.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.show import wait_until_running
from demo.upgrade import SLUGS, Air, FromTree, on_air
from tests.faults.conftest import ROUNDS
from tests.live.upgrades import (
    BROKEN,
    MORE,
    add_migration,
    held,
    installed,
    left_of_probes,
    objects,
    on_node,
    tables,
    tree_in,
    upgrading,
)

pytestmark = pytest.mark.live

FOLDER = "/var/lib/streamfleet/upgrade"
CUT = "add table inet fault; add chain inet fault i { type filter hook input priority -300; }; "
CUT += "add rule inet fault i tcp dport 22 drop"
HOLD = "Hold the worker, make the panel read-only, and save database and settings"
TAKE_OVER = ("-e", "upgrade_take_over=yes")
#: The brackets keep the pattern from matching the shell that it stands in.
KILL = "pkill -KILL -f '[A]nsiballZ|[s]et_up.py|[m]anage.py migrate'; true"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FromTree]:
    """This tree on a node with two customers, and a tree to upgrade it to, which each test goes on with."""
    folder = Path(tmp_path_factory.mktemp("upgrade_faults"))
    with on_node(folder) as made:
        installed(made)
        made.tree = tree_in(folder)
        yield made


@pytest.fixture(scope="module")
def air(stage: FromTree) -> Iterator[Air]:
    """Everybody on the air, from before the first upgrade until after the last."""
    with on_air(stage) as made:
        yield made


def ends_right(stage: FromTree, before: dict[str, object], wanted: list[str], at: str) -> None:
    """The next run finishes what a broken one has begun, whatever that was."""
    run = upgrading(stage, *TAKE_OVER)
    assert run.end() == 0, f"{at}\n{run.said[-6000:]}"
    assert tables(stage) == wanted, at
    assert objects(stage) == before, at
    assert (left_of_probes(stage), held(stage)) == ([], ""), at
    assert [node["status"] for node in stage.api().request("GET", "/nodes").data["items"]] == ["active"], at
    stage.api().request("PUT", "/media-services/ada-fm", {"name": "Ada FM"})
    wait_until_running(stage.api(), SLUGS)


def saved(tasks: list[str]) -> bool:
    """Whether database and settings have been saved. From here on it takes seconds until the migrations have failed."""
    return HOLD in tasks and tasks[-1] != HOLD


def moments(tasks: list[str], rounds: int, chance: random.Random) -> list[int]:
    """Numbers of tasks, ascending: a fifth of them before anything is changed, the others spread over what follows."""
    first = tasks.index("Have nobody else begin")
    before = rounds // 5
    spread = [(0, first, before)] * bool(before) + [(first, len(tasks) - 1, rounds - before)]
    return [int(a + (n + chance.random()) * (b - a) / count) for a, b, count in spread for n in range(count)]


@pytest.mark.full
def test_killed_at_points_spread_over_its_run(stage: FromTree, air: Air, chance: random.Random) -> None:
    """Each run has to come further than the one before, which was killed: so it has taken back what that has left."""
    stage.api().request("PUT", "/media-services/ada-fm", {"name": "Ada FM"})
    before = objects(stage)
    wanted = ["panel_more_9000"]
    add_migration(stage.tree, "9000_more", MORE)
    whole = upgrading(stage)
    assert whole.end() == 0, whole.said[-6000:]
    assert tables(stage) == wanted
    for number, point in enumerate(moments(whole.tasks, ROUNDS, chance)):
        # Another release each time, so that there is something to do wherever the last one has come to.
        add_migration(stage.tree, f"{9001 + number}_more", MORE)
        wanted.append(f"panel_more_{9001 + number}")
        delay = chance.uniform(0.0, 1.5)
        run = upgrading(stage, *TAKE_OVER)
        reached = run.wait_for(lambda tasks, point=point: len(tasks) > point)  # type: ignore[misc]
        time.sleep(delay)
        run.kill()
        if number % 2:
            # What it had begun on the node dies, too; otherwise that goes on to its end.
            stage.on_node(["sh", "-c", KILL])
        at = f"round {number}, killed {delay:.2f} s into task {point}: {(run.tasks or ['none'])[-1]}"
        print(at, flush=True)
        assert reached, f"{at}\n{run.said[-6000:]}"
        assert air.faults() == [], at
    ends_right(stage, before, wanted, "after all of them")
    assert air.faults() == []


@pytest.fixture
def small_disk(stage: FromTree) -> Iterator[Callable[[int], None]]:
    """``small_disk(MB)``: a disk of its own for what an upgrade saves."""
    mounted = False

    def mount(size: int) -> None:
        nonlocal mounted
        script = (
            f"mkdir -p {FOLDER} && mount -t tmpfs -o size={size}m,mode=0755 tmpfs {FOLDER} && "
            "systemctl restart streamfleet-panel streamfleet-panel-jobs streamfleet-worker"
        )
        stage.on_node(["sh", "-c", script])
        mounted = True

    yield mount
    if mounted:
        back = f"umount -l {FOLDER}; systemctl restart 'streamfleet-panel*' streamfleet-worker"
        stage.on_node(["sh", "-c", back])


@pytest.mark.full
def test_a_disk_without_room_for_the_way_back_is_refused(
    stage: FromTree, air: Air, small_disk: Callable[[int], None]
) -> None:
    before = objects(stage)
    there = tables(stage)
    add_migration(stage.tree, "9100_more", MORE)
    small_disk(16)
    run = upgrading(stage)
    assert run.end() != 0
    assert "Nothing was changed: " in run.said
    assert "No space left on device" in run.said
    assert (objects(stage), tables(stage), left_of_probes(stage), held(stage)) == (before, there, [], "")
    assert air.faults() == []


@pytest.mark.full
def test_a_disk_that_fills_meanwhile_does_not_keep_it_from_going_back(
    stage: FromTree, air: Air, small_disk: Callable[[int], None], tmp_path: Path
) -> None:
    before = objects(stage)
    there = tables(stage)
    small_disk(128)
    tree = stage.tree
    stage.tree = tree_in(tmp_path)
    for migration in tree.glob("panel/streamfleet_panel/migrations/9*.py"):
        (stage.tree / migration.relative_to(tree)).write_text(migration.read_text())
    add_migration(stage.tree, "9999_broken", BROKEN)
    try:
        run = upgrading(stage)
        assert run.wait_for(saved), run.said[-6000:]
        stage.on_node(["sh", "-c", f"dd if=/dev/zero of={FOLDER}/filler bs=64k 2>/dev/null; df {FOLDER}"])
        assert run.end() != 0
    finally:
        stage.tree = tree
    said = " ".join(run.said.split())
    assert "this migration is broken" in said
    assert "Code, settings and database are as they were before" in said
    assert (objects(stage), tables(stage), left_of_probes(stage), held(stage)) == (before, there, [], "")
    assert air.faults() == []


@pytest.mark.full
def test_a_way_back_that_is_barred_is_told_and_taken_by_the_next_run(stage: FromTree, air: Air, tmp_path: Path) -> None:
    before = objects(stage)
    there = tables(stage)
    tree = stage.tree
    stage.tree = tree_in(tmp_path)
    for migration in tree.glob("panel/streamfleet_panel/migrations/9*.py"):
        (stage.tree / migration.relative_to(tree)).write_text(migration.read_text())
    add_migration(stage.tree, "9999_broken", BROKEN)
    try:
        run = upgrading(stage)
        assert run.wait_for(saved), run.said[-6000:]
        stage.on_node(["sh", "-c", f"mv {FOLDER}/*/database.sqlite3 /root/saved"])
        assert run.end() != 0
    finally:
        stage.tree = tree
    said = " ".join(run.said.split())
    assert "this migration is broken" in said
    assert "Going back did not get to its end: " in said
    assert "Until it has, the panel takes no changes, and may be away" in said
    assert "maintenance.json" in held(stage)
    stage.on_node(["sh", "-c", f"mv /root/saved $(dirname {FOLDER}/*/settings.tar)/database.sqlite3"])
    due = {f"panel_more_{path.stem[:4]}" for path in tree.glob("panel/streamfleet_panel/migrations/9*.py")}
    ends_right(stage, before, sorted({*there, *due}), "the way back was barred")
    assert air.faults() == []


@pytest.mark.full
def test_a_network_that_is_cut_in_the_middle(stage: FromTree, air: Air, chance: random.Random) -> None:
    before = objects(stage)
    wanted = [*tables(stage), "panel_more_9200"]
    if not (stage.tree / "panel/streamfleet_panel/migrations/9100_more.py").exists():
        add_migration(stage.tree, "9100_more", MORE)
    wanted = sorted({*wanted, "panel_more_9100"})
    add_migration(stage.tree, "9200_more", MORE)
    run = upgrading(stage)
    assert run.wait_for(lambda tasks: HOLD in tasks), run.said[-6000:]
    delay = chance.uniform(0.0, 8.0)
    time.sleep(delay)
    stage.on_node(["nft", CUT])
    try:
        assert run.end() != 0
        assert "UNREACHABLE" in run.said or "unreachable" in run.said
    finally:
        stage.on_node(["nft", "delete table inet fault"])
    ends_right(stage, before, wanted, f"cut {delay:.2f} s after the worker was to be held, at {run.tasks[-1]}")
    assert air.faults() == []
