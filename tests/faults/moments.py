"""Moments of a run of Ansible at which a campaign kills it: spread over the time that a whole run took."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """A moment of a run: so many tasks have begun, and so many seconds ago the last of them."""

    tasks: int
    seconds: float


#: Of each task of a run, the seconds after the start, and its name.
Begun = Sequence[tuple[float, str]]


def point_at(begun: Begun, second: float) -> Point:
    """What a run had come to at that second, by the times of its tasks."""
    times = [begun_at for begun_at, _name in begun]
    tasks = max(1, sum(begun_at <= second for begun_at in times))
    return Point(tasks, max(0.0, second - times[tasks - 1]))


def spread(begun: Begun, writes: str, rounds: int, chance: random.Random) -> list[Point]:
    """Points over the time of a run: a fifth before ``writes``, its first task that writes, the others after it.

    In no order, so that what comes after a kill does not depend on where it was.
    """
    first = next(second for second, name in begun if name == writes)
    before = rounds // 5
    points = []
    for low, high, count in ((begun[0][0], first, before), (first, begun[-1][0], rounds - before)):
        points += [point_at(begun, low + (n + chance.random()) * (high - low) / count) for n in range(count)]
    chance.shuffle(points)
    return points


def comes_to(point: Point, last: str, since: str = "") -> Callable[[str, int], bool]:
    """Whether a run that is watched has come there; waits for the seconds.

    ``last``: where it is killed that has fewer tasks than the one that was measured. ``since``: the task to count from.
    """
    begun = itertools.count(1)
    counts = not since

    def reached(task: str, _times: int) -> bool:
        nonlocal counts
        counts = counts or task == since
        if not counts or (next(begun) != point.tasks and task != last):
            return False
        time.sleep(point.seconds)
        return True

    return reached


def never(_task: str, _times: int) -> bool:
    """No moment."""
    return False
