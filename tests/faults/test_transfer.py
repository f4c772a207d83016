"""Transfers killed at ten points of their run, with a full disk, with the network cut: the same command ends right.

``STREAMFLEET_SEED`` repeats the moments of a campaign, ``STREAMFLEET_FAULT_ROUNDS`` says how many there are.
Tests playbooks: transfer.yml.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.conftest import ROUNDS
from tests.faults.moments import Point, comes_to, spread
from tests.live.renames import Run, watch
from tests.live.test_transfer import LISTING, Pair, Returning, pair  # noqa: F401

pytestmark = pytest.mark.live

OTHER = {"n1": "n2", "n2": "n1"}
BACK, RELEASE = ("transfer_undo=true",), ("transfer_release=true",)
#: Tasks: the first that writes, the one after the copy, and the first of the end.
WRITES, HOLDS, LAST = "Begin, or find what is begun", "Hold the services", "Let others work again"
#: Tasks of a release, counted from its first, among which it is killed.
RELEASING = 20
MEDIA = "/var/lib/streamfleet/media"
#: Every file of the library: what it is, and what is in it.
MANIFEST = f"{LISTING}; find . -type f -print0 | sort -z | xargs -0 sha256sum"
#: What a run has begun on a node, the copy too, which goes on by itself. sshd's child leads a session of its own.
KILL = (
    "systemctl kill --signal=KILL 'streamfleet-transfer-*.service';"
    " for login in $(pgrep -f '^sshd[^:]*: (root|streamfleet-converge)@'); do for command in $(pgrep -P $login); do"
    " pkill -KILL -s $command; done; done; true"
)
KEYS = "grep -h ' streamfleet-transfer-[0-9]' /root/.ssh/authorized_keys /var/lib/streamfleet-converge/.ssh/*; true"
#: On a node: nothing of SSH from the other one comes in.
CUT = (
    "nft 'add table inet fault; add chain inet fault i { type filter hook input priority -300; };"
    " add rule inet fault i ip saddr ADDRESS tcp dport 22 drop'"
)
#: On a node: nothing of SSH goes out to the other one.
CUT_OUT = CUT.replace("fault i", "fault o").replace("hook input", "hook output").replace("saddr", "daddr")
MENDED = "nft delete table inet fault; true"
#: So much room that the library has it twice, with what has to be left.
SMALL_DISK = f"mount -t tmpfs -o size=700m,mode=755 none {MEDIA}"
FULL = f"dd if=/dev/zero of={MEDIA}/filler bs=1M 2>/dev/null; true"


def there(node: str) -> tuple[str, ...]:
    """What has them go to the node."""
    return f"transfer_to={node}", "transfer_confirm=yes"


class Audience:
    """An encoder that connects again to the address that it knows, and a listener who counts."""

    def __init__(self, pair: Pair, node: str, encoder: Returning) -> None:  # noqa: F811
        self.port = pair.port("talk")
        self._encoder, self._listener = encoder, pair.listener(node, self.port)

    def noticed(self) -> str:
        """What they have noticed so far; empty where nothing."""
        heard, deadline = self._listener.heard, time.monotonic() + 5
        before = heard.bytes
        while heard.bytes == before:
            if time.monotonic() > deadline:
                return f"silent: {heard}"
            time.sleep(0.05)
        lost = (heard.disconnects, heard.lost_lines, len(self._encoder.connections) - 1)
        return "" if lost == (0, 0, 0) and heard.longest_gap < 5 else f"{lost}: {heard}"

    def leave(self) -> None:
        """The listener, not the encoder."""
        self._listener.stop()


@contextlib.contextmanager
def audience(pair: Pair, node: str) -> Iterator[Audience]:  # noqa: F811
    """Both, of the station without an AutoDJ."""
    with Returning(pair, node, pair.port("talk")) as encoder:
        people = Audience(pair, node, encoder)
        yield people
        people.leave()


def manifest(pair: Pair, node: str) -> str:  # noqa: F811
    return pair.sh(node, MANIFEST)


def owner(pair: Pair) -> str:  # noqa: F811
    """The node that has the services, as the panel says it."""
    (node,) = {str(pair.get(f"/media-services/{slug}")["node"]) for slug in ("talk", "jazz")}
    return node


def is_heard(pair: Pair, node: str, port: int, what: str) -> None:  # noqa: F811
    """Whoever comes to this port hears the encoder, and loses nothing."""
    listener = pair.listener(node, port)
    time.sleep(2)
    heard = listener.stop()
    assert (heard.disconnects, heard.lost_lines) == (0, 0), f"{what}\n{heard}"


def whole(pair: Pair, node: str, before: str, what: str) -> None:  # noqa: F811
    """The services run on the node and not on the other one, with all their files; no key is left."""
    assert owner(pair) == node, what
    for name in OTHER:
        running = "systemctl is-active streamfleet-icecast@talk.service streamfleet-icecast@jazz.service; true"
        expected = ["active" if name == node else "inactive"] * 2
        assert pair.sh(name, running).splitlines() == expected, f"{name}: {what}"
        assert pair.sh(name, KEYS) == "", f"{name}: {what}"
    assert manifest(pair, node) == before, what


def at_the_end(pair: Pair, node: str, before: str, what: str) -> None:  # noqa: F811
    """The services are on the node as if no transfer had been, and the other one has nothing of them."""
    whole(pair, node, before, what)
    assert pair.get("/transfers")["count"] == 0, what
    pair.has_nothing(OTHER[node])
    noted = "ls -d /var/lib/streamfleet/transfer/* /run/streamfleet-transfer/* 2>/dev/null; true"
    assert pair.sh(node, noted) == "", what


def run_to_the_end(
    pair: Pair,  # noqa: F811
    arguments: tuple[str, ...],
    what: str,
    *,
    held: Callable[[], None] = lambda: None,
    fails: bool = False,
) -> Run:
    """Make a run; ``held`` is called when the copy is made and all are on the air still, while the run stands still."""

    def at(task: str, times: int) -> bool:
        if (task, times) == (HOLDS, 1):
            held()
        return False

    run = watch(pair.begun(*arguments), pair.environment, at, {(HOLDS, 1)})
    assert (run.code != 0) is fails, f"{what}\n{run.said[-8000:]}"
    assert "Traceback" not in run.said, f"{what}\n{run.said[-8000:]}"
    return run


def ends_right(pair: Pair, arguments: tuple[str, ...], what: str, unnoticed: Audience | None = None) -> Run:  # noqa: F811
    """Make a run; ``unnoticed``: they have lost nothing until the services are held, if this run holds them."""
    found: list[str] = []

    def held() -> None:
        if unnoticed is not None:
            found.append(unnoticed.noticed())

    run = run_to_the_end(pair, arguments, what, held=held)
    assert not any(found), f"{what}: {found}"
    return run


def killed(pair: Pair, arguments: tuple[str, ...], reached: Callable[[str, int], bool], *, there_too: bool) -> Run:  # noqa: F811
    """Begin a run, and kill it with all that it has started here; ``there_too``: and on the nodes."""
    run = watch(pair.begun(*arguments), pair.environment, reached)
    if there_too:
        for node in OTHER:
            pair.sh(node, KILL)
    assert run.killed, run.said[-8000:]
    return run


def said_of(run: Run, point: Point, there_too: bool, command: tuple[str, ...]) -> str:
    """Where a run was killed, for people."""
    return (
        f"{command[0]} killed {point.seconds:.2f} s into task {point.tasks}, {run.begun[-1][1]!r}"
        f"{', and on the nodes' if there_too else ''}"
    )


def left(pair: Pair, arguments: tuple[str, ...], moment: Point, since: str, there_too: bool, before: str) -> str:  # noqa: F811
    """Have a transfer end by a run that is killed, and by the same command; where it was killed."""
    run = killed(pair, arguments, comes_to(moment, LAST, since), there_too=there_too)
    what = said_of(run, moment, there_too, arguments)
    print(what, flush=True)
    assert manifest(pair, owner(pair)) == before, what
    again = ends_right(pair, arguments, what)
    if "nothing is to be released or undone" in again.said:
        # It had come to its end in the panel. What the node has of them still goes with its worker's next round.
        pair.play("playbooks/converge.yml")
    return what


@pytest.mark.full
def test_killed_at_points_spread_over_its_run_the_same_command_ends_right(pair: Pair, chance: random.Random) -> None:  # noqa: F811
    home, before = "n1", manifest(pair, "n1")
    with audience(pair, home) as people:
        measured = ends_right(pair, there("n2"), "a whole run", people).begun
        whole(pair, "n2", before, "a whole run")
    back = ends_right(pair, BACK, "a whole run back").begun
    at_the_end(pair, home, before, "a whole run back")
    print(f"a run: {len(measured)} tasks in {measured[-1][0]:.0f} s", flush=True)
    print(f"a run back: {len(back)} tasks in {back[-1][0]:.0f} s", flush=True)
    # There, and every second time back; the others stay there, and what was left behind is released.
    points = spread(measured, WRITES, (ROUNDS + 1) // 2, chance)
    points_back = spread(back, WRITES, (len(points) + 1) // 2, chance)
    for number, point in enumerate(points):
        away, there_too = OTHER[home], chance.random() < 0.5
        pair.plays_on(home)
        played = pair.history(home)
        with audience(pair, home) as people:
            run = killed(pair, there(away), comes_to(point, LAST), there_too=there_too)
            what = said_of(run, point, there_too, there(away))
            noticed, transfers = people.noticed(), pair.get("/transfers")["items"]
            on_the_air = not any(transfer["hold"] for transfer in transfers)
            print(f"{what}; {[transfer['state'] for transfer in transfers]}", flush=True)
            assert not (on_the_air and noticed), f"{what}: {noticed}"
            # Whoever has them has all of them.
            assert manifest(pair, owner(pair)) == before, what
            ends_right(pair, there(away), what, people if on_the_air else None)
            whole(pair, away, before, what)
            is_heard(pair, home, people.port, what)
            is_heard(pair, away, pair.port("talk"), what)
            pair.plays_on(away)
            assert pair.history(away)[: len(played)] == played, what
            print("   held", flush=True)
            there_too = chance.random() < 0.5
            if number % 2:
                moment = Point(1 + chance.randrange(RELEASING), chance.uniform(0.0, 1.0))
                what += f"; {left(pair, RELEASE, moment, 'Measure what would be removed', there_too, before)}"
                home = away
            else:
                what += f"; {left(pair, BACK, points_back[number // 2], '', there_too, before)}"
                is_heard(pair, home, people.port, what)
        at_the_end(pair, home, before, what)
        print(f"   held, on {home}", flush=True)
    if home != "n1":
        # As the other tests have it.
        ends_right(pair, there("n1"), "home")
        ends_right(pair, RELEASE, "home")
    at_the_end(pair, "n1", before, "at the end")


@contextlib.contextmanager
def in_the_middle(pair: Pair, script: str) -> Iterator[None]:  # noqa: F811
    """Run a script on the node that gets them, as soon as it has begun to fetch the large file, by one of its names."""
    begun = f"ls -A {MEDIA}/{pair.uid} 2>/dev/null | grep -q '^[.].*[.]bin[.]'"
    waiting = ["systemd-run", "--quiet", "--unit=fault", "sh", "-c", f"until {begun}; do sleep 0.02; done; {script}"]
    pair.fleet.exec("n2", waiting)
    try:
        yield
    finally:
        pair.sh("n2", "systemctl stop fault.service; systemctl reset-failed fault.service; true")


def fails_unnoticed(pair: Pair, script: str, said: str) -> None:  # noqa: F811
    """A run during whose copy the script is run fails and says so, and nobody notices."""
    with audience(pair, "n1") as people:
        with in_the_middle(pair, script):
            run = run_to_the_end(pair, there("n2"), said, fails=True)
        words = " ".join(run.said.split())
        assert said in words, run.said[-8000:]
        assert "nothing is off the air for it" in words, run.said[-8000:]
        assert "The services are on n1 as before" in words, run.said[-8000:]
        assert people.noticed() == ""


def goes_back(pair: Pair, meanwhile: Callable[[], None], said: str) -> None:  # noqa: F811
    """A run before whose last changes something happens gives the services back, and says why."""
    with audience(pair, "n1") as people:
        run = run_to_the_end(pair, there("n2"), said, held=meanwhile, fails=True)
        words = " ".join(run.said.split())
        assert said in words, run.said[-8000:]
        assert "The services are on n1 as before" in words, run.said[-8000:]
        assert pair.get("/transfers")["items"][0]["state"] == "copying"
        is_heard(pair, "n1", people.port, said)
    pair.plays_on("n1")


@pytest.mark.full
def test_a_disk_that_fills_leaves_them_where_they_were(pair: Pair) -> None:  # noqa: F811
    before, late, space = manifest(pair, "n1"), f"{MEDIA}/{pair.uid}/late.bin", "No space left on device"

    def what_comes_late_finds_no_room() -> None:
        pair.sh("n1", f"head -c 40000000 /dev/urandom >{late}; chown {pair.uid}:{pair.uid} {late}")
        pair.sh("n2", FULL)

    assert pair.sh("n2", f"ls {MEDIA}") == ""
    pair.sh("n2", SMALL_DISK)
    try:
        fails_unnoticed(pair, FULL, space)
        whole(pair, "n1", before, "full during the copy")
        pair.sh("n2", f"rm {MEDIA}/filler")
        goes_back(pair, what_comes_late_finds_no_room, space)
        with_late = manifest(pair, "n1")
        assert "late.bin" in with_late
        whole(pair, "n1", with_late, "full before the last changes")
        pair.sh("n2", f"rm {MEDIA}/filler")
        ends_right(pair, there("n2"), "with room")
        whole(pair, "n2", with_late, "with room")
        pair.sh("n2", f"rm {late}")
        ends_right(pair, BACK, "with room")
        at_the_end(pair, "n1", before, "disk")
    finally:
        # Where it failed, they may be there.
        pair.sh("n2", f"rm -f {MEDIA}/filler; [ -e {MEDIA}/{pair.uid} ] || umount -l {MEDIA}")


@pytest.mark.full
def test_a_network_that_is_cut_leaves_them_where_they_were(pair: Pair) -> None:  # noqa: F811
    before = manifest(pair, "n1")

    def cut() -> None:
        pair.sh("n1", CUT.replace("ADDRESS", pair.address("n2")))

    try:
        fails_unnoticed(pair, CUT_OUT.replace("ADDRESS", pair.address("n1")), "rsync ended with")
        whole(pair, "n1", before, "cut during the copy")
        pair.sh("n2", MENDED)
        goes_back(pair, cut, "cannot be fetched")
        whole(pair, "n1", before, "cut before the last changes")
        pair.sh("n1", MENDED)
        ends_right(pair, there("n2"), "mended")
        whole(pair, "n2", before, "mended")
        ends_right(pair, BACK, "mended")
        at_the_end(pair, "n1", before, "network")
    finally:
        for node in OTHER:
            pair.sh(node, MENDED)
