"""Where campaigns kill a run: at points spread over its time, and wherever it ends that has fewer tasks."""

from __future__ import annotations

import random

import pytest

from tests.faults.moments import Point, comes_to, point_at, spread

BEGUN = [(1.0, "look"), (3.0, "write"), (3.5, "copy"), (19.0, "say"), (20.0, "end")]


def test_points_are_spread_over_the_time_that_the_run_took() -> None:
    points = spread(BEGUN, "write", 10, random.Random("seed"))
    assert points == spread(BEGUN, "write", 10, random.Random("seed"))
    seconds = sorted(BEGUN[point.tasks - 1][0] + point.seconds for point in points)
    assert [1.0 <= second < 3.0 for second in seconds] == [True] * 2 + [False] * 8
    # One in each eighth of what follows, most of them in the long task.
    assert [int((second - 3.0) / 17.0 * 8) for second in seconds[2:]] == list(range(8))
    assert sum(point.tasks == 3 for point in points) >= 6
    assert point_at(BEGUN, 0.5) == Point(1, 0.0)


@pytest.mark.parametrize(
    ("point", "since", "killed_in"),
    [(Point(3, 0.0), "", 3), (Point(2, 0.0), "write", 3), (Point(9, 0.0), "", 5), (Point(1, 0.0), "copy", 3)],
)
def test_a_run_is_killed_there_and_at_its_end_at_the_latest(point: Point, since: str, killed_in: int) -> None:
    reached = comes_to(point, "end", since)
    killed = next(number for number, (_second, task) in enumerate(BEGUN, start=1) if reached(task, 1))
    assert killed == killed_in
