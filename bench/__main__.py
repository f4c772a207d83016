"""``python -m bench``: measure, print a table, write bench/results.json and docs/bench.md."""

from __future__ import annotations

import argparse
import sys

from bench import domains, measure, stations, usage
from bench.figures import Results, machine
from demo.stage import ROOT, Stage


def main() -> int:
    """Entry point: 0 when every figure with a goal is met, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="customers and services of the large documents")
    parser.add_argument("--keep", action="store_true", help="leave the node running afterwards")
    parser.add_argument(
        "--only",
        choices=("fleet", "stations", "domains", "usage"),
        help="one part, into a file of its own; docs/bench.md stays",
    )
    options = parser.parse_args()
    results = Results(ROOT / "bench" / (f"results-{options.only}.json" if options.only else "results.json"))
    stage = Stage("bench", ROOT / ".cache" / "bench", last_port=32000)
    other = Stage("bench-apt", ROOT / ".cache" / "bench-apt")
    radio = Stage("bench-radio", ROOT / ".cache" / "bench-radio", last_port=9999)
    try:
        if options.only in (None, "fleet"):
            _fleet(results, stage, other, options.size)
            if not options.keep:
                stage.remove()
        if options.only in (None, "domains"):
            domains.measure(results)
        if options.only in (None, "usage"):
            usage.measure(results)
        if options.only in (None, "stations"):
            # On a node of their own: what is deleted stays in the document, and five of them play.
            radio.start()
            radio.install()
            radio.hand_over()
            radio.on_node(["systemctl", "stop", "streamfleet-worker.service"])
            stations.measure(results, radio, measure.empty_play(radio))
    finally:
        if not options.keep:
            stage.remove()
            other.remove()
            radio.remove()
    results.write()
    if options.only is None:
        _page(results)
    print("\n" + results.table())
    return 0 if all(figure.met is not False for figure in results.figures) else 1


def _fleet(results: Results, stage: Stage, other: Stage, size: int) -> None:
    """A node with panel and engines: installing it, and many services on it."""
    measure.install(results, stage, other)
    stage.hand_over()
    empty = measure.empty_play(stage)
    results.notes.append(f"An empty play (one ping over SSH) takes {empty:.2f} s here.")
    measure.to_air(results, stage, empty)
    # From here on the worker would compete for the cores with what is measured.
    stage.on_node(["systemctl", "stop", "streamfleet-worker.service"])
    # Converge first: what the other measurements delete stays in the node's document for its grace period.
    measure.converge(results, stage, empty, size)
    measure.declare(results, stage, empty, size)
    measure.unchanged(results, stage, empty, 10 * size)


def _page(results: Results) -> None:
    """docs/bench.md: the table, the machine, the notes."""
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    notes = "".join(f"- {note}\n" for note in results.notes)
    head = "# Benchmarks\n\nEach figure is a ratio of two values measured in one run by `make bench`.\n"
    (ROOT / "docs" / "bench.md").write_text(f"{head}\n{results.table()}\n{notes}- Machine: {facts}.\n")


if __name__ == "__main__":
    sys.exit(main())
