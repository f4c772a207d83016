"""Figures of a benchmark run: a ratio, its goal, and both measured values."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """``ratio`` = value / base (or base / value where ``better`` is ``higher``), held against ``goal``.

    ``value`` and ``base`` are medians in ``unit``.
    """

    name: str
    ratio: float
    goal: float | None
    met: bool | None
    value: float
    base: float
    unit: str = "s"
    better: str = "lower"


@dataclass
class Results:
    """All figures of one run."""

    path: Path
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, name: str, value: float, base: float, goal: float | None = None, *, unit: str = "s", better: str = "lower"
    ) -> Figure:
        """Record one figure and print it. ``goal`` None: only printed, not judged."""
        ratio = value / base if better == "lower" else base / value
        met = None if goal is None else (ratio <= goal if better == "lower" else ratio >= goal)
        figure = Figure(name, round(ratio, 3), goal, met, round(value, 3), round(base, 3), unit, better)
        self.figures.append(figure)
        print(f"  {row(figure)}", flush=True)
        self.write()
        return figure

    def write(self) -> None:
        """Write ``{"machine": {}, "notes": [], "figures": []}``."""
        data: dict[str, Any] = {
            "machine": machine(),
            "notes": self.notes,
            "figures": [asdict(figure) for figure in self.figures],
        }
        self.path.write_text(json.dumps(data, indent=2) + "\n")

    def table(self) -> str:
        """The figures as a Markdown table."""
        head = "| figure | ratio | goal | met | value | base |\n|---|---|---|---|---|---|\n"
        return head + "".join(f"| {' | '.join(_cells(figure))} |\n" for figure in self.figures)


def _cells(figure: Figure) -> list[str]:
    sign = "≤" if figure.better == "lower" else "≥"
    goal = "" if figure.goal is None else f"{sign} {figure.goal:g}"
    met = {None: "", True: "yes", False: "no"}[figure.met]
    value, base = (f"{number:.3g} {figure.unit}" for number in (figure.value, figure.base))
    return [figure.name, f"{figure.ratio:.3g}", goal, met, value, base]


def row(figure: Figure) -> str:
    """One figure as a line of text."""
    name, ratio, goal, met, value, base = _cells(figure)
    return f"{name:<75} {ratio:>8}  {goal:<8} {met:<4} ({value} against {base})"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cores = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(cores),
        "processor": cores[0].split(":", 1)[1].strip() if cores else platform.machine(),
        "memory_gib": round(int(memory.split()[1]) / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def median_seconds(action: Callable[[], object], runs: int = 3, warmup: int = 1) -> float:
    """Median wall time of ``action`` over ``runs``, after ``warmup`` uncounted ones."""
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
