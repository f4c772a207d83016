"""Transfers that are killed wherever they are, with a full disk, with the network cut: the next run ends right.

``STREAMFLEET_SEED`` repeats the moments of a campaign, ``STREAMFLEET_FAULT_ROUNDS`` says how many there are, of which a
quarter are rounds of two kills each. Tests playbooks: transfer.yml.
"""

from __future__ import annotations

import random
import time

import pytest

from tests.faults.conftest import ROUNDS
from tests.live.test_transfer import LISTING, ROOT, Pair, pair  # noqa: F401
from tests.live.upgrades import Run

pytestmark = [pytest.mark.live, pytest.mark.full]

THERE = ("transfer_to=n2", "transfer_confirm=yes")
BACK = ("transfer_undo=true",)
#: What a killed run has left on a node ends with it: nobody waits there for somebody who is gone.
UNITS = "systemctl list-units --plain --no-legend --state=active 'streamfleet-icecast@*' | awk '{print $1}'"
#: On the node that gives: the other one's connections of SSH get nowhere.
CUT = "nft 'add table inet fault; add chain inet fault i { type filter hook input priority -300; }; "
CUT += "add rule inet fault i ip saddr ADDRESS tcp dport 22 drop'"
MENDED = "nft delete table inet fault"


def whole(pair: Pair, node: str, other: str, before: str, at: str) -> None:  # noqa: F811
    """The services are on the node, and nowhere else, with all their files."""
    assert pair.get("/media-services/talk")["node"] == node, at
    assert pair.get("/media-services/jazz")["node"] == node, at
    for slug in ("talk", "jazz"):
        assert f"streamfleet-icecast@{slug}.service" in pair.sh(node, UNITS).splitlines(), at
        assert f"streamfleet-icecast@{slug}.service" not in pair.sh(other, UNITS).splitlines(), at
    assert pair.sh(node, LISTING) == before, at
    key = "cat /var/lib/streamfleet-converge/.ssh/authorized_keys"
    assert "streamfleet-transfer" not in pair.sh(node, key) + pair.sh(other, key), at


def killed(pair: Pair, chance: random.Random, tasks: int, *arguments: str) -> str:  # noqa: F811
    """Begin a run, and kill it with all that it has started after so many tasks, or a moment later; says where."""
    point, late = chance.randrange(1, tasks), chance.random() * 2
    run = Run(pair.begun(*arguments), ROOT, pair.environment)
    reached = run.wait_for(lambda begun: len(begun) >= point)
    time.sleep(late)
    run.kill()
    where = f"{' '.join(arguments)}: killed {late:.1f} s after task {point} ({run.tasks[-1] if run.tasks else 'none'})"
    print(where if reached else f"{where}, at its end")
    return where


def counted(pair: Pair, *arguments: str) -> int:  # noqa: F811
    """Make a whole run, and say how many tasks it has."""
    run = Run(pair.begun(*arguments), ROOT, pair.environment)
    assert run.end() == 0, run.said[-8000:]
    return len(run.tasks)


def test_killed_wherever_it_is_the_same_command_ends_right(pair: Pair, chance: random.Random) -> None:  # noqa: F811
    before = pair.sh("n1", LISTING)
    there = counted(pair, *THERE)
    whole(pair, "n2", "n1", before, "whole")
    back = counted(pair, *BACK)
    whole(pair, "n1", "n2", before, "whole")
    for number in range(max(1, ROUNDS // 4)):
        at = killed(pair, chance, there, *THERE)
        pair.transfer(*THERE)
        whole(pair, "n2", "n1", before, at)
        at = killed(pair, chance, back, *BACK)
        # Where it was killed at its very end, there is nothing left to undo.
        pair.transfer(*BACK)
        whole(pair, "n1", "n2", before, at)
        pair.plays_on("n1")
        assert pair.get("/transfers")["count"] == 0
        assert pair.sh("n1", "ls /var/lib/streamfleet/transfer; true") == "", number


def test_a_disk_that_fills_before_the_last_changes_leaves_them_where_they_were(pair: Pair) -> None:  # noqa: F811
    before = pair.sh("n1", LISTING)
    media = "/var/lib/streamfleet/media"
    assert pair.sh("n2", f"ls {media}") == ""
    pair.sh("n2", f"mount -t tmpfs -o size=700m,mode=755 none {media}")
    try:
        run = Run(pair.begun(*THERE), ROOT, pair.environment)
        assert run.wait_for(lambda tasks: "Hold the services" in tasks), run.said[-8000:]
        run.hold()
        pair.sh(
            "n1",
            f"head -c 40000000 /dev/urandom >{media}/{pair.uid}/late.bin; chown {pair.uid} {media}/{pair.uid}/late.bin",
        )
        pair.sh("n2", f"fallocate -l $(($(df --output=avail -B1 {media} | tail -1) - 10000000)) {media}/filler")
        run.go_on()
        assert run.end() != 0
        said = " ".join(run.said.split())
        assert "No space left on device" in said, run.said[-8000:]
        assert "The services are on n1 as before" in said
        pair.plays_on("n1")
        pair.sh("n2", f"rm {media}/filler")
        assert "on the air on n2" in pair.transfer(*THERE)
        assert "late.bin" in pair.sh("n2", LISTING)
        pair.sh("n2", f"rm {media}/{pair.uid}/late.bin")
        pair.transfer(*BACK)
    finally:
        pair.sh("n2", f"rm -f {media}/filler; umount {media}")
    whole(pair, "n1", "n2", before, "disk")


def test_a_network_that_is_cut_leaves_them_where_they_were(pair: Pair) -> None:  # noqa: F811
    before = pair.sh("n1", LISTING)
    run = Run(pair.begun(*THERE), ROOT, pair.environment)
    assert run.wait_for(lambda tasks: "Hold the services" in tasks), run.said[-8000:]
    pair.sh("n1", CUT.replace("ADDRESS", pair.address("n2")))
    try:
        assert run.end() != 0
    finally:
        pair.sh("n1", MENDED)
    said = " ".join(run.said.split())
    assert "cannot be fetched" in said, run.said[-8000:]
    assert "The services are on n1 as before" in said
    pair.plays_on("n1")
    assert "on the air on n2" in pair.transfer(*THERE)
    pair.transfer(*BACK)
    whole(pair, "n1", "n2", before, "network")
