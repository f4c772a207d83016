"""Resource limits of a node, chosen under what the host allows. Pure."""

from __future__ import annotations

INFINITY = -1
"""RLIM_INFINITY as the resource module spells it."""

WANTED_FILES = 65536
WANTED_PROCESSES = 32768
WANTED_TASKS = 32768
"""Enough for 1,000 services of some ten tasks each; podman's default of 2,048 is not."""


def _power_of_two_below(value: int) -> int:
    """Largest power of two strictly below value (value > 1)."""
    return 1 << ((value - 1).bit_length() - 1)


def open_files(hard: int) -> int:
    """`--ulimit nofile` for a host whose hard limit is `hard`.

    The hard value itself may be refused (the runtime needs some files of its own), so stay clearly below it.
    """
    if hard == INFINITY or hard > WANTED_FILES:
        return WANTED_FILES
    return _power_of_two_below(hard)


def processes(hard: int) -> int:
    """`--ulimit nproc`: at most half of the host's hard limit, which several nodes and the host itself share."""
    if hard == INFINITY or hard // 2 >= WANTED_PROCESSES:
        return WANTED_PROCESSES
    return _power_of_two_below(max(hard // 2, 2))


def tasks(pid_max: int) -> int:
    """`--pids-limit`: below the kernel's number of process ids, leaving room for the host."""
    return min(WANTED_TASKS, max(pid_max - 1024, 1024))
